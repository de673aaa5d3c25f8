"""What every room uses: errors, files, messages, progress, threads. Imports nothing else of this package."""

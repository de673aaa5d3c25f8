"""The frame store: a capture's frames decoded once, and where they wait between steps."""

"""Scores of a run on its held-out views, as files, tables and heat maps."""

"""Readers and writers of trained models, one file per format."""

"""Colourings, comparison and ranges by which a scene is looked into: for the viewer and for renders alike."""

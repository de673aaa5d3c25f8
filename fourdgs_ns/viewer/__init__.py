"""Time controls, colourings and comparisons for Nerfstudio's viewer."""

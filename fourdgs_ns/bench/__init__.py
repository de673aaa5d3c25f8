"""Measurements of speed as ratios within one run; ``fourdgs-ns bench`` prints them."""

"""A generator of synthetic captures with exact ground truth."""

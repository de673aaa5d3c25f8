"""Camera paths in space and time, and the pictures along them."""

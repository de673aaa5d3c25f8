"""Camera paths in space and time, and the images along them."""

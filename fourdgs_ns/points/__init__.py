"""Where the first Gaussians come from: points over time, found in the images or read from files."""

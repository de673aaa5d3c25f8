"""From videos to a capture: probe, synchronise, extract, calibrate, undistort, mask, triangulate, check, write."""

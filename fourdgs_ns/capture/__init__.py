"""What a capture is: readers of its layouts, of its videos and calibrations, and the store of its decoded frames."""

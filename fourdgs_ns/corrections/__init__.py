"""What training learns of the physical cameras: colours, clocks and poses."""

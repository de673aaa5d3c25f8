"""Constants of SSIM (Wang et al. 2004), which the fused loss and its twin in torch share."""

WINDOW, SIGMA = 11, 1.5
"""Pixels of the Gaussian window, and its standard deviation."""
C1, C2 = 0.01**2, 0.03**2
"""Stabilisers for data in [0, 1]."""

"""What does a Gaussian look like at time t? One file per answer; no nerfstudio in here."""

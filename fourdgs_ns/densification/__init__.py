"""Where Gaussians are added, moved and removed during training: one strategy per file."""

"""The constants of gsplat's kernels. Every backend and our own kernels use them, so that they agree to rounding."""

EPS_2D = 0.3
"""Added to both diagonal entries of the projected covariance, in squared pixels."""
ALPHA_MAX = 0.999
"""Upper clamp of a Gaussian's alpha at a pixel."""
ALPHA_MIN = 1.0 / 255.0
"""A Gaussian whose alpha at a pixel is below this is skipped there."""
TRANSMITTANCE_MIN = 1e-4
"""A pixel is finished before the Gaussian that would bring its transmittance to this or below."""
TILE_SIZE = 16
"""A Gaussian is rendered in the tiles of this many pixels that the square of its radius touches, and nowhere else."""
FAR = 1e10
"""Gaussians farther than this along z are not rendered (world units)."""

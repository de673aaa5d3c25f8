"""SIFT features of an image, described by RootSIFT: what every matching of features starts from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

MAX_FEATURES = 8192


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one image."""

    pixels: Float[np.ndarray, "n 2"]
    """Positions x, y, float64; pixel i covers [i, i + 1)."""
    descriptors: Float[np.ndarray, "n 128"]
    """Square roots of L1-normalised SIFT histograms (RootSIFT): unit vectors, float32."""
    contrasts: Float[np.ndarray, " n"]
    """OpenCV's response: how much each blob stands out."""

    def take(self, keep: np.ndarray | slice) -> Features:
        """The features selected by an index array, a mask or a slice."""
        return Features(self.pixels[keep], self.descriptors[keep], self.contrasts[keep])


def find_features(
    gray: UInt8[np.ndarray, "h w"],
    *,
    contrast_threshold: float,
    tilts: int = 0,
    keep: Bool[np.ndarray, "h w"] | None = None,
) -> Features:
    """About the ``MAX_FEATURES`` features of most contrast; ``keep`` says where (None: everywhere).

    The number is no strict bound: all features that tie with the last one are kept. ``contrast_threshold`` is OpenCV's, whose
    default is 0.04. ``tilts`` views of each kind of tilt are searched as well (affine SIFT; Morel and Yu, 2009), each with
    ``MAX_FEATURES`` of its own. OpenCV starts at twice the size of the image, so small ones need no enlarging.
    """
    detector: cv2.Feature2D = cv2.SIFT.create(MAX_FEATURES, 3, contrast_threshold, 10, 1.6, enable_precise_upscale=True)
    if tilts:
        detector = cv2.AffineFeature.create(detector, tilts, 0)
    mask = None if keep is None else keep.astype(np.uint8) * 255
    keypoints, found = detector.detectAndCompute(gray, mask)
    histograms = np.zeros((0, 128), np.float32) if found is None else np.asarray(found, np.float32)
    # OpenCV puts the centre of the first pixel at 0, a capture at 0.5.
    pixels = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2) + 0.5
    contrasts = np.array([k.response for k in keypoints], np.float64)
    return Features(pixels, np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-12)), contrasts)


def smoothed_colors(image: UInt8[np.ndarray, "h w 3"], pixels: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n 3"]:
    """Colours at pixel positions, slightly smoothed: a single pixel of a small image is mostly noise."""
    h, w = image.shape[:2]
    columns, rows = np.clip(pixels.astype(int), 0, (w - 1, h - 1)).T
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7))[rows, columns]

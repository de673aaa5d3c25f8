"""The matcher ``roma``: dense matches of a pretrained network (RoMa; Edstedt et al., CVPR 2024) by package romatch.

The network knows nothing of the poses; they sift its matches afterwards: both rays of a match must meet in front of
both cameras, at a useful angle, and the point where they do must lie where both cameras see it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.error import URLError

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points.features import smoothed_colors
from fourdgs_ns.points.flow import intersect, project
from fourdgs_ns.points.instants import SILHOUETTE_MARGIN, PosedImage
from fourdgs_ns.points.matcher import TriangulatedPoints, no_points, subsample
from fourdgs_ns.points.plane_sweep import DenseOptions, nearest_cameras

DEFAULT_MAX_POINTS = 30_000
INSTEAD = "or use --matcher dense or --matcher sift, which need no weights"


@runtime_checkable
class RomaNetwork(Protocol):
    """What is used of romatch's ``RegressionMatcher``."""

    def match(self, im_A_input: Any, im_B_input: Any, *, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp [.., h, w, 4] (x, y in A and in B, each in [-1, 1] from edge to edge) and its certainty [.., h, w]."""


@dataclass(frozen=True)
class RomaOptions:
    """Thresholds; pixels are those of the images as they are matched."""

    neighbors: int = 3
    """Nearest cameras that each one is matched with."""
    least_certainty: float = 0.2
    """Of a match, as the network says."""
    max_error: float = 2.0
    """Largest reprojection error in pixels, in both images."""
    min_angle_degrees: float = 1.0
    """Least angle between the two rays."""
    largest_angle_degrees: float = 75.0
    """Cameras farther apart, as seen from the scene, are not matched."""


DEFAULT_OPTIONS = RomaOptions()


def load_roma(device: str) -> RomaNetwork:
    """The network for outdoor scenes, which serves indoors as well; its own loader fetches the weights once.

    Raises UserError when romatch is not installed or the weights cannot be had.
    """
    try:
        package = importlib.import_module("romatch")
    except ImportError as error:
        raise UserError(
            f"--matcher roma needs the package romatch ({error}); type pip install 'fourdgs-ns[roma]', {INSTEAD}"
        ) from None
    # The fused kernel is an extra of romatch; without it the same correlation runs in plain torch.
    fused = importlib.util.find_spec("local_corr") is not None and device != "cpu"
    try:
        return package.roma_outdoor(device=torch.device(device), use_custom_corr=fused)
    except (URLError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the weights of RoMa cannot be downloaded or read ({reason}); put roma_outdoor.pth and "
            f"dinov2_vitl14_pretrain.pth in {torch.hub.get_dir()}/checkpoints, {INSTEAD}"
        ) from None


class RomaMatcher:
    """Dense points also where cameras differ much and texture is weak; slow without a GPU."""

    def __init__(self, max_points: int | None = None) -> None:
        self.max_points = DEFAULT_MAX_POINTS if max_points is None else max_points
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network: RomaNetwork | None = None

    def facts(self) -> dict:
        constants = [SILHOUETTE_MARGIN]
        return {"matcher": "roma", "constants": constants, "max_points": self.max_points, **asdict(DEFAULT_OPTIONS)}

    def points(self, images: Sequence[PosedImage]) -> TriangulatedPoints:
        if len(images) < 2:
            return no_points(len(images))
        if self._network is None:
            # Not before something has to be matched: cached points need no weights.
            self._network = load_roma(self.device)
        poses = np.stack([image.camera.world_from_camera for image in images])
        angles = DenseOptions(DEFAULT_OPTIONS.neighbors, largest_angle_degrees=DEFAULT_OPTIONS.largest_angle_degrees)
        groups = nearest_cameras(poses, angles)
        pairs = sorted({(min(a, b), max(a, b)) for a, group in enumerate(groups) for b in group})
        # Filters take some; the rest is sampled from what they leave.
        budget = int(np.ceil(2 * self.max_points / max(len(pairs), 1)))
        found = [self._pair(images, a, b, budget) for a, b in pairs]
        if not found:
            return no_points(len(images))
        parts = [np.concatenate(column) for column in zip(*found)]
        return subsample(TriangulatedPoints(*parts), self.max_points)

    def _pair(self, images: Sequence[PosedImage], a: int, b: int, budget: int) -> tuple[np.ndarray, ...]:
        """Positions, colours, seen_by and errors of the points that two cameras see."""
        assert self._network is not None
        one, other = images[a], images[b]
        warp, certainty = self._network.match(
            Image.fromarray(one.image), Image.fromarray(other.image), device=torch.device(self.device)
        )
        rows = warp.reshape(-1, 4).float().cpu().numpy().astype(np.float64)
        sure = certainty.reshape(-1).float().cpu().numpy()
        sure = np.where(np.isfinite(rows).all(axis=1) & (sure >= DEFAULT_OPTIONS.least_certainty), sure, 0.0)
        candidates = np.flatnonzero(sure)
        if len(candidates) > budget:
            # Weighted sampling without replacement (Efraimidis and Spirakis, 2006).
            keys = np.random.default_rng(0).random(len(candidates)) ** (1.0 / sure[candidates])
            candidates = np.sort(candidates[np.argsort(-keys, kind="stable")[:budget]])
        pixels_a, pixels_b = _pixels(rows[candidates, :2], one), _pixels(rows[candidates, 2:], other)
        inside = _on_subject(one, pixels_a) & _on_subject(other, pixels_b)
        pixels_a, pixels_b = pixels_a[inside], pixels_b[inside]
        positions, errors, good = triangulate_pair(one, other, pixels_a, pixels_b)
        colors = 0.5 * smoothed_colors(one.image, pixels_a) + 0.5 * smoothed_colors(other.image, pixels_b)
        seen_by = np.zeros((len(positions), len(images)), bool)
        seen_by[:, [a, b]] = True
        return positions[good], np.rint(colors).astype(np.uint8)[good], seen_by[good], errors[good]


def triangulate_pair(
    one: PosedImage,
    other: PosedImage,
    pixels_one: Float[np.ndarray, "n 2"],
    pixels_other: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Where the rays of matched pixels meet, root mean square reprojection errors in pixels, and which are solvable."""
    n = len(pixels_one)
    if n == 0:
        return np.zeros((0, 3)), np.zeros(0), np.zeros(0, bool)
    rays = [one.camera.rays(pixels_one), other.camera.rays(pixels_other)]
    cos = (rays[0] * rays[1]).sum(axis=1)
    baseline = other.camera.center - one.camera.center
    along = [ray @ baseline for ray in rays]
    sin2 = np.maximum(1.0 - cos**2, 1e-12)
    depths = [(along[0] - cos * along[1]) / sin2, (cos * along[0] - along[1]) / sin2]
    middle = 0.5 * (
        one.camera.center + depths[0][:, None] * rays[0] + other.camera.center + depths[1][:, None] * rays[1]
    )
    good = (cos <= np.cos(np.radians(DEFAULT_OPTIONS.min_angle_degrees))) & (depths[0] > 0) & (depths[1] > 0)
    projections = np.stack([one.camera.projection, other.camera.projection])
    targets = np.stack([pixels_one, pixels_other], axis=1)
    # The middle of the rays is close; refining it to least reprojection error takes from near cameras nothing.
    middle = np.where(good[:, None], middle, one.camera.center + rays[0])
    positions, residual, solvable = intersect(middle, projections, targets, np.repeat(good[:, None], 2, axis=1))
    finite = np.isfinite(positions).all(axis=1) & np.isfinite(residual).all(axis=1)
    residual = np.where(finite[:, None], residual, np.inf)
    for view in (one, other):
        good &= project(view.camera.projection, np.where(finite[:, None], positions, 0.0))[:, 2] > 0
    good &= solvable & finite & (residual.max(axis=1) <= DEFAULT_OPTIONS.max_error)
    return positions, np.sqrt((residual**2).mean(axis=1)), good


def _pixels(normalized: Float[np.ndarray, "n 2"], image: PosedImage) -> Float[np.ndarray, "n 2"]:
    """From [-1, 1], edge to edge, to pixels; pixel i covers [i, i + 1)."""
    h, w = image.image.shape[:2]
    return (normalized + 1.0) * 0.5 * np.array([w, h])


def _on_subject(image: PosedImage, pixels: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    h, w = image.image.shape[:2]
    inside = np.all((pixels >= 0) & (pixels < (w, h)), axis=1)
    if image.keep is None:
        return inside
    columns, rows = np.clip(pixels.astype(int), 0, (w - 1, h - 1)).T
    return inside & image.keep[rows, columns]

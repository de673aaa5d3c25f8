"""Small random models of every kind, cameras that see them, and how alike two renderings are."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.fourd import STATIC_MARK, FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, GaussiansAtTime

CLIP = Clip(num_frames=12, duration_seconds=0.44, first_frame=3)
WIDTH, HEIGHT = 64, 48
NEAR = 0.05


def make_frame() -> WorldFromCapture:
    """A similarity that is far from the identity."""
    rotation = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    return WorldFromCapture(rotation, np.array([0.5, -1.0, 2.0]), 0.37)


def _common(n: int, g: torch.Generator) -> dict[str, torch.Tensor]:
    return {
        "means": torch.rand(n, 3, generator=g) * 2 - 1,
        "scales": torch.log(0.04 + 0.1 * torch.rand(n, 3, generator=g)),
        "quats": torch.randn(n, 4, generator=g),
        "opacities": 1.5 * torch.randn(n, 1, generator=g),
        "temporal_centers": torch.rand(n, 1, generator=g) * 1.4 - 0.2,
        "log_durations": torch.log(0.05 + 0.5 * torch.rand(n, 1, generator=g)),
    }


def spacetime(variant: str = "lite", n: int = 150, seed: int = 0, framed: bool = True) -> TrainedScene:
    g = torch.Generator().manual_seed(seed)
    params = _common(n, g)
    colors = torch.rand(n, 3, generator=g)
    params["motion"] = torch.randn(n, 9, generator=g) * torch.tensor([0.6, 0.6, 0.6, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3])
    params["omegas"] = torch.randn(n, 4, generator=g)
    params["features_dc"] = colors
    decoder = None
    if variant == "full":
        params["features_dc"] = torch.cat([torch.logit(colors.clamp(0.02, 0.98)), torch.randn(n, 3, generator=g)], 1)
        params["features_time"] = torch.randn(n, 3, generator=g)
        decoder = {
            "hidden.weight": torch.randn(6, 12, generator=g) * 0.4,
            "output.weight": torch.randn(3, 6, generator=g) * 0.4,
        }
    config = SpacetimeConfig(variant=variant)  # type: ignore[arg-type]
    return TrainedScene(config, params, CLIP, make_frame() if framed else None, decoder, NEAR)


def freetime(
    window: str = "gaussian", sh_degree: int = 3, n: int = 150, seed: int = 0, framed: bool = True
) -> TrainedScene:
    g = torch.Generator().manual_seed(seed)
    params = _common(n, g)
    params["velocities"] = torch.randn(n, 3, generator=g) * 0.7
    params["features_dc"] = torch.randn(n, 3, generator=g)
    if sh_degree:
        params["features_rest"] = 0.3 * torch.randn(n, (sh_degree + 1) ** 2 - 1, 3, generator=g)
    if window != "gaussian":
        params["window_shapes"] = torch.randn(n, 1, generator=g) * (0.1 if window == "gated" else 0.5)
        if window == "flat-top":
            params["window_shapes"] -= 2.0
    config = FreeTimeConfig(sh_degree=sh_degree, window=window)  # type: ignore[arg-type]
    return TrainedScene(config, params, CLIP, make_frame() if framed else None, None, NEAR)


def fourd(
    temporal_degree: int = 0, sh_degree: int = 2, n: int = 150, seed: int = 0, framed: bool = True
) -> TrainedScene:
    g = torch.Generator().manual_seed(seed)
    params = _common(n, g)
    k = (sh_degree + 1) ** 2
    params["left_quats"], params["right_quats"] = params.pop("quats"), torch.randn(n, 4, generator=g)
    params["temporal_scales"] = params.pop("log_durations")
    params["temporal_scales"][::9] = STATIC_MARK
    params["features_dc"] = torch.randn(n, 3, generator=g).clamp(-1.7, 1.7)
    if sh_degree:
        params["features_rest"] = 0.3 * torch.randn(n, k - 1, 3, generator=g)
    if temporal_degree:
        params["features_time"] = 0.3 * torch.randn(n, temporal_degree, k, 3, generator=g)
    config = FourDConfig(sh_degree=sh_degree, temporal_degree=temporal_degree)  # type: ignore[arg-type]
    return TrainedScene(config, params, CLIP, make_frame() if framed else None, None, NEAR)


def scene_camera(angle: float = 0.3) -> PinholeCameras:
    """Looks at the origin of the scene from 3.5 units."""
    rotation = torch.from_numpy(Rotation.from_euler("yx", [angle, 0.2]).as_matrix()).float()
    view = torch.eye(4)
    view[:3, :3] = rotation
    view[:3, 3] = torch.tensor([0.0, 0.0, 3.5])
    k = torch.tensor([[60.0, 0.0, WIDTH / 2], [0.0, 60.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return PinholeCameras(view[None], k[None], WIDTH, HEIGHT, NEAR)


def capture_camera(cameras: PinholeCameras, frame: WorldFromCapture | None) -> PinholeCameras:
    """The same camera in the capture's world, where it sees the same image."""
    if frame is None:
        return cameras
    view = cameras.camera_from_world[0].double().numpy()
    rotation, translation, scale = frame.rotation, frame.translation, frame.scale
    # x_scene = s (R x + t); a camera's axes are not scaled, so its coordinates shrink with the capture's.
    moved = np.eye(4)
    moved[:3, :3] = view[:3, :3] @ rotation
    moved[:3, 3] = view[:3, :3] @ translation + view[:3, 3] / scale
    return PinholeCameras(
        torch.from_numpy(moved).float()[None], cameras.intrinsics, cameras.width, cameras.height, cameras.near / scale
    )


def image_of(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> torch.Tensor:
    """[h, w, 3] over black."""
    with torch.no_grad():
        return rasterize(gaussians, cameras).features[0]


def truth(scene: TrainedScene, t: float, cameras: PinholeCameras) -> torch.Tensor:
    """What the method itself renders (features only: no decoder)."""
    representation = scene.representation
    ids = representation.active(scene.parameters, t)
    with torch.no_grad():
        return image_of(representation.at(scene.parameters, t, ids), cameras)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    error = float(((a.clamp(0, 1) - b.clamp(0, 1)) ** 2).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def random_times(count: int = 4, seed: int = 7) -> list[float]:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)).tolist()

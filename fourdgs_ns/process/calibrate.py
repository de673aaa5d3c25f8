"""Fourth step: one lens and one pose per camera of a rig that stands still, from its own frames.

All of it runs on the CPU, with a GPU or without: features and matches are OpenCV's and NumPy's, and the pycolmap that package
indexes offer is built without CUDA. A static rig has few images, so this step is minutes at most.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Int

from fourdgs_ns.capture.layouts.conventions import checked_pose
from fourdgs_ns.capture.layouts.reading import read_json
from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole
from fourdgs_ns.process.board import views_by_instant
from fourdgs_ns.process.board_rig import adjust_with_board
from fourdgs_ns.process.markers import Corners, find_markers
from fourdgs_ns.process.rig_features import RigFeatures, camera_pairs, features_of, match_all

Lens = Literal["pinhole", "radial", "opencv", "fisheye"]
Matching = Literal["exhaustive", "sequential"]
INSTANTS = 4
"""Instants that are solved together; moving things add points where nothing else has texture."""
FEW_MATCHES = 30
"""Verified matches with the best partner below which a camera hangs by a thread."""


@dataclass(frozen=True)
class _Attempt:
    """One try at a rig."""

    outcome: dict[str, Any]
    """Of :mod:`rig_solver`."""
    features: list[RigFeatures]
    matches: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
    """Pixels of matched features of two cameras, wrong ones among them, markers not."""
    affine: bool


def calibration_instants(num_frames: int) -> Int[np.ndarray, " k"]:
    """Spread over the clip, its very ends left out."""
    count = min(INSTANTS, num_frames)
    return np.unique(np.round((np.arange(count) + 0.5) / count * (num_frames - 1)).astype(int))


def solve_rig(
    frames: Mapping[str, Sequence[Path]],
    *,
    lens: Lens = "radial",
    shared: bool = False,
    matching: Matching = "exhaustive",
    marker_frames: Mapping[str, Sequence[Path]] | None = None,
    marker_dictionary: str = "auto",
    advance: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Calibrate cameras from image files, the same instants of each; the world's scale and axes are arbitrary.

    Corners of markers in ``marker_frames`` (all instants) join the features: they match without doubt however far apart the
    cameras stand. When the markers keep their places to each other, as on a ChArUco board, lenses and poses are adjusted once
    more with the board as one rigid thing.

    When plain features connect too few cameras, they are sought again in tilted views (slow, for wide baselines).
    Result: ``cameras`` (calibrated), ``failed`` (name -> reason), ``report`` (name -> points, error, best partner),
    ``matches`` (pairs of names and numbers), ``affine``, ``markers``.

    Raises:
        UserError: an image cannot be read, or fewer than two cameras can be calibrated.
    """
    names = list(frames)
    images = {name: [_read(path) for path in frames[name]] for name in names}
    sizes = [(own[0].shape[1], own[0].shape[0]) for own in images.values()]
    corners: dict[str, Corners] = {name: {} for name in names}
    dictionary = None
    if marker_frames is not None:
        corners, dictionary = find_markers(marker_frames, marker_dictionary, lambda: advance("markers"))
    fixed = sizes, lens, shared, matching, [corners[name] for name in names]
    attempt = _attempt(images, *fixed, False, advance)
    if len(attempt.outcome["cameras"]) < len(names):
        wide = _attempt(images, *fixed, True, advance)
        if len(wide.outcome["cameras"]) > len(attempt.outcome["cameras"]):
            attempt = wide
    outcome, features = attempt.outcome, attempt.features
    verified = np.zeros((len(names), len(names)), int)
    for (i, j), count in zip(outcome["pairs"], outcome["inliers"]):
        verified[i, j] = verified[j, i] = count
    failed = {
        name: _reason(i, names, features, verified) for i, name in enumerate(names) if str(i) not in outcome["cameras"]
    }
    if len(outcome["cameras"]) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"the cameras cannot be calibrated from their frames ({why}); move them closer together so that neighbours see "
            "the same things, put textured things into view, or give --calibration FILE"
        )
    cameras, report = [], {}
    for i, name in enumerate(names):
        found = outcome["cameras"].get(str(i))
        if found is None:
            continue
        cameras.append(_camera(name, sizes[i], found))
        partner = int(verified[i].argmax())
        report[name] = {
            "points": found["points"],
            "error": found["error"],
            "mean_error": found["mean_error"],
            "features": len(features[i].pixels),
            "partner": names[partner],
            "matches": int(verified[i, partner]),
            "contradicted": i in outcome["contradicted"],
        }
    adjusted = None
    if dictionary is not None and lens != "fisheye" and not shared:
        adjusted = _adjusted(cameras, names, corners, attempt, lens != "pinhole")
    return {
        "cameras": [camera.to_json() for camera in adjusted or cameras],
        "failed": failed,
        "report": report,
        "matches": [[names[i], names[j], int(n)] for (i, j), n in zip(outcome["pairs"], outcome["inliers"])],
        "affine": attempt.affine,
        "markers": {
            "dictionary": dictionary,
            "corners": {name: len(own) for name, own in corners.items()},
            "board": adjusted is not None,
        },
    }


def warnings_of(result: Mapping[str, Any]) -> list[str]:
    """What the user should know about a calibration."""
    notes = [f"{name} could not be calibrated and is left out: {reason}" for name, reason in result["failed"].items()]
    for name, own in result["report"].items():
        if own["matches"] < FEW_MATCHES:
            notes.append(
                f"{name} hangs by {own['matches']} matches with {own['partner']}, so its pose may be wrong; "
                "place a camera between them"
            )
        if own["contradicted"]:
            notes.append(
                f"most matches of {name} contradict its pose: look at it, leave that video out, or place a camera nearer"
            )
    focal = {c["name"]: c["intrinsics"][0][0] / max(c["width"], c["height"]) for c in result["cameras"]}
    odd = [f"{name} ({f:.2f} of the longer side)" for name, f in focal.items() if not 0.35 < f < 3]
    if odd:
        notes.append(f"unlikely focal lengths: {listed(odd)}; give --calibration FILE, or --lens pinhole")
    return notes


def _attempt(
    images: Mapping[str, Sequence[np.ndarray]],
    sizes: Sequence[tuple[int, int]],
    lens: Lens,
    shared: bool,
    matching: Matching,
    corners: Sequence[Corners],
    affine: bool,
    advance: Callable[[str], None],
) -> _Attempt:
    features = []
    for name, own in images.items():
        # Tilted views multiply the features; one instant of them is enough.
        features.append(features_of(own[:1] if affine else own, affine))
        advance(f"features of {name}")
    pairs = camera_pairs(len(sizes), matching)
    matches = match_all(features, pairs, lambda: advance("matches"))
    found = {
        pair: (features[pair[0]].pixels[m[:, 0]], features[pair[1]].pixels[m[:, 1]]) for pair, m in matches.items()
    }
    # Corners stand behind a camera's other features.
    places = [{key: len(f.pixels) + n for n, key in enumerate(own)} for f, own in zip(features, corners)]
    for i, j in pairs:
        shared_corners = sorted(corners[i].keys() & corners[j].keys())
        if shared_corners:
            rows = [[places[i][key], places[j][key]] for key in shared_corners]
            matches[i, j] = np.concatenate([matches[i, j], np.array(rows, np.int64)])
    pixels = [
        np.concatenate([f.pixels, np.array(list(own.values()), np.float64).reshape(-1, 2)])
        for f, own in zip(features, corners)
    ]
    job: dict[str, Any] = {
        "sizes": np.array(sizes, np.int64),
        "lens": np.array(lens),
        "shared": np.array(shared),
        "pairs": np.array(pairs, np.int64).reshape(-1, 2),
        **{f"pixels_{i}": own for i, own in enumerate(pixels)},
        **{f"matches_{k}": matches[pair] for k, pair in enumerate(pairs)},
    }
    return _Attempt(_solve_elsewhere(job), features, found, affine)


def _adjusted(
    cameras: Sequence[Camera],
    names: Sequence[str],
    corners: Mapping[str, Corners],
    attempt: _Attempt,
    distorted: bool,
) -> list[Camera] | None:
    """The rig after an adjustment with a rigid board; None without one, or when it leads to an impossible lens."""
    place = {names.index(camera.name): k for k, camera in enumerate(cameras)}
    matches = {(place[i], place[j]): own for (i, j), own in attempt.matches.items() if {i, j} <= place.keys()}
    views = [views_by_instant(corners[camera.name]) for camera in cameras]
    adjusted = adjust_with_board(cameras, views, matches, distorted)
    try:
        for camera in adjusted or []:
            camera.undistorted()
    except UserError:
        return None
    return adjusted


def _solve_elsewhere(job: dict[str, Any]) -> dict[str, Any]:
    """Run :mod:`rig_solver` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        job_file, result = Path(folder) / "job.npz", Path(folder) / "result.json"
        np.savez(job_file, **job)
        command = [sys.executable, "-m", "fourdgs_ns.process.rig_solver", str(job_file), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        if not result.is_file():
            if "No module named 'pycolmap'" in done.stderr:
                raise UserError("calibrating needs pycolmap, which is not installed; type `pip install pycolmap`")
            last = next(
                (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}"
            )
            raise UserError(
                f"the calibration stopped ({last.strip()}); give --calibration FILE, or other --start and --end"
            )
        return read_json(result)


def _camera(name: str, size: tuple[int, int], found: dict[str, Any]) -> Camera:
    params, model = found["params"], found["model"]
    distortion: tuple[float, ...] = ()
    if model == "SIMPLE_PINHOLE":
        f, cx, cy = params
        matrix = pinhole(f, f, cx, cy)
    elif model == "SIMPLE_RADIAL":
        f, cx, cy, k = params
        matrix, distortion = pinhole(f, f, cx, cy), (k, 0.0, 0.0, 0.0, 0.0)
    else:  # OPENCV, OPENCV_FISHEYE
        fx, fy, cx, cy, *rest = params
        matrix, distortion = pinhole(fx, fy, cx, cy), tuple(rest) if "FISHEYE" in model else (*rest, 0.0)
    pose = checked_pose(np.array(found["world_from_camera"]), name, Path("rig"))
    return Camera(name, *size, matrix, pose, tuple(distortion), "FISHEYE" in model)


def _reason(i: int, names: Sequence[str], features: Sequence[RigFeatures], verified: np.ndarray) -> str:
    count = len(features[i].pixels)
    if count < 200:
        return f"its frames have only {count} features (dark, blurred, or nothing with texture in view)"
    partner = int(verified[i].argmax())
    if verified[i, partner] < 15:
        return "no other camera sees the same things from a similar direction (no verified matches)"
    return f"only {verified[i, partner]} verified matches with its best partner {names[partner]}"


def _read(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} cannot be decoded; type the command again with --from extract")
    return image

"""Optional step: foreground masks, ``masks/<camera>/<frame>.png``, from a folder or by background subtraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fourdgs_ns.capture.label_masks import label_masks
from fourdgs_ns.capture.layouts.sequences import IMAGE_SUFFIXES, files_in, image_track, listed
from fourdgs_ns.capture.sources import read_masks
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing

MEDIAN_FRAMES = 31
"""Frames whose median is the background when there is no clean plate."""
FEWEST_DIFFERENCE = 12.0
"""Of 255, in any of L, a, b: smaller differences are noise in every video."""
SPREADS = 4.0
"""Differences count from this many robust standard deviations of the camera's own noise."""
SMALLEST_SHARE = 2e-4
"""Of the image: smaller blobs are dropped."""


def subtract_background(
    frames: Mapping[str, Sequence[Path]],
    out: Path,
    plates: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Masks of what differs from the background: a clean plate ``<plates>/<camera>.*``, else the median over time.

    The median loses what stands still for more than half of the clip. Result: share of the image per camera.

    Raises:
        UserError: a plate is missing or of another size, or the disk is full.
    """
    shares = {}
    for camera, paths in frames.items():
        plate = _plate(camera, paths, plates)
        background = cv2.cvtColor(plate, cv2.COLOR_BGR2LAB).astype(np.int16)
        limits = _limits(background, paths)
        with appearing(out / camera) as folder, ThreadPoolExecutor(available_cores()) as pool:

            def one(
                path: Path, background: np.ndarray = background, limits: np.ndarray = limits, folder: Path = folder
            ) -> float:
                mask = foreground(_read(path), background, limits)
                _save(folder / f"{path.stem}.png", mask)
                return float((mask > 0).mean())

            kept = []
            for share in pool.map(one, paths):
                kept.append(share)
                advance()
        shares[camera] = float(np.mean(kept))
    return {"shares": shares}


def copy_masks(
    source: Path, frames: Mapping[str, Sequence[Path]], out: Path, advance: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Masks from ``<source>/<camera>/<frame>``, as many as there are frames, brought to their size.

    Raises:
        UserError: a camera has none, or another number of masks than frames.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; give --masks a folder with one folder of masks per camera")
    found_by_camera = {camera: files_in(source / camera, IMAGE_SUFFIXES) for camera in frames}
    for camera, paths in frames.items():
        found = found_by_camera[camera]
        if len(found) != len(paths):
            raise UserError(
                f"{source / camera} holds {len(found)} masks but camera '{camera}' has {len(paths)} frames after cutting; "
                "make the masks from the frames of the written capture, then type the command again with --from masks"
            )
    marked, _ = label_masks([image_track(found, camera).source for camera, found in found_by_camera.items()])
    shares = {}
    for (camera, paths), masks in zip(frames.items(), marked, strict=True):
        first = _read(paths[0])
        size = (first.shape[1], first.shape[0])
        kept = []
        with appearing(out / camera) as folder:
            for path, mask in zip(paths, read_masks(masks)):
                fitted = mask if mask.shape[::-1] == size else cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
                _save(folder / f"{path.stem}.png", fitted)
                kept.append(float((fitted > 127).mean()))
                advance()
        shares[camera] = float(np.mean(kept))
    return {"shares": shares}


def notes_of(shares: Mapping[str, float]) -> list[str]:
    """Cameras whose masks cannot be right."""
    empty = [camera for camera, share in shares.items() if share < 1e-4]
    full = [camera for camera, share in shares.items() if share > 0.6]
    notes = []
    if empty:
        notes.append(
            f"the masks of {listed(empty)} are empty: nothing moves there, or --clean-plates shows the subject"
        )
    if full:
        notes.append(f"the masks of {listed(full)} cover most of the image: the light changed, or the camera moved")
    return notes


def foreground(
    image: UInt8[np.ndarray, "h w 3"], background: np.ndarray, limits: np.ndarray
) -> UInt8[np.ndarray, "h w"]:
    """255 where a BGR image differs from ``background`` (Lab, int16) by more than ``limits`` (per channel)."""
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.int16)
    different = (np.abs(lab - background) > limits).any(axis=2).astype(np.uint8) * 255
    size = max(3, round(max(image.shape) / 400)) | 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(different, cv2.MORPH_OPEN, element)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, element, iterations=3)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    small = stats[:, cv2.CC_STAT_AREA] < SMALLEST_SHARE * closed.size
    keep = np.where(small, 0, 255).astype(np.uint8)
    keep[0] = 0
    return keep[labels] if count else closed


def _limits(background: np.ndarray, paths: Sequence[Path]) -> np.ndarray:
    """Per channel, from the noise of a few frames: most pixels of most frames show the background."""
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, 5).astype(int))]
    labs = [cv2.cvtColor(_read(path), cv2.COLOR_BGR2LAB).astype(np.int16) for path in chosen]
    noise = 1.4826 * np.median(np.stack([np.abs(lab - background) for lab in labs]).reshape(-1, 3), axis=0)
    return np.maximum(SPREADS * noise, FEWEST_DIFFERENCE)


def _plate(camera: str, paths: Sequence[Path], plates: Path | None) -> UInt8[np.ndarray, "h w 3"]:
    first = _read(paths[0])
    if plates is None:
        chosen = np.unique(np.linspace(0, len(paths) - 1, min(MEDIAN_FRAMES, len(paths))).astype(int))
        images = np.stack([_read(paths[i]) for i in chosen])
        # In bands, so that memory holds the frames once and not their sorted copy.
        bands = [np.median(images[:, y : y + 64], axis=0) for y in range(0, images.shape[1], 64)]
        return np.concatenate(bands).astype(np.uint8)
    found = [p for p in files_in(plates, IMAGE_SUFFIXES) if p.stem == camera]
    if not found:
        raise UserError(f"{plates} has no clean plate {camera}.jpg; add it, or leave --clean-plates out")
    plate = _read(found[0])
    if plate.shape != first.shape:
        raise UserError(
            f"{found[0]} is {plate.shape[1]}x{plate.shape[0]} but the frames of '{camera}' are "
            f"{first.shape[1]}x{first.shape[0]}; export it at that size"
        )
    return plate


def _save(path: Path, mask: UInt8[np.ndarray, "h w"]) -> None:
    ok, data = cv2.imencode(".png", mask)
    path.write_bytes(data.tobytes() if ok else b"")


def _read(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} cannot be decoded as an image; export it again")
    return image.astype(np.uint8, copy=False)

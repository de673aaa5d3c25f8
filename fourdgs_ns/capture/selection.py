"""What of a capture is used: which cameras train and which are held out, how much smaller, with or without alpha."""

from __future__ import annotations

from dataclasses import replace

from fourdgs_ns.capture.capture import Capture, ImageFrames
from fourdgs_ns.capture.layouts.rig import ALPHA_NOTE
from fourdgs_ns.common.errors import UserError

MAX_AUTO_SIDE = 1600
"""Without --downscale-factor, frames are reduced by the smallest whole number that brings their longer side under this."""


def without_alpha(capture: Capture) -> Capture:
    """The same capture with images read as if they had no alpha channel. Masks in files of their own stay: scores use them."""
    cameras = tuple(
        replace(c, frames=replace(c.frames, opaque=True)) if isinstance(c.frames, ImageFrames) else c
        for c in capture.cameras
    )
    return replace(capture, cameras=cameras, notes=tuple(n for n in capture.notes if not n.startswith(ALPHA_NOTE)))


def choose_cameras(capture: Capture, held_out: tuple[str, ...], train: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Names of the held-out and of the training cameras."""
    names = [c.name for c in capture.cameras]
    held_out, train = tuple(dict.fromkeys(held_out)), tuple(dict.fromkeys(train))  # one typed twice counts once
    for name in (*held_out, *train):
        capture.camera(name)
    eval_names = list(held_out) or [name for name in capture.eval_cameras if name in names]
    train_names = list(train) or [name for name in names if name not in eval_names]
    both = sorted(set(eval_names) & set(train))
    if both and held_out:
        raise UserError(f"camera {both[0]} is in --eval-cameras and in --train-cameras; name it in one of them only")
    eval_names = [name for name in eval_names if name not in train_names] if train and not held_out else eval_names
    if not train_names:
        raise UserError(f"no camera of {capture.root} is left to train on; hold out fewer with --eval-cameras")
    if not eval_names:
        raise UserError(
            f"no camera of {capture.root} is held out; name one with --eval-cameras, it has: {', '.join(names)}"
        )
    return eval_names, train_names


def automatic_downscale(capture: Capture) -> int:
    """Smallest whole factor that brings the longest side of any camera to ``MAX_AUTO_SIDE`` or less."""
    longest = max(max(c.width, c.height) for c in capture.cameras)
    return -(-longest // MAX_AUTO_SIDE)

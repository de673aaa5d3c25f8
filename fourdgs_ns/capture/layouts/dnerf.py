"""D-NeRF and other Blender-style splits: transforms_train.json, transforms_test.json and transforms_val.json with time.

In D-NeRF each split is one camera that moves: an image, a pose and a time per entry; RGBA images stand on white, and
time runs from 0 to 1, taken as a clip of one second. When file names of a split tell several cameras apart
(cam01_0000.png), these are the rig's cameras. The cameras of the test split are held out; the validation split is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.layouts.entries import (
    Entry,
    camera_names,
    cameras_of,
    entry_numbers,
    read_entries,
)
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.reading import find_point_files, metadata_fps
from fourdgs_ns.capture.layouts.rig import on_common_clock, require_cameras
from fourdgs_ns.capture.layouts.sequences import natural_key
from fourdgs_ns.capture.layouts.times import instants, to_seconds
from fourdgs_ns.common.errors import UserError

NAME = "dnerf"


def recognizes(root: Path) -> bool:
    return (root / "transforms_train.json").is_file()


def read(root: Path) -> Capture:
    """Read the train and test splits; without a test split the validation split takes its place."""
    held_out = next((s for s in ("test", "val") if (root / f"transforms_{s}.json").is_file()), None)
    splits = {s: read_entries(root / f"transforms_{s}.json")[1] for s in ("train", held_out) if s is not None}
    by_camera, eval_cameras = _cameras(root, splits)
    entries = [entry for own in by_camera.values() for entry in own]
    if not any("time" in entry.fields for entry in entries):
        raise UserError(
            f"no entry of {root / 'transforms_train.json'} has a 'time': the scene is static; add the times"
        )
    values, index, _ = instants(entry_numbers(entries, "time"))
    unit, notes = to_seconds(values, metadata_fps(root))
    times = unit * (values - values[0])
    cameras = cameras_of(by_camera, index)
    if not any(c.moves for c in cameras):
        require_cameras(root, [c.name for c in cameras])
    has_alpha = probe_image(entries[0].path).has_alpha
    if has_alpha:
        notes = (*notes, "images have an alpha channel, which is used as the matte over a white background")
    if held_out == "test" and (root / "transforms_val.json").is_file():
        notes = (*notes, "transforms_val.json is neither trained on nor evaluated")
    return Capture(
        root=root,
        layout=NAME,
        cameras=tuple(cameras),
        times_seconds=times,
        eval_cameras=eval_cameras,
        point_files=find_point_files(root),
        background=(1.0, 1.0, 1.0) if has_alpha else None,
        notes=(*notes, *(() if has_alpha else on_common_clock(cameras, len(times)))),
    )


def _cameras(root: Path, splits: dict[str, list[Entry]]) -> tuple[dict[str, list[Entry]], tuple[str, ...]]:
    """Entries by camera and the held-out cameras: the splits themselves unless names tell a rig's cameras apart."""
    named = {split: camera_names(entries) for split, entries in splits.items()}
    if named["train"] is None:
        return splits, tuple(s for s in splits if s != "train")
    by_camera: dict[str, list[Entry]] = {}
    held_out: set[str] = set()
    for split, entries in splits.items():
        names = named[split] or [_only_name(entries)] * len(entries)
        for camera, entry in zip(names, entries, strict=True):
            if split != "train" and any(e.listing.stem == "transforms_train" for e in by_camera.get(camera, [])):
                raise UserError(
                    f"camera '{camera}' is in {root / 'transforms_train.json'} and in the {split} split; "
                    f"a camera is either trained on or held out, remove it from one"
                )
            by_camera.setdefault(camera, []).append(entry)
            if split != "train":
                held_out.add(camera)
    ordered = {camera: by_camera[camera] for camera in sorted(by_camera, key=natural_key)}
    return ordered, tuple(camera for camera in ordered if camera in held_out)


def _only_name(entries: Sequence[Entry]) -> str:
    """The camera of a split whose entries all show the same one."""
    entry = entries[0]
    stem = re.sub(r"[_\-.]?\d+$", "", entry.path.stem)
    return stem or entry.path.parent.name


LAYOUT = Layout(NAME, "transforms_train.json and transforms_test.json", recognizes, read)

"""Small right inputs of every reader, which file of each is damaged, and how it is read."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.capture.frames.store import open_frame_store
from fourdgs_ns.capture.images import probe_image, read_image, read_mask
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.video import read_video
from fourdgs_ns.capture.video_header import probe_video
from fourdgs_ns.cli.convert import recognize
from fourdgs_ns.common.workspace import Workspace
from fourdgs_ns.formats import fourdgs_file, html
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.identify import describe
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.registry import FORMATS, load_scene, read_scene, write_scene
from fourdgs_ns.points.loading import load_points
from fourdgs_ns.points.ply import read_points_ply, write_points_ply
from fourdgs_ns.process.convert_capture import convert_capture
from fourdgs_ns.representation.types import Clip
from fourdgs_ns.synth.generate import Recipe
from fourdgs_ns.synth.scenes import SCENES
from tests.capture import writers
from tests.capture.test_calibration import write_colmap_binary, write_colmap_text
from tests.capture.test_layouts_named_rigs import _technicolor
from tests.formats import fudan_writer, scenes

from .mutations import HOSTILE_NAMES, fresh_copy

SIZES = {"cam00": (32, 24), "cam01": (32, 24), "cam02": (32, 24)}


@dataclass(frozen=True)
class Subject:
    """A right input: a file or a folder, the files in it that are damaged, and its reader."""

    name: str
    path: Path
    targets: str
    """Glob below the folder; empty when ``path`` is the file."""
    read: Callable[[Path], Any]
    weight: int = 1
    """How many of the inputs it gets for one of the others'."""
    damage: Callable[[random.Random, Path], None] | None = None
    """How a file is damaged, where its kind does not say."""

    def files(self, copy: Path) -> list[Path]:
        """Those of a copy."""
        return sorted(copy.glob(self.targets)) if self.targets else [copy]


# ------------------------------------------------------------------ readers


def read_any_model(path: Path) -> None:
    """What ``info`` and ``convert`` do."""
    describe(path)
    if path.suffix == ".html":
        html.read(path)
    elif path.suffix == ".4dgs":
        fourdgs_file.read(path)
    else:
        read_scene(path, recognize(path), ImportOptions(duration=1.0), Clip(12, 0.5)).at(0.5)


def read_and_use(out: Path, path: Path) -> None:
    """A capture, its frames, its points, and the same capture in another layout."""
    capture = read_capture(path)
    open_frame_store(capture, 1.0, masks=True, progress=False)
    if capture.point_files:
        load_points(
            capture, train_cameras=[c.name for c in capture.cameras], downscale=1.0, method="ply", progress=False
        )
    convert_capture(capture, path / "converted", "easyvolcap")


def read_stored_frames(path: Path) -> None:
    store = open_frame_store(read_capture(path), 1.0, masks=False, progress=False)
    for name in store.cameras:
        store.read(name, 0)


def read_picture(path: Path) -> None:
    probe_image(path)
    read_image(path)
    read_mask(path)


def read_clip(path: Path) -> None:
    list(read_video(path, range(probe_video(path).frame_count)))


def read_path(path: Path) -> None:
    from fourdgs_ns.rendering.paths import read_saved_path

    read_saved_path(path, Clip(12, 0.5))


def read_run_config(path: Path) -> None:
    from fourdgs_ns.plugin.runs import read_config

    read_config(path)


def read_key_frame(path: Path) -> None:
    from fourdgs_ns.points.key_frames import _load

    _load(path)


def read_checkpoint(path: Path) -> None:
    from fourdgs_ns.plugin.checkpoints import check_checkpoint

    check_checkpoint(path)


def read_step(path: Path) -> None:
    Workspace(path.parent.parent).load("probe", "key")


# ------------------------------------------------------------------ right inputs


def _immersive(root: Path) -> None:
    rig = writers.rig(("camera_0001", "camera_0002", "camera_0004"))
    entries = []
    for c in rig:
        writers.write_video(root / f"{c.name}.mp4")
        entries.append({
            "name": c.name, "width": 64.0, "height": 48.0, "focal_length": 2 * c.focal, "pixel_aspect_ratio": 1.0,
            "principal_point": [31.0, 25.0], "radial_distortion": [0.01, -0.002, 0.0], "projection_type": "fisheye",
            "orientation": cv2.Rodrigues(c.rotation_to_camera())[0].ravel().tolist(), "position": c.centre.tolist(),
        })  # fmt: skip
    writers.write_json(root / "models.json", entries)


def _4danyone(root: Path) -> None:
    entries = []
    for i, c in enumerate(writers.rig(("00", "01", "02"))):
        writers.write_video(root / "videos" / "dense" / f"{c.name}.mp4", fps=24)
        entries.append({
            "camera_id": i, "layer_index": 0, "pitch": 0, "yaw": 1, "image_width": 32, "image_height": 24,
            "K": [[c.focal, 0, 16], [0, c.focal, 12], [0, 0, 1]], "video": f"videos/dense/{c.name}.mp4",
            "camera_to_world": c.opencv_world_from_camera().tolist(),
        })  # fmt: skip
    writers.write_json(root / "cameras.json", {"camera_model": "OPENCV", "cameras": entries})
    writers.write_json(root / "metadata.json", {"fps": "24000/1001"})


def _nerfies(root: Path) -> None:
    rig = writers.rig([f"{i:06d}" for i in range(4)])
    for c in rig:
        writers.write_image(root / "rgb" / "2x" / f"{c.name}.png")
        writers.write_json(root / "camera" / f"{c.name}.json", {
            "orientation": c.rotation_to_camera().tolist(), "position": c.centre.tolist(), "focal_length": 90.0,
            "principal_point": [34.0, 22.0], "skew": 0.0, "pixel_aspect_ratio": 1.0, "image_size": [64, 48],
            "radial_distortion": [0.01, 0.0, 0.0], "tangential_distortion": [0.0, 0.0],
        })  # fmt: skip
    ids = [c.name for c in rig]
    writers.write_json(root / "dataset.json", {"ids": ids, "train_ids": ids[::2], "val_ids": ids[1::2]})
    facts = {c.name: {"warp_id": i // 2, "appearance_id": i // 2, "camera_id": i % 2} for i, c in enumerate(rig)}
    writers.write_json(root / "metadata.json", facts)


def _colmap_rig(root: Path, write: Callable) -> None:
    rig = writers.rig(("camera1", "camera2", "camera3"))
    write(root / "sparse" / "0", rig, [f"rig1/{c.name}/image0001.png" for c in rig])
    for c in rig:
        writers.write_images(root / "images" / c.name, range(1, 4), pattern="image{:04d}.png")


def _easyvolcap(root: Path) -> None:
    writers.write_easyvolcap(root)
    writers.write_images(root / "masks" / "00", range(4), channels=1)
    writers.write_json(root / "sync.json", {"01": 0.004})
    writers.write_json(root / "metadata.json", {"fps": 30})


def _transforms(root: Path) -> None:
    writers.write_transforms(root, fps=30)
    write_cloud(root / "points3D.ply")


def hostile_label(rng: random.Random, path: Path) -> None:
    """One camera, or its folder, gets another name."""
    content = json.loads(path.read_text())
    entry = rng.choice(content["frames"])
    entry["camera_label"] = rng.choice(HOSTILE_NAMES)
    if rng.random() < 0.3:
        entry["file_path"] = rng.choice([f"{entry['camera_label']}/000000.png", f"../named/{entry['file_path']}"])
    path.write_text(json.dumps(content))


def write_cloud(path: Path) -> Path:
    g = np.random.default_rng(0)
    times, colors = g.random(50).astype(np.float32), g.integers(0, 255, (50, 3)).astype(np.uint8)
    positions = g.random((50, 3)).astype(np.float32)
    write_points_ply(path, positions, colors, times, positions, times > 0.5)
    return path


CAPTURES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "n3dv": (writers.write_n3dv, "*"),
    "easyvolcap": (_easyvolcap, "*.*"),
    "transforms": (_transforms, "*.*"),
    "dnerf": (writers.write_dnerf, "*.json"),
    "dynamic3dgs": (writers.write_dynamic3dgs, "*.json"),
    "hyfluid": (writers.write_hyfluid, "*"),
    "technicolor": (lambda root: _technicolor(root, writers.rig(("00", "01", "10"))), "*.txt"),
    "immersive": (_immersive, "*.json"),
    "4danyone": (_4danyone, "*.json"),
    "nerfies": (_nerfies, "**/*.json"),
    "colmap-text": (partial(_colmap_rig, write=write_colmap_text), "sparse/0/*"),
    "colmap-binary": (partial(_colmap_rig, write=write_colmap_binary), "sparse/0/*"),
}


def captures(root: Path) -> list[Subject]:
    found = []
    for name, (write, targets) in CAPTURES.items():
        write(root / name)
        found.append(Subject(f"layout {name}", root / name, targets, read_capture))
    for name in ("transforms", "easyvolcap"):
        found.append(Subject(f"frames of {name}", root / name, "**/*.*", partial(read_and_use, root)))
    named = root / "named"
    writers.write_transforms(named)
    found.append(
        Subject("names in transforms", named, "transforms.json", partial(read_and_use, root), 3, hostile_label)
    )
    stored = root / "stored"
    writers.write_transforms(stored)
    read_stored_frames(stored)
    found.append(Subject("frame store", stored, ".fourdgs/frames/*.*", read_stored_frames))
    return found


def calibrations(root: Path) -> list[Subject]:
    from tests.capture.test_calibration import _toml

    rig = writers.rig()
    root.mkdir()
    writers.write_easyvolcap_calibration(root / "yml", rig, rodrigues=True)
    writers.write_poses_bounds(root / "llff", rig)
    writers.write_transforms(root / "json", rig)
    write_colmap_text(root / "text", rig, [f"{c.name}/1.png" for c in rig])
    write_colmap_binary(root / "binary", rig, [f"{c.name}/1.png" for c in rig])
    _toml(rig, root / "Calib.toml")
    read = partial(read_calibration, sizes=SIZES)
    places = {"yml": "*", "llff": "*", "json": "*.json", "text": "*", "binary": "*", "Calib.toml": ""}
    return [Subject(f"calibration {name}", root / name, targets, read) for name, targets in places.items()]


def models(root: Path) -> list[Subject]:
    root.mkdir()
    made = {
        "scene.ply": ("ply", scenes.freetime(n=20, sh_degree=1), ExportOptions(time=0.5)),
        "frames": ("ply-sequence", scenes.freetime(n=20, sh_degree=0), ExportOptions()),
        "lite.ply": ("spacetime-ply", scenes.spacetime("lite", n=20), ExportOptions()),
        "4d.ply": ("ply4d", scenes.freetime("gated", n=20, sh_degree=1), ExportOptions()),
        "scene.splatv": ("splatv", scenes.spacetime("lite", n=20), ExportOptions(approximate=True)),
        "scene.html": ("html", scenes.freetime(n=20, sh_degree=1), ExportOptions()),
        "small.html": ("html", scenes.freetime(n=20, sh_degree=1), ExportOptions(compressed=True)),
        "scene.npz": ("npz", scenes.fourd(1, n=20), ExportOptions()),
        "small.npz": ("npz", scenes.spacetime("full", n=20), ExportOptions(compressed=True)),
        "scene.4dgs": ("4dgs", scenes.freetime(n=20, sh_degree=1), ExportOptions(approximate=True)),
    }
    found = []
    for name, (target, scene, options) in made.items():
        write_scene(root / name, scene, target, options)
        found.append(Subject(f"model {name}", root / name, "*.ply" if name == "frames" else "", read_any_model))
    found[1] = Subject("model sequence", root / "frames", "*.ply", describe)
    (root / "full").mkdir()
    write_scene(root / "full" / "full.ply", scenes.spacetime("full", n=20), "spacetime-ply", ExportOptions())
    read_full = lambda folder: read_any_model(folder / "full.ply")  # noqa: E731
    found.append(Subject("model full.ply", root / "full", "*", read_full))
    raw = fudan_writer.gaussians(20)
    fudan_writer.save(root / "chkpnt30000.pth", fudan_writer.capture_tuple(raw))
    found.append(Subject("model chkpnt.pth", root / "chkpnt30000.pth", "", read_any_model))
    found.append(Subject("model step.ckpt", write_checkpoint(root), "", read_any_model))
    checkpoint = write_checkpoint(root / "resumed")
    found.append(Subject("checkpoint to resume", checkpoint, "", read_checkpoint))
    found.append(Subject("cloud", write_cloud(root / "points.ply"), "", read_points_ply))
    assert {"run", "fudan"} <= set(FORMATS)
    return found


def write_checkpoint(root: Path) -> Path:
    """As a training leaves it, but for the optimizers."""
    scene = scenes.freetime(n=20, sh_degree=1)
    extra = {
        "method": "freetime", "variant": "gaussian", "num_frames": 12, "duration_seconds": 0.44, "first_frame": 3, "guided": {},
        "options": {"sh_degree": 1}, "world_from_capture": scenes.make_frame().as_plain(), "near": 0.05,
        "camera_centers": [[0.0, 1.0, 2.0]],
    }  # fmt: skip
    rows = {f"_model.gauss_params.{name}": value for name, value in scene.parameters.items()}
    root.mkdir(exist_ok=True)
    path = root / "step-000000100.ckpt"
    state = {"step": 100, "pipeline": {"_model._extra_state": extra, **rows}}
    torch.save({**state, "optimizers": {}, "schedulers": {}, "scalers": {}}, path)
    load_scene(path)
    return path


def media(root: Path) -> list[Subject]:
    root.mkdir()
    g = np.random.default_rng(0)
    found = []
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        path = root / f"picture{suffix}"
        cv2.imwrite(str(path), g.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        found.append(Subject(f"picture {suffix[1:]}", path, "", read_picture))
    for suffix in (".mp4", ".avi", ".mkv"):
        path = root / f"clip{suffix}"
        writers.write_video(path, 8)
        found.append(Subject(f"video {suffix[1:]}", path, "", read_clip))
    return found


def write_run_config(root: Path) -> Path:
    import yaml

    from fourdgs_ns.plugin.methods import trainer_config

    config = trainer_config("freetime")
    config.data = config.pipeline.datamanager.data = root / "capture"
    path = root / "config.yml"
    path.write_text(yaml.dump(config))
    return path


def write_camera_path(root: Path) -> Path:
    steps = [
        {"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50, "aspect": 1.3, "render_time": k / 4}
        for k in range(5)
    ]
    record = {
        "camera_type": "perspective",
        "render_height": 48,
        "render_width": 64,
        "fps": 24,
        "seconds": 1,
        "camera_path": steps,
    }
    return writers.write_json(root / "camera_path.json", record)


def others(root: Path) -> list[Subject]:
    root.mkdir()
    key_frame = root / "instant-000000.npz"
    g = np.random.default_rng(0)
    arrays = {
        "positions": g.random((9, 3)),
        "colors": np.zeros((9, 3), np.uint8),
        "errors": g.random(9),
        "footprints": g.random(9),
    }
    known = {"velocities": g.random((9, 3)), "known": np.ones(9, bool), "flow": np.array(True)}
    np.savez(key_frame, **arrays, observations=np.ones(3, int), **known)
    step = writers.write_json(
        root / "work" / "process" / "probe.json", {"key": "key", "result": {"videos": [1, 2, math.pi]}}
    )
    record = root / "synthetic"
    recipe = Recipe(4, 6, 64, 48, 30.0, next(iter(SCENES)), "n3dv", False, "444", 0, True, True, 4, ("cam00=0.5",))
    writers.write_json(record / "synth.json", asdict(recipe))
    return [
        Subject("config.yml", write_run_config(root), "", read_run_config, weight=8),
        Subject("camera path", write_camera_path(root), "", read_path),
        Subject("points cache", key_frame, "", read_key_frame),
        Subject("process step", step, "", read_step),
        Subject("synth record", record, "synth.json", Recipe.of),
    ]


def all_subjects(root: Path) -> list[Subject]:
    """Every reader with a right input, which it reads."""
    found = [*captures(root / "captures"), *calibrations(root / "calibrations"), *models(root / "models")]
    return [*found, *media(root / "media"), *others(root / "others")]


def check_right_inputs(subjects: list[Subject], work: Path) -> None:
    """Each is accepted; this also imports and compiles what reading needs."""
    for k, subject in enumerate(subjects):
        folder = work / f"right{k}"
        folder.mkdir()
        subject.read(fresh_copy(subject.path, folder))

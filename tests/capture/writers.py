"""Tiny captures in each documented layout, written from one geometric description of a rig.

A camera is its centre and the unit vectors right, down, forward in the world; each writer states the axes of its format in
terms of these, so that a reader's axes are checked against words and not against its own matrices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 32, 24


@dataclass(frozen=True)
class Camera:
    name: str
    centre: np.ndarray
    right: np.ndarray
    down: np.ndarray
    forward: np.ndarray
    focal: float = 40.0

    def point_at(self, a: float, b: float, depth: float) -> np.ndarray:
        """The world point seen ``a`` focal lengths right of and ``b`` below the principal point."""
        return self.centre + depth * (self.forward + a * self.right + b * self.down)

    def opencv_world_from_camera(self) -> np.ndarray:
        return _rigid(self.right, self.down, self.forward, self.centre)

    def opengl_world_from_camera(self) -> np.ndarray:
        return _rigid(self.right, -self.down, -self.forward, self.centre)

    def rotation_to_camera(self) -> np.ndarray:
        return np.stack([self.right, self.down, self.forward])

    def translation_to_camera(self) -> np.ndarray:
        return -np.array([self.right @ self.centre, self.down @ self.centre, self.forward @ self.centre])


def _rigid(x, y, z, t) -> np.ndarray:
    pose = np.eye(4)
    pose[:3] = np.stack([x, y, z, t], axis=1)
    return pose


def rig(names=("cam00", "cam01", "cam02"), radius=3.0) -> list[Camera]:
    """Cameras on an arc around the origin, each one tilted and rolled differently."""
    cameras = []
    for i, name in enumerate(names):
        angle, lift = 0.7 * i + 0.2, 0.3 * i - 0.4
        centre = radius * np.array([np.sin(angle), lift, -np.cos(angle)])
        forward = -centre / np.linalg.norm(centre)
        up_hint = np.array([0.2 * i, -1.0, 0.1])
        right = np.cross(forward, up_hint)
        right /= np.linalg.norm(right)
        cameras.append(Camera(name, centre, right, np.cross(forward, right), forward, focal=40.0 + i))
    return cameras


def write_image(path: Path, width=WIDTH, height=HEIGHT, channels=3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, channels), 128, np.uint8))
    return path


def write_images(folder: Path, frames=range(4), width=WIDTH, height=HEIGHT, pattern="{:06d}.png", channels=3) -> None:
    for frame in frames:
        write_image(folder / pattern.format(frame), width, height, channels)


def write_video(path: Path, frames=5, fps=30.0, width=WIDTH, height=HEIGHT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
    assert video.isOpened()
    for i in range(frames):
        video.write(np.full((height, width, 3), 20 * i % 255, np.uint8))
    video.release()
    return path


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_poses_bounds(root: Path, cameras: list[Camera], width=WIDTH, height=HEIGHT) -> None:
    """LLFF: columns down, right, backwards, centre, (height width focal); near and far."""
    rows = []
    for c in cameras:
        matrix = np.stack([c.down, c.right, -c.forward, c.centre, [height, width, c.focal]], axis=1)
        rows.append([*matrix.ravel(), 1.0, 10.0])
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "poses_bounds.npy", np.array(rows))


def write_n3dv(root: Path, cameras=None, frames=5, **size) -> list[Camera]:
    cameras = cameras or rig()
    write_poses_bounds(root, cameras)
    for camera in cameras:
        write_video(root / f"{camera.name}.mp4", frames, **size)
    return cameras


def opencv_yaml(names, matrices: dict[str, np.ndarray], numbers: dict[str, float] | None = None) -> str:
    """Text as OpenCV's FileStorage writes it."""
    lines = ["%YAML:1.0", "---", "names:", *(f'   - "{n}"' for n in names)]
    for key, value in matrices.items():
        array = np.atleast_2d(np.asarray(value, dtype=float))
        data = ", ".join(repr(float(x)) for x in array.ravel())
        lines += [f"{key}: !!opencv-matrix", f"   rows: {array.shape[0]}", f"   cols: {array.shape[1]}", "   dt: d"]
        lines += [f"   data: [ {data} ]"]
    lines += [f"{key}: {value}" for key, value in (numbers or {}).items()]
    return "\n".join(lines) + "\n"


def write_easyvolcap_calibration(
    folder: Path, cameras: list[Camera], extra=None, numbers=None, rodrigues=False
) -> None:
    """intri.yml with the principal point right and above of the centre; extri.yml world to camera, OpenCV axes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [c.name for c in cameras]
    intri = {f"K_{c.name}": [[c.focal, 0, 17.0], [0, c.focal + 2, 11.0], [0, 0, 1]] for c in cameras}
    extri = {}
    for c in cameras:
        rotation = c.rotation_to_camera()
        if rodrigues:
            extri[f"R_{c.name}"] = cv2.Rodrigues(rotation)[0]
        else:
            extri[f"Rot_{c.name}"] = rotation
        extri[f"T_{c.name}"] = c.translation_to_camera().reshape(3, 1)
    (folder / "intri.yml").write_text(opencv_yaml(names, {**intri, **(extra or {})}, numbers))
    (folder / "extri.yml").write_text(opencv_yaml(names, extri))


def write_easyvolcap(root: Path, cameras=None, frames=range(4), **calibration) -> list[Camera]:
    cameras = cameras or rig(("00", "01", "02"))
    write_easyvolcap_calibration(root, cameras, **calibration)
    for camera in cameras:
        write_images(root / "images" / camera.name, frames)
    return cameras


def write_dynamic3dgs(root: Path, cameras=None, test=("1",), frames=3, masks=True) -> list[Camera]:
    cameras = cameras or rig(("0", "1", "2"))
    for split in ("train", "test"):
        own = [c for c in cameras if (c.name in test) == (split == "test")]
        k = [[[c.focal, 0, 15.0], [0, c.focal, 13.0], [0, 0, 1]] for c in own]
        w2c = []
        for c in own:
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = c.rotation_to_camera(), c.translation_to_camera()
            w2c.append(pose.tolist())
        meta = {
            **{"w": WIDTH, "h": HEIGHT, "k": [k] * frames, "w2c": [w2c] * frames},
            "fn": [[f"{c.name}/{t:06d}.png" for c in own] for t in range(frames)],
            "cam_id": [[int(c.name) for c in own]] * frames,
        }
        write_json(root / f"{split}_meta.json", meta)
        for c in own:
            write_images(root / "ims" / c.name, range(frames))
            if masks and split == "train":
                write_images(root / "seg" / c.name, range(frames), channels=1)
    return cameras


def write_hyfluid(root: Path, cameras=None, test=("train01",), frames=5, fps=30.0) -> list[Camera]:
    cameras = cameras or rig(("train00", "train01", "train02"))
    info: dict = {"train_videos": [], "test_videos": [], "frame_bkg_color": [0.0, 0.25, 1.0]}
    for c in cameras:
        write_video(root / f"{c.name}.mp4", frames, fps)
        entry = {
            **{"file_name": f"{c.name}.mp4", "frame_rate": fps, "frame_num": frames, "camera_hw": [HEIGHT, WIDTH]},
            "camera_angle_x": 2 * np.arctan(WIDTH / 2 / c.focal),
            "transform_matrix": c.opengl_world_from_camera().tolist(),
        }
        info["test_videos" if c.name in test else "train_videos"].append(entry)
    write_json(root / "info.json", info)
    return cameras


def entry(camera: Camera, file_path: str, **fields) -> dict:
    """One entry of a transforms file."""
    return {"file_path": file_path, "transform_matrix": camera.opengl_world_from_camera().tolist(), **fields}


def write_transforms(root: Path, cameras=None, frames=4, **top) -> list[Camera]:
    """frames/<camera>/<frame>.png with one entry, a camera_label and its own intrinsics per camera."""
    cameras = cameras or rig()
    entries = []
    for c in cameras:
        write_images(root / "frames" / c.name, range(frames))
        lens = {"fl_x": c.focal, "fl_y": c.focal + 1, "cx": 15.5, "cy": 12.5, "w": WIDTH, "h": HEIGHT}
        entries.append(entry(c, f"frames/{c.name}/000000.png", camera_label=c.name, **lens))
    write_json(root / "transforms.json", {**top, "frames": entries})
    return cameras


def write_dnerf(root: Path, train=5, test=3, channels=4) -> dict[str, list[Camera]]:
    """A different pose for every image, times 0 to 1, file paths without suffix."""
    poses = {"train": rig([f"t{i}" for i in range(train)]), "test": rig([f"e{i}" for i in range(test)], radius=2.5)}
    poses["val"] = poses["test"]
    for split, cameras in poses.items():
        entries = []
        for i, c in enumerate(cameras):
            write_image(root / split / f"r_{i:03d}.png", channels=channels)
            entries.append(entry(c, f"./{split}/r_{i:03d}", time=i / (len(cameras) - 1)))
        angle = 2 * np.arctan(WIDTH / 2 / 40.0)
        write_json(root / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": entries})
    return poses


def project(camera, point: np.ndarray, i: int = 0) -> np.ndarray:
    """Pixel of a world point through camera ``camera`` of a Capture at its entry ``i``, by its documented convention."""
    x, y, z = (np.linalg.inv(camera.at(i).world_from_camera) @ [*point, 1.0])[:3]
    u, v, w = camera.camera.intrinsics @ [x / z, y / z, 1.0]
    return np.array([u / w, v / w])

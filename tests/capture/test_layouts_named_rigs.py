"""Technicolor, Google Immersive, Nerfies, 4DAnyone and COLMAP rigs: small examples of the documented formats."""

import json

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.colmap_rig import read_cameras
from fourdgs_ns.common.errors import UserError
from tests.capture import writers
from tests.capture.test_calibration import write_colmap_binary, write_colmap_text


def _quaternion(rotation):
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return w, x, y, z


def _same_rig(capture, rig):
    assert {c.name for c in capture.cameras} == {c.name for c in rig}
    for made in rig:
        camera = capture.camera(made.name)
        np.testing.assert_allclose(camera.at(0).world_from_camera, made.opencv_world_from_camera(), atol=1e-6)
        # A point seen right of and below the centre, by the words of the format's description.
        pixel = writers.project(camera, made.point_at(0.1, 0.05, 2.0))
        centre = camera.camera.intrinsics[:2, 2]
        assert pixel[0] - centre[0] == pytest.approx(0.1 * camera.camera.intrinsics[0, 0])
        assert pixel[1] - centre[1] == pytest.approx(0.05 * camera.camera.intrinsics[1, 1])


def _technicolor(root, rig):
    rows = ["f cu cv ar skew qw qx qy qz tx ty tz"]
    for c in rig:
        numbers = [
            c.focal * 64,
            1100.0,
            500.0,
            1.0,
            0.0,
            *_quaternion(c.rotation_to_camera()),
            *c.translation_to_camera(),
        ]
        rows.append(" ".join(map(str, numbers)))
    root.mkdir(parents=True, exist_ok=True)
    (root / "cameras_parameters.txt").write_text("\n".join(rows) + "\n")
    for c in rig:
        for frame in range(151, 154):
            writers.write_image(root / f"Birthday_undist_{frame:05d}_{c.name}.png", 128, 68)


def test_technicolor(tmp_path):
    rig = writers.rig(tuple(f"{i:02d}" for i in range(12)))
    _technicolor(tmp_path, rig)
    capture = read_capture(tmp_path)
    assert capture.layout == "technicolor" and capture.eval_cameras == ("10",)
    assert capture.num_frames == 3 and capture.numbers().tolist() == [151, 152, 153]
    _same_rig(capture, rig)
    camera = capture.camera("03")
    assert camera.camera.intrinsics[0, 0] == pytest.approx(rig[3].focal * 4)  # a sixteenth of 2048
    np.testing.assert_allclose(camera.camera.intrinsics[:2, 2], [1100 / 16, 500 / 16])


def test_technicolor_with_a_broken_row(tmp_path):
    _technicolor(tmp_path, writers.rig(("00", "01", "02")))
    file = tmp_path / "cameras_parameters.txt"
    file.write_text(file.read_text().rsplit(" ", 1)[0])
    with pytest.raises(UserError, match=r"the row of camera 02 .* has 11 numbers instead of 12"):
        read_capture(tmp_path)


def test_immersive(tmp_path):
    import cv2

    rig = writers.rig(("camera_0001", "camera_0002", "camera_0004"))
    entries = []
    for c in rig:
        writers.write_video(tmp_path / f"{c.name}.mp4")
        entries.append(
            {
                **{
                    "name": c.name,
                    "width": 64.0,
                    "height": 48.0,
                    "focal_length": 2 * c.focal,
                    "pixel_aspect_ratio": 1.0,
                },
                **{
                    "principal_point": [31.0, 25.0],
                    "radial_distortion": [0.01, -0.002, 0.0],
                    "projection_type": "fisheye",
                },
                "orientation": cv2.Rodrigues(c.rotation_to_camera())[0].ravel().tolist(),
                "position": c.centre.tolist(),
            }
        )
    writers.write_json(tmp_path / "models.json", [*entries, {**entries[0], "name": "camera_0009"}])
    capture = read_capture(tmp_path)
    assert capture.layout == "immersive" and capture.eval_cameras == ("camera_0001",)
    assert all(c.camera.fisheye and c.camera.distortion == (0.01, -0.002, 0.0, 0.0) for c in capture.cameras)
    assert "camera_0009" in capture.notes[0]
    _same_rig(capture, rig)


def test_4danyone(tmp_path):
    rig = writers.rig(("00", "01", "02"))
    entries = []
    for i, c in enumerate(rig):
        writers.write_video(tmp_path / "videos" / "dense" / f"{c.name}.mp4", fps=24)
        entries.append(
            {
                **{"camera_id": i, "layer_index": 0, "pitch": 0, "yaw": 1, "image_width": 32, "image_height": 24},
                **{"K": [[c.focal, 0, 16], [0, c.focal, 12], [0, 0, 1]], "video": f"videos/dense/{c.name}.mp4"},
                "camera_to_world": c.opencv_world_from_camera().tolist(),
            }
        )
    writers.write_json(tmp_path / "cameras.json", {"camera_model": "OPENCV", "cameras": entries})
    writers.write_json(tmp_path / "metadata.json", {"fps": "24000/1001"})
    capture = read_capture(tmp_path)
    assert capture.layout == "4danyone" and capture.num_frames == 5
    np.testing.assert_allclose(capture.times_seconds[1], 1001 / 24000)
    _same_rig(capture, rig)


def test_nerfies_camera_that_moves(tmp_path):
    rig = writers.rig([f"{i:06d}" for i in range(6)])
    metadata = {}
    for i, c in enumerate(rig):
        writers.write_image(tmp_path / "rgb" / "2x" / f"{c.name}.png")
        writers.write_image(tmp_path / "rgb" / "4x" / f"{c.name}.png", 16, 12)
        metadata[c.name] = {"warp_id": i // 2, "appearance_id": i // 2, "camera_id": i % 2}
        camera = {
            **{"orientation": c.rotation_to_camera().tolist(), "position": c.centre.tolist(), "focal_length": 90.0},
            **{"principal_point": [34.0, 22.0], "skew": 0.0, "pixel_aspect_ratio": 1.0, "image_size": [64, 48]},
            **{"radial_distortion": [0.01, 0.0, 0.0], "tangential_distortion": [0.0, 0.0]},
        }
        writers.write_json(tmp_path / "camera" / f"{c.name}.json", camera)
    ids = [c.name for c in rig]
    writers.write_json(tmp_path / "dataset.json", {"ids": ids, "train_ids": ids[::2], "val_ids": ids[1::2]})
    writers.write_json(tmp_path / "metadata.json", metadata)
    capture = read_capture(tmp_path)
    assert capture.layout == "nerfies" and [c.name for c in capture.cameras] == ["camera0", "camera1_val"]
    assert capture.eval_cameras == ("camera1_val",) and capture.num_frames == 3
    camera = capture.camera("camera0")
    assert camera.width == 32 and camera.camera.intrinsics[0, 0] == pytest.approx(45.0)
    for i in range(3):
        np.testing.assert_allclose(camera.at(i).world_from_camera, rig[2 * i].opencv_world_from_camera(), atol=1e-9)


@pytest.mark.parametrize("writer", [write_colmap_text, write_colmap_binary])
def test_colmap_rig_folders(tmp_path, writer):
    rig = writers.rig(("camera1", "camera2", "camera3"))
    writer(tmp_path / "sparse" / "0", rig, [f"rig1/{c.name}/image0001.jpg" for c in rig])
    for c in rig:
        writers.write_images(tmp_path / "images" / c.name, range(1, 5), pattern="image{:04d}.jpg")
    capture = read_capture(tmp_path)
    assert capture.layout == "colmap-rig" and capture.num_frames == 4
    _same_rig(capture, rig)


def test_multipleview(tmp_path):
    rig = writers.rig(("cam01", "cam02", "cam03"))
    write_colmap_binary(tmp_path / "sparse_", rig, [f"{c.name}.jpg" for c in rig])
    for c in rig:
        writers.write_images(tmp_path / c.name, range(1, 4), pattern="frame_{:05d}.jpg")
    capture = read_capture(tmp_path)
    assert capture.layout == "colmap-rig" and capture.num_frames == 3 and capture.eval_cameras == ("cam01",)
    _same_rig(capture, rig)


def test_colmap_images_of_a_camera_that_moved(tmp_path):
    rig = writers.rig(("a1", "a2", "b1"))
    write_colmap_text(tmp_path / "sparse" / "0", rig, ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    for name in "ab":
        writers.write_images(tmp_path / "images" / name, range(1, 4), pattern="{}.jpg")
    with pytest.raises(UserError, match=r"'a' .* turns by up to .* only 2 of its 3 frames have a pose"):
        read_capture(tmp_path)
    with pytest.raises(UserError, match=r"'a' .* have different poses: it turns by up to"):
        read_cameras(tmp_path / "sparse" / "0")


def test_calibration_for_other_cameras(tmp_path):
    write_colmap_text(tmp_path / "sparse" / "0", writers.rig(), ["left/1.jpg", "right/1.jpg", "top/1.jpg"])
    writers.write_images(tmp_path / "images" / "cam00")
    with pytest.raises(UserError, match="no camera has both calibration and frames"):
        read_capture(tmp_path)


def test_time_offset_of_a_camera_in_transforms(tmp_path):
    writers.write_transforms(tmp_path)
    content = json.loads((tmp_path / "transforms.json").read_text())
    content["frames"][1]["time_offset_seconds"] = -0.0125
    writers.write_json(tmp_path / "transforms.json", content)
    capture = read_capture(tmp_path)
    assert [c.time_offset_seconds for c in capture.cameras] == [0.0, -0.0125, 0.0]

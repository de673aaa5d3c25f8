"""COLMAP folders as programs and people leave them."""

import json

import numpy as np
import pytest

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.colmap_model import find_model
from tests.capture import writers
from tests.capture.refusals import refused
from tests.capture.test_calibration import write_colmap_binary, write_colmap_text
from tests.capture.test_layouts_named_rigs import _same_rig

WRITERS = [write_colmap_text, write_colmap_binary]


def write_frames(root, rig, pattern="images/{}", frames=range(3)):
    for c in rig:
        writers.write_images(root / pattern.format(c.name), frames, pattern="{:06d}.jpg")


@pytest.mark.parametrize("writer", WRITERS)
def test_the_model_with_most_images(writer, tmp_path):
    rig = writers.rig()
    writer(tmp_path / "sparse" / "0", rig[:2], [f"{c.name}/0.jpg" for c in rig[:2]])
    writer(tmp_path / "sparse" / "1", rig, [f"{c.name}/0.jpg" for c in rig])
    write_frames(tmp_path, rig)
    capture = read_capture(tmp_path)
    _same_rig(capture, rig)
    assert f"{tmp_path / 'sparse' / '1'} is used" in capture.notes[-1] and "0 (2)" in capture.notes[-1]


@pytest.mark.parametrize("folder", ["sparse", "sparse/1", "colmap/sparse/0", "colmap/sparse/2"])
def test_places_of_a_model(folder, tmp_path):
    rig = writers.rig()
    write_colmap_binary(tmp_path / folder, rig, [f"{c.name}/0.jpg" for c in rig])
    write_frames(tmp_path, rig)
    _same_rig(read_capture(tmp_path), rig)
    assert find_model(tmp_path) == tmp_path / folder


def test_files_of_two_kinds_are_not_mixed(tmp_path):
    rig = writers.rig()
    write_colmap_text(tmp_path / "sparse", rig, [f"{c.name}/0.jpg" for c in rig])
    (tmp_path / "sparse" / "cameras.bin").write_bytes(b"from an older run")
    write_frames(tmp_path, rig)
    _same_rig(read_capture(tmp_path), rig)


@pytest.mark.parametrize("features", ["", None, "1.0 2.0 -1 3.0 4.0 5", "1.0 2.0 -1 " * 4])
def test_lines_of_features_may_be_empty_or_missing(features, tmp_path):
    rig = writers.rig()
    write_colmap_text(tmp_path / "sparse", rig, [f"{c.name}/0 a.jpg" for c in rig])
    file = tmp_path / "sparse" / "images.txt"
    lines = file.read_text().splitlines()
    images = [line for line in lines[1:] if line.endswith(".jpg")]
    text = "\ufeff" + "\r\n".join(line if features is None else f"{line}\r\n{features}" for line in images)
    file.write_bytes(text.encode())
    write_frames(tmp_path, rig)
    _same_rig(read_capture(tmp_path), rig)


@pytest.mark.parametrize("name", ["{}/rgb/000000.jpg", "rig/{}/images/000000.jpg", "{}\\000000.jpg"])
@pytest.mark.parametrize("frames", ["images/{}", "images/{}/rgb", "input/{}", "{}/rgb", "images_2/{}"])
def test_folders_of_a_camera(name, frames, tmp_path):
    rig = writers.rig()
    write_colmap_text(tmp_path / "sparse" / "0", rig, [name.format(c.name) for c in rig])
    write_frames(tmp_path, rig, frames)
    _same_rig(read_capture(tmp_path), rig)


def test_stray_pictures_and_videos_beside_the_cameras(tmp_path):
    rig = writers.rig()
    write_colmap_binary(tmp_path / "sparse" / "0", rig, [f"{c.name}/0.jpg" for c in rig])
    write_frames(tmp_path, rig)
    writers.write_images(tmp_path / "preview")
    writers.write_video(tmp_path / "making_of.mp4")
    writers.write_images(tmp_path / "images" / "contact")
    capture = read_capture(tmp_path)
    _same_rig(capture, rig)
    assert "no calibration: contact" in capture.notes[0]


def write_turning(root, degrees, frames=4, moved=0.0):
    """cam01 pans (and goes along) by ``degrees`` from frame to frame."""
    rig, names, own = writers.rig(), [], []
    for c in rig:
        for i in range(frames):
            a = np.radians(degrees * i) if c.name == "cam01" else 0.0
            right, forward = np.cos(a) * c.right - np.sin(a) * c.forward, np.sin(a) * c.right + np.cos(a) * c.forward
            own.append(writers.Camera(c.name, c.centre + moved * (a != 0) * c.right, right, c.down, forward, c.focal))
            names.append(f"{c.name}/{i:06d}.jpg")
    write_colmap_binary(root / "sparse" / "0", own, names)
    return rig, own


def test_a_camera_that_turns_has_a_pose_for_each_frame(tmp_path):
    rig, own = write_turning(tmp_path, 3.0)
    write_frames(tmp_path, rig, frames=range(4))
    capture = read_capture(tmp_path)
    assert [len(c.poses) for c in capture.cameras] == [1, 4, 1]
    for i in range(4):
        expected = own[4 + i].opencv_world_from_camera()
        np.testing.assert_allclose(capture.camera("cam01").at(i).world_from_camera, expected, atol=1e-6)
    assert "cam01 turns by up to 6.0 degrees" in capture.notes[-1]


def test_a_camera_that_turns_but_lacks_poses_is_refused(tmp_path):
    rig, _ = write_turning(tmp_path, 3.0)
    write_frames(tmp_path, rig, frames=range(9))
    refused(lambda: read_capture(tmp_path), "camera 'cam01'", "6.0 degrees", "only 4 of its 9 frames")
    sizes = {c.name: (32, 24) for c in rig}
    refused(lambda: read_calibration(tmp_path / "sparse" / "0", sizes), "'cam01'", "6.0 degrees")


def test_a_camera_that_moved_names_its_share_of_the_rig(tmp_path):
    rig, _ = write_turning(tmp_path, 1e-5, moved=0.5)
    write_frames(tmp_path, rig, frames=range(9))
    refused(lambda: read_capture(tmp_path), "camera 'cam01'", "0.0 degrees", "% of the rig's size")


def test_a_folder_per_frame_is_no_camera(tmp_path):
    rig = writers.rig()
    names = [f"frame{i}/{c.name}.jpg" for c in rig for i in range(3)]
    write_colmap_binary(tmp_path / "sparse" / "0", [c for c in rig for _ in range(3)], names)
    for name in names:
        writers.write_image(tmp_path / "images" / name)
    refused(lambda: read_capture(tmp_path), "a folder per frame", "cam00, cam01, cam02")


def test_one_image_per_camera_is_one_frame(tmp_path):
    rig = writers.rig()
    write_colmap_text(tmp_path / "sparse" / "0", rig, [f"{c.name}.jpg" for c in rig])
    for c in rig:
        writers.write_image(tmp_path / "images" / f"{c.name}.jpg")
    capture = read_capture(tmp_path)
    assert capture.num_frames == 1
    _same_rig(capture, rig)


def test_scatter_of_a_fixed_camera_is_no_movement(tmp_path):
    rig, _ = write_turning(tmp_path, 0.03)
    write_frames(tmp_path, rig, frames=range(9))
    assert [len(c.poses) for c in read_capture(tmp_path).cameras] == [1, 1, 1]


def test_lenses_of_one_camera_that_differ(tmp_path):
    rig = writers.rig(("a", "b"))
    zoomed = [*rig, writers.Camera("b", rig[1].centre, rig[1].right, rig[1].down, rig[1].forward, focal=60.0)]
    write_colmap_binary(tmp_path / "sparse" / "0", zoomed, ["a/0.jpg", "b/0.jpg", "b/1.jpg"])
    write_frames(tmp_path, rig)
    refused(lambda: read_capture(tmp_path), "'b'", "41 to 60", "zooms")


# Rows of poses_bounds.npy


def write_rows(root, names, rows):
    rig = {c.name: c for c in writers.rig(names)}
    writers.write_poses_bounds(root, [rig[name] for name in rows])
    for name in names:
        writers.write_image(root / "images" / name / "0.png")
    return rig


def test_rows_whose_order_is_not_clear(tmp_path):
    names = [f"cam{i + 1}" for i in range(11)]
    rig = write_rows(tmp_path, names, sorted(names))
    refused(
        lambda: read_capture(tmp_path), "poses_bounds.npy", "row 1 is cam2", "cam10 when by letters", "poses_bounds.txt"
    )
    sizes = dict.fromkeys(names, (32, 24))
    refused(lambda: read_calibration(tmp_path, sizes), "row 1 is cam2", "poses_bounds.txt")
    (tmp_path / "poses_bounds.txt").write_text("\n".join(sorted(names)))
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == names
    _same_rig(capture, list(rig.values()))
    found = {c["name"]: c["world_from_camera"] for c in read_calibration(tmp_path, sizes)["cameras"]}
    np.testing.assert_allclose(found["cam10"], rig["cam10"].opencv_world_from_camera(), atol=1e-9)
    (tmp_path / "poses_bounds.txt").write_text("\n".join(names[:-1]))
    refused(lambda: read_capture(tmp_path), "poses_bounds.txt", "order of the rows")


@pytest.mark.parametrize("names", [[f"cam{i + 1}" for i in range(9)], [f"cam{i:02d}" for i in range(12)]])
def test_rows_whose_order_is_clear(names, tmp_path):
    rig = write_rows(tmp_path, names, names)
    _same_rig(read_capture(tmp_path), list(rig.values()))


def test_frames_in_one_folder_are_no_cameras(tmp_path):
    rig = writers.rig()
    names = [f"{c.name}_{i:06d}.jpg" for c in rig for i in range(3)]
    write_colmap_binary(tmp_path / "sparse" / "0", [c for c in rig for _ in range(3)], names)
    for name in names:
        writers.write_image(tmp_path / "images" / name)
    refused(lambda: read_capture(tmp_path), "cam00_000000.jpg and cam00_000001.jpg", "frames of one camera")


def test_a_folder_per_frame_in_transforms_is_no_camera(tmp_path):
    names = [camera.name for camera in writers.write_transforms(tmp_path)]
    listing = json.loads((tmp_path / "transforms.json").read_text())
    entries = [{k: v for k, v in e.items() if k not in ("camera_label", "time", "frame_id")} for e in listing["frames"]]
    own = dict(zip(names, entries[:: len(entries) // len(names)], strict=True))
    listing["frames"] = [own[n] | {"file_path": f"by_frame/{i:06d}/{n}.png"} for i in range(3) for n in names]
    for entry in listing["frames"]:
        writers.write_image(tmp_path / entry["file_path"])
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    refused(lambda: read_capture(tmp_path), "a folder per frame", *names)

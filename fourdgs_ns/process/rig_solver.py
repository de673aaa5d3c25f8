"""Poses and lenses of a static rig by incremental structure from motion, in a process of its own.

Run as ``python -m fourdgs_ns.process.rig_solver JOB.npz RESULT.json``: pycolmap's libraries and OpenCV's PNG writer
do not get along in one process, and a process can be stopped by Ctrl-C at any time. Nothing here imports OpenCV.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

MODELS = {"pinhole": "SIMPLE_PINHOLE", "radial": "SIMPLE_RADIAL", "opencv": "OPENCV", "fisheye": "OPENCV_FISHEYE"}
FOCAL_GUESS = 1.0
"""Focal length over the longer side before the solution: 53 degrees, between phones and wide action cameras."""
MIN_MATCHES = 15
ROUNDS = 3
"""Times that the rig is solved, each time without the pairs that misled the one before."""
AGREEING_PIXELS = 4.0
CONTRADICTED_SHARE = 0.4
"""Of a camera's verified matches: when fewer fit its pose, that pose is wrong. In a dome of 31 cameras right ones have 0.5 to
0.8, a wrong one had 0.13."""
SEED = 0


def solve(job: dict[str, np.ndarray]) -> dict[str, Any]:
    """Cameras of the largest consistent model; see :func:`fourdgs_ns.process.calibrate.solve_rig` for the job."""
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(SEED)
    sizes, lens, shared = job["sizes"], str(job["lens"]), bool(job["shared"])
    pairs = job["pairs"]
    dropped: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        solved: tuple[Any, np.ndarray, list[int], set[int]] | None = None
        for _ in range(ROUNDS):
            database = Path(folder) / "rig.db"
            database.unlink(missing_ok=True)
            inliers = _fill(pycolmap, database, job, MODELS[lens], shared, dropped)
            model = _largest(pycolmap, database, len(sizes))
            if solved is not None and (model is None or model.num_reg_images() < solved[0].num_reg_images()):
                break  # the doubtful pairs are all that holds a camera
            if model is None:
                return {"cameras": {}, "inliers": inliers.tolist(), "pairs": pairs.tolist()}
            _polish(pycolmap, model, lens)
            solved = model, inliers, *_contradicted(model, job, inliers)
            if not solved[3]:
                break
            dropped |= solved[3]
        assert solved is not None
        model, inliers, contradicted, _ = solved
        return {**_result(model, inliers, pairs), "contradicted": contradicted}


def _largest(pycolmap: Any, database: Path, cameras: int) -> Any:
    """The model of most cameras, None when nothing starts."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_num_matches = MIN_MATCHES
    options.min_model_size = 2
    options.extract_colors = False
    options.random_seed = SEED
    options.mapper.random_seed = SEED
    options.mapper.abs_pose_min_num_inliers = MIN_MATCHES
    options.mapper.abs_pose_min_inlier_ratio = 0.15
    # With few cameras most points are seen by two of them.
    options.triangulation.ignore_two_view_tracks = cameras > 6
    best = None
    # A hard start is tried again with less: small angle, few matches.
    for angle, least in ((8.0, 40), (3.0, 20)):
        options.mapper.init_min_tri_angle, options.mapper.init_min_num_inliers = angle, least
        folder = str(database.parent)
        models = pycolmap.incremental_mapping(str(database), folder, folder, options)
        for model in models.values():
            size = model.num_reg_images(), model.num_points3D()
            if best is None or size > (best.num_reg_images(), best.num_points3D()):
                best = model
        if best is not None and best.num_reg_images() == cameras:
            break
    return best


def _contradicted(model: Any, job: dict[str, np.ndarray], inliers: np.ndarray) -> tuple[list[int], set[int]]:
    """Cameras whose pose most of their verified matches contradict, and the pairs that put them there.

    Repeated structure (panels, windows, tiles) makes wrong matches that are consistent with each other; the first ones that
    an incremental solution meets decide where the camera goes.
    """
    images = {int(model.images[i].name): model.images[i] for i in model.reg_image_ids()}
    agreeing = np.zeros(len(inliers))
    chosen = [
        k for k, (i, j) in enumerate(job["pairs"].tolist()) if inliers[k] >= MIN_MATCHES and {i, j} <= images.keys()
    ]
    for k in chosen:
        i, j = job["pairs"][k]
        a, b = images[int(i)], images[int(j)]
        matches = job[f"matches_{k}"]
        distance = _line_distance(model, a, b, job[f"pixels_{i}"][matches[:, 0]], job[f"pixels_{j}"][matches[:, 1]])
        agreeing[k] = min((distance < AGREEING_PIXELS).sum(), inliers[k])
    pairs_of = {c: [k for k in chosen if c in job["pairs"][k]] for c in images}
    shares = {c: agreeing[own].sum() / inliers[own].sum() for c, own in pairs_of.items() if len(own) >= 3}
    lost = [c for c, share in shares.items() if share < CONTRADICTED_SHARE]
    return lost, {k for c in lost for k in pairs_of[c] if agreeing[k] > 0.5 * inliers[k]}


def _line_distance(model: Any, a: Any, b: Any, pixels_a: np.ndarray, pixels_b: np.ndarray) -> np.ndarray:
    """Distance in pixels of b's points from the epipolar lines of a's, and the other way round, the larger one."""
    rays, focal = [], []
    for image, pixels in ((a, pixels_a), (b, pixels_b)):
        camera = model.cameras[image.camera_id]
        flat = camera.cam_from_img(pixels.astype(np.float64))
        rays.append(np.concatenate([flat, np.ones((len(flat), 1))], axis=1))
        focal.append(camera.mean_focal_length())
    pose = (b.cam_from_world() * a.cam_from_world().inverse()).matrix()
    t = pose[:, 3]
    essential = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ pose[:, :3]
    in_b, in_a = rays[0] @ essential.T, rays[1] @ essential
    residual = np.abs((rays[1] * in_b).sum(axis=1))
    distances = [
        f * residual / np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-30)
        for f, line in zip((focal[1], focal[0]), (in_b, in_a))
    ]
    return np.maximum(*distances)


def _fill(
    pycolmap: Any, path: Path, job: dict[str, np.ndarray], model: str, shared: bool, dropped: set[int]
) -> np.ndarray:
    """Write cameras, keypoints and verified matches but those of the pairs ``dropped``; returns their number per pair."""
    pairs = job["pairs"]
    inliers = np.zeros(len(pairs), np.int64)
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = SEED
    with pycolmap.Database.open(str(path)) as db:
        lenses = _write_lenses(pycolmap, db, job["sizes"].tolist(), model, shared)
        images = []
        for i, (camera, rig_id) in enumerate(lenses):
            image = pycolmap.Image(name=f"{i:04d}", camera_id=camera.camera_id)
            image.image_id = db.write_image(image)
            frame = pycolmap.Frame()
            frame.rig_id = rig_id
            frame.add_data_id(image.data_id)
            db.write_frame(frame)
            db.write_keypoints(image.image_id, job[f"pixels_{i}"].astype(np.float32))
            images.append(image.image_id)
        for k, (i, j) in enumerate(pairs.tolist()):
            matches = job[f"matches_{k}"].astype(np.uint32)
            if len(matches) < MIN_MATCHES or k in dropped:
                continue
            a, b = job[f"pixels_{i}"], job[f"pixels_{j}"]
            geometry = pycolmap.estimate_two_view_geometry(lenses[i][0], a, lenses[j][0], b, matches, options)
            inliers[k] = len(geometry.inlier_matches)
            db.write_matches(images[i], images[j], matches)
            if inliers[k] >= MIN_MATCHES:
                db.write_two_view_geometry(images[i], images[j], geometry)
    return inliers


def _write_lenses(pycolmap: Any, db: Any, sizes: list[list[int]], model: str, shared: bool) -> list[tuple[Any, int]]:
    """The lens of each camera with the id of the rig that holds it alone; one per size when ``shared``."""
    lenses: list[tuple[Any, int]] = []
    by_size: dict[tuple[int, int], tuple[Any, int]] = {}
    for width, height in sizes:
        if shared and (width, height) in by_size:
            lenses.append(by_size[width, height])
            continue
        camera = pycolmap.Camera.create_from_model_name(0, model, FOCAL_GUESS * max(width, height), width, height)
        camera.has_prior_focal_length = False
        camera.camera_id = db.write_camera(camera)
        rig = pycolmap.Rig()
        rig.add_ref_sensor(camera.sensor_id)
        by_size[width, height] = camera, db.write_rig(rig)
        lenses.append(by_size[width, height])
    return lenses


def _polish(pycolmap: Any, model: Any, lens: str) -> None:
    """A last adjustment of everything."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point = False
    options.refine_extra_params = lens != "pinhole"
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    pycolmap.bundle_adjustment(model, options)


def _result(model: Any, inliers: np.ndarray, pairs: np.ndarray) -> dict[str, Any]:
    cameras = {}
    for image_id in model.reg_image_ids():
        image = model.images[image_id]
        camera = model.cameras[image.camera_id]
        errors = []
        for point in image.points2D:
            if point.has_point3D():
                projected = image.project_point(model.points3D[point.point3D_id].xyz)
                if projected is not None:
                    errors.append(float(np.linalg.norm(projected - point.xy)))
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        cameras[str(int(image.name))] = {
            "model": camera.model.name,
            "params": [float(p) for p in camera.params],
            "world_from_camera": pose.tolist(),
            "points": len(errors),
            "error": float(np.median(errors)) if errors else None,
            "mean_error": float(np.mean(errors)) if errors else None,
        }
    return {"cameras": cameras, "inliers": inliers.tolist(), "pairs": pairs.tolist()}


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        outcome = solve({name: stored[name] for name in stored.files})
    Path(sys.argv[2]).write_text(json.dumps(outcome))

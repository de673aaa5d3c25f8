"""Poses and lenses of a static rig by incremental structure from motion, in a process of its own.

Run as ``python -m fourdgs_ns.preprocessing.rig_solver JOB.npz RESULT.json``: pycolmap's libraries and OpenCV's PNG writer
do not get along in one process, and a process can be stopped by Ctrl-C at any moment. Nothing here imports OpenCV.
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
SEED = 0


def solve(job: dict[str, np.ndarray]) -> dict[str, Any]:
    """Cameras of the largest consistent model; see :func:`fourdgs_ns.preprocessing.calibrate.solve_rig` for the job."""
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(SEED)
    sizes, lens, shared = job["sizes"], str(job["lens"]), bool(job["shared"])
    pairs = job["pairs"]
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "rig.db"
        inliers = _fill(pycolmap, database, job, MODELS[lens], shared)
        options = pycolmap.IncrementalPipelineOptions()
        options.min_num_matches = MIN_MATCHES
        options.min_model_size = 2
        options.extract_colors = False
        options.random_seed = SEED
        options.mapper.random_seed = SEED
        options.mapper.abs_pose_min_num_inliers = MIN_MATCHES
        options.mapper.abs_pose_min_inlier_ratio = 0.15
        options.mapper.init_min_num_inliers = 40
        options.mapper.init_min_tri_angle = 8.0
        # With few cameras most points are seen by two of them.
        options.triangulation.ignore_two_view_tracks = len(sizes) > 6
        best = None
        # A hard start is tried again with less: small angle, few matches.
        for angle, least in ((8.0, 40), (3.0, 20)):
            options.mapper.init_min_tri_angle, options.mapper.init_min_num_inliers = angle, least
            models = pycolmap.incremental_mapping(str(database), folder, folder, options)
            for model in models.values():
                if best is None or (model.num_reg_images(), model.num_points3D()) > (
                    best.num_reg_images(), best.num_points3D(),
                ):  # fmt: skip
                    best = model
            if best is not None and best.num_reg_images() == len(sizes):
                break
        if best is None:
            return {"cameras": {}, "inliers": inliers.tolist(), "pairs": pairs.tolist(), "points": [], "seconds": 0}
        _polish(pycolmap, best, lens)
        return _result(best, inliers, pairs)


def _fill(pycolmap: Any, path: Path, job: dict[str, np.ndarray], model: str, shared: bool) -> np.ndarray:
    """Write cameras, keypoints and verified matches; returns the number of verified matches of each pair."""
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
            if len(matches) < MIN_MATCHES:
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
    points = [[*map(float, p.xyz), float(p.error), p.track.length()] for p in model.points3D.values()]
    return {"cameras": cameras, "inliers": inliers.tolist(), "pairs": pairs.tolist(), "points": points}


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        outcome = solve({name: stored[name] for name in stored.files})
    Path(sys.argv[2]).write_text(json.dumps(outcome))

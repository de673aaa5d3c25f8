"""A rig from matches that are known, some of them of a ghost."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourdgs_ns.process.alignment import compare_rigs
from fourdgs_ns.process.rig_solver import solve

SIZE, FOCAL, CAMERAS = (640, 480), 600.0, 8


def _pose(angle):
    turn = Rotation.from_rotvec([0.1 * np.sin(5 * angle), -angle, 0.05]).as_matrix()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, turn @ [0.0, 0.0, -6.0]
    return pose


def _job(ghost):
    """Cameras on an arc around a cloud of points; the last one also matches the first three where it does not stand."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.5, 1.5, (240, 3))
    poses = [_pose(0.25 * i) for i in range(CAMERAS)]

    def pixels(pose, cloud):
        local = (cloud - pose[:3, 3]) @ pose[:3, :3]
        flat = local[:, :2] / local[:, 2:] * FOCAL + np.array(SIZE) / 2
        return flat + rng.normal(0, 0.2, flat.shape)

    seen = [pixels(pose, points) for pose in poses]
    last = CAMERAS - 1
    seen[last] = np.concatenate([seen[last], pixels(_pose(-0.6), points)])
    pairs, matches = [], []
    for i in range(CAMERAS):
        for j in range(i + 1, CAMERAS):
            step = 2 if j == last else 3  # the last camera sees less than the others
            rows = np.arange(j % step, 240, step if j - i < 4 else 8)
            if j == last and i == 0 and ghost:
                pairs.append((i, j))
                matches.append(np.stack([np.arange(150), 240 + np.arange(150)], axis=1))
            else:
                pairs.append((i, j))
                matches.append(np.stack([rows, rows], axis=1))
    job = {"sizes": np.array([SIZE] * CAMERAS), "lens": np.array("pinhole"), "shared": np.array(False)}
    job |= {f"pixels_{i}": p for i, p in enumerate(seen)} | {f"matches_{k}": m for k, m in enumerate(matches)}
    return job | {"pairs": np.array(pairs)}, np.stack(poses)


@pytest.mark.slow
@pytest.mark.parametrize("ghost", [False, True])
def test_a_camera_stands_where_most_of_its_matches_say(ghost):
    job, poses = _job(ghost)
    outcome = solve(job)
    assert len(outcome["cameras"]) == CAMERAS and outcome["contradicted"] == []
    found = np.stack([outcome["cameras"][str(i)]["world_from_camera"] for i in range(CAMERAS)])
    difference = compare_rigs(found, poses)
    assert difference.position.max() < 0.05 and difference.rotation_degrees.max() < 0.5

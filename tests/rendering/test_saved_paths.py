"""Camera paths of the viewer's Render tab as plans of videos."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.rendering.plans import Timing, saved_plan
from fourdgs_ns.representation.types import Clip

CLIP = Clip(num_frames=31, duration_seconds=1.0)


@pytest.fixture
def plan(tmp_path):
    """The plan of a path of three poses without times; ``top`` goes to the file's top level."""

    def make(timing: Timing, clip: Clip = CLIP, **top: Any):
        steps = [{"camera_to_world": np.eye(4).flatten().tolist(), "fov": 60.0, "aspect": 1.5} for _ in range(3)]
        record = {"render_height": 20, "render_width": 30, "fps": 24, "camera_type": "perspective"}
        file = tmp_path / "path.json"
        file.write_text(json.dumps({**record, "camera_path": steps, **top}))
        pipeline = Mock(spec=DynamicGaussiansPipeline, gaussians=SimpleNamespace(clip=clip))
        return saved_plan(pipeline, file, timing, 1.0)

    return make


@pytest.mark.parametrize(
    "timing, phrase",
    [
        *((Timing(speed=0.0), "--speed is 0"), (Timing(speed=-1.0), "--speed is -1"), (Timing(fps=0.0), "--fps is 0")),
        *((Timing(fps=-5.0), "--fps is -5"), (Timing(at="0.5", span=("0", "1")), "--at freezes time")),
        *((Timing(speed=float("inf")), "--speed is inf"), (Timing(speed=float("nan")), "--speed is nan")),
    ],
)
def test_timing_is_checked_as_for_other_paths(plan, timing, phrase):
    with pytest.raises(UserError, match=phrase):
        plan(timing)


def test_other_lenses_are_refused_and_not_rendered_in_perspective(plan):
    with pytest.raises(UserError, match=r"path\.json was saved for a camera of the type equirectangular"):
        plan(Timing(), camera_type="equirectangular")


@pytest.mark.parametrize("stated, fps", [(24, 24.0), (None, 30.0), (0, 30.0), (-3, 30.0)])
def test_frame_rate_is_the_paths_own_or_the_captures(plan, stated, fps):
    assert plan(Timing(), fps=stated).fps == fps


def test_frame_rate_that_is_none(plan):
    with pytest.raises(UserError, match=r"path\.json is no camera path"):
        plan(Timing(), fps="fast")


def test_without_times_the_clip_runs_once_and_a_single_instant_stands_still(plan):
    np.testing.assert_allclose(plan(Timing()).cameras.times[:, 0], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(plan(Timing(), Clip(1, 0.0)).cameras.times[:, 0], 0.0)

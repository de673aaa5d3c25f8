"""Clocks of cameras: the gauge, the report, and a late camera found through the renderer."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.corrections.clocks import CameraClocks
from fourdgs_ns.corrections.report import describe_clocks
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.freetime import FreeTimeConfig
from tests.densification.test_relocation import scene
from tests.rasterization.random_scenes import make_cameras


def test_the_median_clock_is_the_scenes():
    times = CameraClocks(5)
    times.offsets.data = torch.tensor([0.01, 0.01, 0.01, 0.05, 0.0])
    times.center()
    torch.testing.assert_close(times.in_frames(0.02).tolist(), [0.0, 0.0, 0.0, 2.0, -0.5])
    torch.testing.assert_close(times(0.3, 3).detach(), torch.tensor(0.34))


def test_the_report_names_who_is_late_and_by_how_much():
    told = describe_clocks({"cam01": 0.02, "cam05": 1.4, "cam07": -0.31}, frame_seconds=1 / 30)
    assert told == (
        "Clocks: cam05 is 1.40 frames (47 ms) late, cam07 is 0.31 frames (10 ms) early; the other cameras agree to 0.1 frames."
    )
    assert describe_clocks({"a": 0.0}, 0.1) == "Clocks: all cameras agree to 0.1 frames."


@pytest.mark.parametrize("late", [1.4, -0.7])
def test_a_late_camera_is_found_to_a_tenth_of_a_frame(late):
    """Images of a known moving scene, exposed ``late`` frames after the stated instants; only the offset is learned."""
    representation, params, interval = FreeTimeConfig(sh_degree=0).setup(), dict(scene(120).items()), 1 / 20
    cameras = make_cameras(1, 48, 48)

    def render_at(t):
        return rasterize(representation.at(params, t, representation.active(params, float(t))), cameras).features

    times = CameraClocks(2)
    optimizer = torch.optim.Adam([times.offsets], lr=5e-3)
    instants = [0.2, 0.35, 0.5, 0.65, 0.8]
    with torch.no_grad():
        truths = [render_at(t + late * interval) for t in instants]
    for step in range(60):
        optimizer.zero_grad()
        k = step % len(instants)
        (render_at(times(instants[k], 1)) - truths[k]).abs().mean().backward()
        optimizer.step()
    assert abs(float(times.in_frames(interval)[1]) - late) < 0.1
    assert float(times.offsets[0]) == 0

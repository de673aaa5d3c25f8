"""Moving regions of held-out views: from masks where a capture has them, else from the truth's change over time."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from fourdgs_ns.evaluation.evaluate import MOVING_DEVIATION, MovingRegions
from fourdgs_ns.evaluation.scores import temporal_deviation
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from tests.cli.run import fourdgs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Labels of what moves beside whole frames, as images."""
    out = tmp_path_factory.mktemp("moving") / "stage"
    done = fourdgs(
        *("synth", "--out", out, "--layout", "easyvolcap", "--images", "--cameras", 3, "--frames", 4, "--size", 64, 48),
        *("--samples", 4, "--no-ground-truth"),
    )
    assert done.code == 0, done.text
    return out


def held_out(capture, masks: str) -> MultiViewVideoDataset:
    parser = MultiViewVideoDataParserConfig(data=capture, masks=masks, downscale_factor=1).setup()
    return MultiViewVideoDataset(parser.get_dataparser_outputs("test"))


def test_labels_are_read_though_training_left_them_out(capture):
    dataset = held_out(capture, "ignore")
    assert not dataset.facts.masks_as_alpha
    regions = MovingRegions(dataset)
    name = dataset.camera_name(0)
    assert regions.source == {name: "masks"}
    for view in range(len(dataset)):
        source = dataset.capture.camera(name).masks
        mask = cv2.imread(str(source.paths[view]), cv2.IMREAD_GRAYSCALE) > 127
        found = regions.of(view).numpy()
        assert 0.02 < mask.mean() < 0.9
        assert (found != mask).mean() < 0.01
    # Reading them leaves the frames as they were: without alpha.
    assert dataset.get_numpy_image(0).shape[-1] == 3


def test_without_masks_what_changes_over_time_moves(capture):
    dataset = held_out(capture, "ignore")
    cameras = tuple(dataclasses.replace(camera, masks=None) for camera in dataset.capture.cameras)
    dataset.capture = dataclasses.replace(dataset.capture, cameras=cameras)
    regions = MovingRegions(dataset)
    name = dataset.camera_name(0)
    assert regions.source == {name: "variance"}
    frames = np.stack([dataset.get_numpy_image(view) for view in range(len(dataset))])
    expected = temporal_deviation(frames) > MOVING_DEVIATION
    assert 0.01 < expected.mean() < 0.9
    np.testing.assert_array_equal(regions.of(2).numpy(), expected)

"""``--masks ignore``: whole frames are stored and matched, whatever says what the subject is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fourdgs_ns.plugin import starting_points as module
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.points.instants import read_instants
from tests.capture import writers


def parsed(root, masks):
    config = MultiViewVideoDataParserConfig(data=root, masks=masks)
    return config, config.setup().get_dataparser_outputs("train")


@pytest.mark.parametrize("masks", ["auto", "ignore"])
def test_alpha_of_images(tmp_path, masks):
    writers.write_dnerf(tmp_path, channels=4)
    _, outputs = parsed(tmp_path, masks)
    dataset = MultiViewVideoDataset(outputs)
    capture = dataset.capture
    stored = cv2.imread(str(capture.camera("train").frames.paths[0]), cv2.IMREAD_UNCHANGED)
    order = [2, 1, 0, 3] if masks == "auto" else [2, 1, 0]
    np.testing.assert_array_equal(dataset.get_numpy_image(0), stored[:, :, order])
    assert any("alpha channel" in note for note in capture.notes) == (masks == "auto")
    ((_, images),) = read_instants(capture, [capture.camera("train")], [0], {"train": 1.0})
    assert (images["train"].keep is not None) == (masks == "auto")
    # A store of one kind is never taken for the other.
    other = MultiViewVideoDataset(parsed(tmp_path, "ignore" if masks == "auto" else "auto")[1])
    assert other.get_numpy_image(0).shape[-1] == 7 - len(order)


@pytest.mark.parametrize("masks", ["auto", "ignore"])
def test_points_come_from_what_is_trained_on(tmp_path, masks, monkeypatch):
    rig = writers.write_easyvolcap(tmp_path)
    for camera in rig:
        writers.write_images(tmp_path / "masks" / camera.name, channels=1)
    config, outputs = parsed(tmp_path, masks)
    assert CaptureFacts.of(outputs.metadata).masks_as_alpha == (masks == "auto")
    seen = []

    def record(capture, **options):
        seen.append(capture)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "load_points", record)
    with pytest.raises(KeyboardInterrupt):
        module.starting_points(CaptureFacts.of(outputs.metadata), config, seed=0)
    assert all((camera.masks is None) == (masks == "ignore") for camera in seen[0].cameras)

"""Views of a step: same instant, distinct cameras, reproducible, fair."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fourdgs_ns.plugin.datamanager import MultiViewVideoDatamanager
from fourdgs_ns.training.sampling import SameTimeSampler


def make(batch: int = 2, seed: int = 0, cameras: int = 4, frames: int = 6, groups: np.ndarray | None = None):
    instants = np.tile(np.linspace(0, 1, frames), cameras)
    groups = np.zeros(cameras * frames, dtype=int) if groups is None else groups
    return SameTimeSampler(instants, groups, batch, seed), instants


def test_batches_share_the_instant_and_never_repeat_a_camera():
    sampler, instants = make(batch=3)
    for step in range(50):
        views = sampler.views(step)
        assert len(set(views)) == 3 and len(set(instants[views])) == 1


def test_every_instant_is_visited_once_per_round():
    sampler, instants = make()
    for visit in range(3):
        seen = [instants[sampler.views(visit * 6 + k)[0]] for k in range(6)]
        assert sorted(seen) == sorted(set(instants))


def test_a_step_depends_on_nothing_but_seed_and_step():
    first, second, other = make()[0], make()[0], make(seed=1)[0]
    for step in (17, 3, 99):
        np.testing.assert_array_equal(first.views(step), second.views(step))
    assert any((first.views(s) != other.views(s)).any() for s in range(10))


def test_batches_hold_one_image_size_and_shrink_when_there_are_not_enough():
    groups = np.repeat([0, 0, 1, 0], 6)
    sampler, _ = make(batch=4, groups=groups)
    sizes = set()
    for step in range(40):
        views = sampler.views(step)
        assert len(set(groups[views])) == 1
        sizes.add(len(views))
    assert sizes == {1, 3}


@pytest.mark.parametrize("missing", [None, 2])
def test_neighbors_of_a_batch_share_an_instant_even_where_a_camera_lacks_a_frame(missing):
    """A batch is rendered at the time of its first view, so the others must be of that time, too."""
    frames = [np.arange(6), np.delete(np.arange(6), [] if missing is None else [missing])]
    dataset = SimpleNamespace(
        camera_ids=np.repeat([0, 1], [len(own) for own in frames]), frame_ids=np.concatenate(frames)
    )
    manager: Any = SimpleNamespace(train_dataset=dataset, config=SimpleNamespace(seed=0), neighbor_window=2)
    moved = 0
    for step in range(60):
        instant = step % 6
        views = np.flatnonzero(dataset.frame_ids == instant)
        others = MultiViewVideoDatamanager._neighbors(manager, views, step)
        np.testing.assert_array_equal(dataset.camera_ids[others], dataset.camera_ids[views])
        assert len(set(dataset.frame_ids[others])) == 1
        moved += int(dataset.frame_ids[others[0]] != instant)
    assert moved > 30

"""Threads for work that OpenCV spreads by itself, too."""

from __future__ import annotations

import cv2
import pytest

from fourdgs_ns.common import cores


@pytest.mark.parametrize(("available", "tasks", "theirs"), [(16, 4, 4), (16, 19, 1), (2, 0, 2), (1, 9, 1)])
def test_threads_of_opencv_are_shared_out(monkeypatch, available, tasks, theirs):
    monkeypatch.setattr(cores, "available_cores", lambda: available)
    asked = []
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 7)
    monkeypatch.setattr(cv2, "setNumThreads", asked.append)
    with pytest.raises(ZeroDivisionError), cores.workers(tasks) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
        assert asked == [theirs]
        1 / 0  # noqa: B018
    assert asked == [theirs, 7], "given back also after an error"

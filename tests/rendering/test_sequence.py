"""Sequences of images on disk: complete, resumed, and refused."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.rendering import sequence as module
from fourdgs_ns.rendering.sequence import Sequence, write_sequence

HEIGHT, WIDTH = 34, 48


def image(index: int) -> np.ndarray:
    """A grey ramp that brightens with the index."""
    ramp = np.linspace(20, 120, WIDTH)[None] + 12 * index + np.zeros((HEIGHT, 1))
    return np.repeat(ramp[..., None], 3, axis=2).round().astype(np.uint8)


class CountingRenderer:
    """Counts what is rendered; stops like Ctrl-C before image ``stop``."""

    def __init__(self, stop: int | None = None) -> None:
        self.rendered: list[int] = []
        self.stop = stop

    def __call__(self, index: int) -> np.ndarray:
        if index == self.stop:
            raise KeyboardInterrupt
        self.rendered.append(index)
        return image(index)


@pytest.fixture(params=["film.mp4", "frames"])
def wanted(request, tmp_path) -> Sequence:
    return Sequence(tmp_path / "out" / request.param, 6, 12.5, {"path": "Fixed", "speed": "1.0"})


def decoded(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def check(wanted: Sequence) -> None:
    """What was written is what was rendered, and nothing else is there."""
    if wanted.is_video:
        frames = decoded(wanted.out)
        assert len(frames) == 6
        for index, frame in enumerate(frames):
            assert np.abs(frame.astype(int) - image(index)).mean() < 3
        with av.open(str(wanted.out)) as container:
            assert float(container.streams.video[0].average_rate) == 12.5
        assert sorted(path.name for path in wanted.out.parent.iterdir()) == [wanted.out.name]
    else:
        assert sorted(path.name for path in wanted.out.iterdir()) == [f"{i:06d}.png" for i in range(6)] + [
            "recipe.json"
        ]
        for index in range(6):
            np.testing.assert_array_equal(cv2.imread(str(wanted.file(index)))[..., ::-1], image(index))


def test_everything_is_written(wanted):
    assert write_sequence(wanted, CountingRenderer()) == 6
    check(wanted)


def test_an_interrupted_one_goes_on_where_it_stopped(wanted):
    with pytest.raises(KeyboardInterrupt):
        write_sequence(wanted, CountingRenderer(stop=4))
    assert not (wanted.is_video and wanted.out.exists())
    again = CountingRenderer()
    assert write_sequence(wanted, again) == 2
    assert again.rendered == [4, 5]
    check(wanted)


def test_images_of_another_recipe_are_not_mixed(wanted):
    with pytest.raises(KeyboardInterrupt):
        write_sequence(wanted, CountingRenderer(stop=3))
    other = replace(wanted, recipe={"path": "Fixed", "speed": "0.5"})
    with pytest.raises(UserError, match="another path, run or option; add --overwrite"):
        write_sequence(other, CountingRenderer())
    assert write_sequence(replace(other, overwrite=True), CountingRenderer()) == 6
    check(wanted)


def test_a_finished_video_is_replaced_only_when_asked(tmp_path):
    wanted = Sequence(tmp_path / "film.mp4", 6, 12.5, {})
    write_sequence(wanted, CountingRenderer())
    with pytest.raises(UserError, match=r"film\.mp4 exists; add --overwrite"):
        write_sequence(wanted, CountingRenderer())
    assert write_sequence(replace(wanted, overwrite=True), CountingRenderer()) == 6
    check(wanted)


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "000000.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="holds other files"):
        write_sequence(Sequence(tmp_path / "letters", 2, 30, {}, overwrite=True), CountingRenderer())
    assert (tmp_path / "letters" / "000000.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name, phrase", [("film.avi", "ends in '.avi'"), ("taken", "is a file"), ("under/taken/x", "cannot be written")]
)
def test_impossible_outputs(tmp_path, name, phrase):
    (tmp_path / "taken").write_text("")
    (tmp_path / "under").mkdir()
    (tmp_path / "under" / "taken").write_text("")
    with pytest.raises(UserError, match=phrase):
        write_sequence(Sequence(tmp_path / name, 2, 30, {}), CountingRenderer())


def test_the_same_command_twice_at_once(tmp_path, monkeypatch):
    """Another process writes the same image while this one is about to rename its own."""
    path, real = tmp_path / "000000.png", os.replace

    def other_first(source, target):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", real)
            patch.setattr(os, "getpid", lambda: 1)
            module.write_png(path, image(0))
        real(source, target)

    monkeypatch.setattr(os, "replace", other_first)
    module.write_png(path, image(1))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], image(1))


def test_a_full_disk_keeps_what_is_there_and_can_be_resumed(wanted, monkeypatch):
    real = os.replace

    def full(source, target):
        if str(target).endswith("000003.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"the disk is full.*type the same command again"):
        write_sequence(wanted, CountingRenderer())
    assert not list(wanted.folder.glob("*.part"))
    monkeypatch.undo()
    assert write_sequence(wanted, CountingRenderer()) == 3
    check(wanted)

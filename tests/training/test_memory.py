"""What Gaussians cost and how many fit; running out of GPU memory is one line wherever it happens. No GPU is needed."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch

from fourdgs_ns.bench import memory as bench
from fourdgs_ns.bench.render import REPRESENTATIONS, make_scene
from fourdgs_ns.capture.frames import residency
from fourdgs_ns.capture.frames.store import FrameStore
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.machine_memory import free_host_memory
from fourdgs_ns.training import memory

CPU = torch.device("cpu")
GB = memory.GB


def out_of_memory(*args, **kwargs):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 24 GB of which 1 GB is free and this process holds 20."""
    monkeypatch.setattr(memory, "gpu_memory", lambda: (1 * GB, 24 * GB, 20 * GB))


@pytest.mark.parametrize("name", list(REPRESENTATIONS))
def test_bytes_per_row_are_those_of_real_tensors(name):
    _, params, _ = make_scene(REPRESENTATIONS[name](), 50, 1.0, (64, 48), CPU)
    each = bench.stated(name, 1).per_row
    leaves = [value.clone().requires_grad_() for value in params.values()]
    optimizer = torch.optim.Adam(leaves)
    sum(leaf.square().sum() for leaf in leaves).backward()
    optimizer.step()
    assert 50 * each.parameters == sum(leaf.nbytes for leaf in leaves)
    assert 50 * each.gradients == sum(leaf.grad.nbytes for leaf in leaves)
    states = [value for leaf in leaves for key, value in optimizer.state[leaf].items() if key != "step"]
    assert 50 * each.moments == sum(value.nbytes for value in states)


@pytest.mark.parametrize("name", ["spacetime full", "4dgs SH 3, time 2"])
def test_the_measured_step_and_growth_run(name):
    need = bench.measured(name, 300, 0.3, (64, 48), CPU)
    assert need.peak_step is None and 50 < need.alive < 150


def test_as_many_gaussians_as_fit():
    representation = REPRESENTATIONS["4dgs SH 3, time 2"]().setup()
    assert memory.affordable(representation, 1_000_000, 10_000, 40 * GB) == (1_000_000, None)
    allowed, reason = memory.affordable(representation, 1_000_000, 10_000, 2 * GB)
    assert 100_000 < allowed < 1_000_000 and "1,000,000" in reason and "2.0 GB" in reason and "max-gaussians" in reason
    assert memory.training_bytes(representation, allowed) <= 2 * GB
    assert memory.affordable(representation, 1_000_000, 900_000, 0)[0] == 900_000, "what is there stays"


def test_the_line_says_what_was_there_and_what_to_lower(gpu):
    use = memory.Use(2_000_000, 2576, 4, 1352, 1014, frame_bytes=3 * GB)
    with pytest.raises(memory.OutOfMemory) as caught, memory.one_line("rendering", lambda: use):
        out_of_memory()
    line = str(caught.value)
    assert "\n" not in line
    for words in ("while rendering", "2,000,000 Gaussians (4.8 GB)", "4 image(s) of 1352x1014", "3.0 GB of frames",
                  "1.0 of 24.0 GB are free", "other programs hold 3.0 GB", "max-gaussians"):  # fmt: skip
        assert words in line, words
    assert "residency disk" in memory.Use(1000, 2576, 4, 1352, 1014, frame_bytes=3 * GB).advice().split(", or ")[0]
    assert "batch-size" in memory.Use(1000, 2576, 4, 1352, 1014).advice().split(", or ")[0]
    assert "downscale" in memory.Use(1000, 2576, 1, 1352, 1014).advice().split(", or ")[0]
    assert "size of the image" in memory.Use(1000, 644, 1, 8000, 6000, training=False).advice().split(", or ")[0]


def test_cuda_s_plain_message_counts_and_other_errors_do_not(gpu):
    use = memory.Use(1, 1, 0, 0, 0)
    with pytest.raises(memory.OutOfMemory), memory.one_line("rendering", lambda: use):
        raise RuntimeError("CUDA error: out of memory")
    with pytest.raises(RuntimeError, match="shapes"), memory.one_line("rendering", lambda: use):
        raise RuntimeError("shapes differ")


class Store(FrameStore):
    """Frames of two cameras, 1 GB each by their shape; nothing is stored."""

    def __init__(self):
        pass

    def shape(self, camera):
        return 1024, 512, 683, 3

    def read(self, camera, index, out=None):
        raise AssertionError("nothing is to be read here")


def test_frames_go_where_gaussians_leave_room(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (4 * GB, 24 * GB))
    monkeypatch.setattr(residency, "free_host_memory", lambda: 64 * GB)
    held = Mock(spec=["on_device", "bytes_on_device", "reason", "batch", "place"])

    def in_memory(store, names, device, reason):
        held.place, held.reason = device.type, reason
        return held

    monkeypatch.setattr(residency, "InMemory", in_memory)
    cuda = torch.device("cuda")
    assert residency.choose_residency(Store(), ["a", "b"], "auto", cuda, None, reserved=1 * GB) is held
    assert held.place == "cuda"
    assert "2.0 GB of frames are held on the GPU (4.0 GB" in held.reason and "1.0 GB are kept" in held.reason
    on_disk = residency.choose_residency(Store(), ["a", "b"], "auto", cuda, 1.0, reserved=2 * GB)
    assert isinstance(on_disk, residency.OnDisk) and "2.0 GB are kept for Gaussians" in on_disk.reason


def test_frames_that_turn_out_not_to_fit_are_read_from_disk(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (4 * GB, 24 * GB))
    monkeypatch.setattr(residency, "InMemory", out_of_memory)
    cuda = torch.device("cuda")
    place = residency.choose_residency(Store(), ["a", "b"], "auto", cuda, 1.0)
    assert isinstance(place, residency.OnDisk) and "ran out while they were copied" in place.reason
    with pytest.raises(UserError, match=r"2.0 GB of frames were copied there .*residency auto"):
        residency.choose_residency(Store(), ["a", "b"], "gpu", cuda, 1.0)


def test_host_memory_that_was_asked_for_must_hold_the_frames(monkeypatch):
    monkeypatch.setattr(residency, "free_host_memory", lambda: 1 * GB)
    with pytest.raises(UserError, match=r"2.0 GB of frames do not fit into 1.0 GB of free host memory.*residency auto"):
        residency.choose_residency(Store(), ["a", "b"], "ram", torch.device("cpu"), None)


def test_free_host_memory_is_what_the_machine_has():
    free = free_host_memory()
    assert 0.05 * GB < free < 4096 * GB

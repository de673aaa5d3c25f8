"""What the allocator of a real GPU says about Gaussians, and what a user reads when it says no."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.bench import memory as bench
from fourdgs_ns.training import memory

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", ["freetime SH 3", "4dgs SH 3, time 2"])
def test_a_step_takes_the_rows_and_what_is_alive_and_growth_no_more(name):
    rows = 400_000
    before = torch.cuda.memory_allocated()
    need = bench.measured(name, rows, 0.3, (640, 480), torch.device("cuda"))
    assert need.peak_step is not None and need.peak_growth is not None and need.alive is not None
    assert 0.25 < need.alive / rows < 0.35
    own, images = need.peak_step - before, 400 * 640 * 480
    assert own >= rows * need.per_row.total, "parameters, gradients and two moments"
    # What is planned with is right to a half.
    assert own <= rows * need.per_row.total + 1.5 * need.alive * memory.ALIVE_BYTES + images
    assert need.peak_growth <= 1.05 * need.peak_step


def test_the_line_has_the_numbers_of_this_gpu():
    total = torch.cuda.get_device_properties(0).total_memory
    use = memory.Use(1_000_000, 1024, 2, 640, 480)
    with pytest.raises(memory.OutOfMemory) as caught, memory.one_line("rendering", lambda: use):
        torch.empty(2 * total, dtype=torch.uint8, device="cuda")
    assert f"of {torch.cuda.mem_get_info()[1] / memory.GB:.1f} GB are free" in str(caught.value)
    assert "\n" not in str(caught.value)

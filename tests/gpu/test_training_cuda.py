"""Training on a GPU: it learns, and its checkpoint opens on the CPU with the same image."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.plugin.model import DynamicGaussiansModel
from tests.plugin.tiny import make_config, train, write_capture

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("method", "residency"), [("lite", "gpu"), ("full", "ram"), ("lite", "disk"), ("freetime", "gpu"), ("fourd", "gpu")]
)
def test_learns_and_opens_on_the_cpu(tmp_path, method, residency):
    capture = write_capture(tmp_path / "capture")
    config = make_config(capture, tmp_path / "out", 200, method)
    config.machine.device_type = "cuda"
    config.pipeline.datamanager.residency = residency
    first = make_config(capture, tmp_path / "start", 1, method)
    first.machine.device_type = "cuda"
    before = train(first).pipeline.sampled_scores(4)["psnr"]
    trainer = train(config)
    after = trainer.pipeline.sampled_scores(4)["psnr"]
    # Those that start with colours seen from nowhere in particular start nearer to the images than what is left of them.
    assert after > before + (1 if method in ("freetime", "fourd") else 3)

    model: DynamicGaussiansModel = trainer.pipeline.gaussians
    model.eval()
    camera, _ = trainer.pipeline.datamanager.eval_view(2)
    on_gpu = model.get_outputs_for_camera(camera)["rgb"].cpu()
    path = next(trainer.checkpoint_dir.glob("*.ckpt"))
    on_cpu_config = make_config(capture, tmp_path / "cpu", 1, method)
    on_cpu = on_cpu_config.setup(local_rank=0, world_size=1)
    on_cpu.setup()
    state = torch.load(path, map_location="cpu", weights_only=True)
    on_cpu.pipeline.load_pipeline(state["pipeline"], state["step"])
    on_cpu.pipeline.eval()
    image = on_cpu.pipeline.gaussians.get_outputs_for_camera(camera)["rgb"]
    assert float((image - on_gpu).abs().mean()) < 1e-3


def test_resume_continues_on_cuda(tmp_path):
    """Adam's moments, learning rates and row counts go on; sums on a GPU are not ordered, so values agree to rounding."""
    capture = write_capture(tmp_path / "capture")

    def config(name: str, steps: int):
        made = make_config(capture, tmp_path / name, steps)
        made.machine.device_type = "cuda"
        made.pipeline.model.densification.stop = 0
        return made

    whole = train(config("whole", 20))
    part = train(config("part", 10))
    rest = train(config("rest", 20), load_dir=part.checkpoint_dir)
    for name, value in whole.pipeline.gaussians.gauss_params.items():
        torch.testing.assert_close(rest.pipeline.gaussians.gauss_params[name], value, rtol=5e-2, atol=5e-3)

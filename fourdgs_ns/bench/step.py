"""Where does a training step spend its time? The real trainer, whole and by parts, and the frames it is fed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import TrainerConfig

from fourdgs_ns.bench.render import frozen, rasterize_plainly, spread_lifespans
from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainer
from fourdgs_ns.rasterization import rasterize

BEFORE, AFTER = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds per step."""

    rows: int
    alive: int
    whole: float
    """As trained, nothing waits for anything."""
    parts: dict[str, float]
    """Each part alone, the device idle before and after; together they are more than the whole, which overlaps them."""
    floor: float
    """Plain gsplat, forward and backward, on the same slices and cameras; on the CPU the package's own rasterizer."""
    peak_gb: float
    frames_per_second: float
    """What the data path alone serves."""
    frames_needed: float
    """What training at full speed takes."""


def make_trainer(
    config: TrainerConfig, capture: Path, output: Path, device: Literal["cpu", "cuda"], alive: float
) -> DynamicGaussiansTrainer:
    """A trainer of a method on a capture that neither logs nor saves; about ``alive`` of its Gaussians live at any t."""
    config = copy.deepcopy(config)
    config.data = config.pipeline.datamanager.data = capture
    config.output_dir, config.vis = output, "tensorboard"
    config.machine.device_type = device
    config.steps_per_eval_image = config.steps_per_eval_all_images = config.steps_per_save = 10**9
    config.set_timestamp()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    model = trainer.pipeline.gaussians
    model.densifier.last_step = 0
    rows = {name: value.detach().cpu().clone() for name, value in model.canonical().items()}
    spread_lifespans(model.representation, rows, alive, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, value in model.gauss_params.items():
            value.copy_(rows[name])
    return trainer


def measure(trainer: DynamicGaussiansTrainer, steps: int) -> StepTimes:
    """Train ``steps`` steps, then take the same steps apart."""
    device = torch.device(trainer.device)
    model, data = trainer.pipeline.gaussians, trainer.pipeline.datamanager
    trainer.pipeline.train()

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()

    def train(first: int, count: int) -> float:
        begin = now()
        for step in range(first, first + count):
            for callback in trainer.callbacks:
                callback.run_callback_at_location(step, location=BEFORE)
            trainer.train_iteration(step)
            for callback in trainer.callbacks:
                callback.run_callback_at_location(step, location=AFTER)
        return 1000 * (now() - begin) / count

    train(1, steps)  # the allocator, too, has to get to know the sizes
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole = train(1 + steps, steps)
    peak = trainer.peak_memory_gb()
    _apart(trainer, 1, now)  # statistics have not been gathered yet: their first touch is none of a step's cost
    parts, alive = _apart(trainer, steps, now)
    floor = parts.pop("floor")
    begin, served = now(), 0
    for step in range(3 * steps, 4 * steps):
        served += data.next_train(step)[1]["image"].shape[0]
    rate = served / (now() - begin)
    needed = served / steps * 1000 / whole
    return StepTimes(model.num_points, alive // steps, whole, parts, floor, peak, rate, needed)


def _apart(trainer: DynamicGaussiansTrainer, steps: int, now: Callable[[], float]) -> tuple[dict[str, float], int]:
    """Milliseconds of each part of a step, the rasterizer alone ("floor") among them, and the Gaussians alive in all steps."""
    model, data = trainer.pipeline.gaussians, trainer.pipeline.datamanager
    names = "framework", "data", "slice", "rasterize", "loss", "backward", "optimizer", "statistics", "floor"
    parts = dict.fromkeys(names, 0.0)
    alive = 0
    for step in range(2 * steps, 3 * steps):
        watch = _Watch(now, parts, steps)
        for callback in trainer.callbacks:
            callback.run_callback_at_location(step, location=BEFORE)
        trainer.optimizers.zero_grad_all()
        trainer.optimizers.scheduler_step_all(step, log=False)
        watch.lap("framework")
        camera, batch = data.next_train(step)
        watch.lap("data")
        model.update_to_step(step)
        views = model.views(camera)
        watch.lap(None)
        gaussians = model.slice(views.t if views.correction is None else views.correction.time(views.t))
        watch.lap("slice")
        cameras, backdrop = views.cameras, None if views.decoder is not None else views.background
        watch.lap(None)
        rasterize(gaussians, cameras, background=backdrop)
        watch.lap("rasterize")
        outputs = model.get_outputs(camera)
        watch.lap(None)
        loss = torch.stack(list(model.get_loss_dict(outputs, batch).values())).sum()
        watch.lap("loss")
        loss.backward()
        watch.lap("backward")
        trainer.optimizers.step_all()
        watch.lap("optimizer")
        assert model.rendered is not None
        model.densifier.observe(model.statistics, model.rendered.rendering, model.canonical())
        watch.lap("statistics")
        model.rendered = None
        still = frozen(gaussians)
        watch.lap(None)
        rasterize_plainly(still, cameras).sum().backward()
        watch.lap("floor")
        alive += len(gaussians.ids)
    return parts, alive


class _Watch:
    """Adds the milliseconds between two calls to the part that ended; parts are means over ``steps``."""

    def __init__(self, now: Callable[[], float], parts: dict[str, float], steps: int) -> None:
        self.now, self.parts, self.steps = now, parts, steps
        self.last = now()

    def lap(self, part: str | None) -> None:
        """End ``part`` here; None: what came before belongs to no part."""
        time = self.now()
        if part is not None:
            self.parts[part] += 1000 * (time - self.last) / self.steps
        self.last = self.now()

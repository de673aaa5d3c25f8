"""Where does a training step spend its time? The real trainer, whole and by parts, and the frames it is fed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import TrainerConfig

from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.trainer import DynamicGaussiansTrainer

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
    """The rasteriser alone, forward and backward, on the same slices and cameras."""
    peak_gb: float
    frames_per_second: float
    """What the data path alone serves."""
    frames_needed: float
    """What training at full speed takes."""


def make_trainer(
    config: TrainerConfig, capture: Path, output: Path, device: Literal["cpu", "cuda"]
) -> DynamicGaussiansTrainer:
    """A trainer of a method on a capture that neither logs nor saves."""
    config = copy.deepcopy(config)
    config.data = config.pipeline.datamanager.data = capture
    config.output_dir, config.vis = output, "tensorboard"
    config.machine.device_type = device
    config.steps_per_eval_image = config.steps_per_eval_all_images = config.steps_per_save = 10**9
    config.set_timestamp()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.pipeline.gaussians.densifier.last_step = 0
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

    train(1, max(steps // 4, 3))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole = train(steps, steps)
    peak = trainer.peak_memory_gb()
    parts = dict.fromkeys(("data", "slice", "rasterise", "loss", "backward", "optimiser", "statistics"), 0.0)
    floor, alive = 0.0, 0
    for step in range(2 * steps, 3 * steps):
        marks = [now()]
        camera, batch = data.next_train(step)
        marks.append(now())
        model.update_to_step(step)
        gaussians = model.slice(model.exposure_time(camera))
        marks.append(now())
        cameras, background = model.cameras_for_rasterizer(camera), model.background()
        marks.append(now())
        trainer.optimizers.zero_grad_all()
        outputs = model.get_outputs(camera)
        drawn = now()
        loss = torch.stack(list(model.get_loss_dict(outputs, batch).values())).sum()
        lost = now()
        loss.backward()
        back = now()
        trainer.optimizers.step_all()
        stepped = now()
        assert model.rendering is not None
        model.densifier.observe(model.statistics, model.rendering, model.canonical())
        observed = now()
        taken = (
            marks[1] - marks[0], marks[2] - marks[1], drawn - marks[3] - (marks[2] - marks[1]), lost - drawn,
            back - lost, stepped - back, observed - stepped,
        )  # fmt: skip
        for name, seconds in zip(parts, taken):
            parts[name] += 1000 * seconds / steps
        model.rendering = None
        floor += 1000 * _rasteriser_alone(gaussians, cameras, background, model.decoder is None, now) / steps
        alive += len(gaussians.ids)
    begin, served = now(), 0
    for step in range(3 * steps, 4 * steps):
        served += data.next_train(step)[1]["image"].shape[0]
    rate = served / (now() - begin)
    needed = served / steps * 1000 / whole
    return StepTimes(model.num_points, alive // steps, whole, parts, floor, peak, rate, needed)


def _rasteriser_alone(gaussians, cameras, background, is_rgb, now) -> float:  # type: ignore[no-untyped-def]
    """Seconds of one forward and backward pass on a frozen slice."""
    from fourdgs_ns.bench.render import frozen

    still = frozen(gaussians)
    begin = now()
    rasterize(still, cameras, background=background if is_rgb else None).features.sum().backward()
    return now() - begin

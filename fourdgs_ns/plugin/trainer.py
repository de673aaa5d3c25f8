"""Nerfstudio's trainer with checkpoints that survive, Ctrl-C without loss, real resuming and a readable log."""

from __future__ import annotations

import copy
import functools
import signal
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Literal

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils import writer

from fourdgs_ns.common.console import say, warn
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.machine_memory import peak_host_memory
from fourdgs_ns.common.text import typed
from fourdgs_ns.plugin import compat
from fourdgs_ns.plugin.capture_folder import make_absolute
from fourdgs_ns.plugin.checkpoints import check_checkpoint, latest_checkpoint, write_checkpoint
from fourdgs_ns.plugin.command_line import opened_run, quiet_nerfstudio
from fourdgs_ns.plugin.live_line import LiveLine
from fourdgs_ns.plugin.model import DynamicGaussiansModelConfig
from fourdgs_ns.plugin.optimizers import JointOptimizers
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.plugin.schedulers import LogLinearSchedulerConfig
from fourdgs_ns.plugin.summary import write_summary
from fourdgs_ns.training import memory

EVAL_VIEWS_WHILE_TRAINING = 8


@dataclass
class DynamicGaussiansTrainerConfig(TrainerConfig):
    """Nerfstudio's options; ``max_num_iterations`` is the total, also for a resumed run."""

    _target: type = field(default_factory=lambda: DynamicGaussiansTrainer)
    verbose: bool = False
    """Also print what Nerfstudio says: its configuration, folders and loggers."""

    def set_timestamp(self) -> None:
        """The first that Nerfstudio asks of a config that was typed: from here on its log is off, or on."""
        quiet_nerfstudio(not self.verbose)
        super().set_timestamp()

    def get_checkpoint_dir(self) -> Path:
        """Where the run was trained, or in its folder that was moved and is opened now."""
        folder, run = super().get_checkpoint_dir(), opened_run()
        return folder if run is None or folder.is_dir() else run / self.relative_model_dir

    def save_config(self) -> None:
        """Refuses several processes here, before Nerfstudio starts them: their errors come out as tracebacks."""
        capture = make_absolute(self)
        if self.machine.num_devices * self.machine.num_machines != 1:
            raise UserError(
                "training on several GPUs or machines is not supported: densification would diverge between them; use "
                "--machine.num-devices 1 --machine.num-machines 1"
            )
        super().save_config()
        say(f"{self.method_name} on {capture}")
        say(f"run: {self.get_base_dir()}")


class DynamicGaussiansTrainer(Trainer):
    """See the module's first line."""

    pipeline: DynamicGaussiansPipeline  # type: ignore[assignment]
    optimizers: JointOptimizers

    def __init__(self, config: TrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        check_options(config)
        follow_length(config)
        super().__init__(config, local_rank, world_size)
        if config.machine.device_type == "cuda" and not torch.cuda.is_available():
            raise UserError(
                "--machine.device-type is cuda but PyTorch sees no CUDA device; use --machine.device-type cpu"
            )
        where = (
            torch.cuda.get_device_name() if config.machine.device_type == "cuda" else f"{available_cores()} CPU cores"
        )
        say(f"Training on {config.machine.device_type}: {where}")
        self.finished_step = -1
        self.interrupted = False
        self.line = LiveLine()
        self._log_started = perf_counter()
        self._log_step = 0

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        if self.config.load_dir is not None:
            check_checkpoint(latest_checkpoint(self.config.load_dir, self.config.load_step))
        elif self.config.load_checkpoint is not None:
            check_checkpoint(self.config.load_checkpoint)
        super().setup(test_mode)
        model = self.pipeline.gaussians
        training = replace(
            model.surroundings,
            total_steps=self.config.max_num_iterations,
            metrics_every=self.config.logging.steps_per_log,
        )
        model.prepare(training, self.pipeline.datamanager.train_cameras)
        self.finished_step = compat.start_step(self) - 1
        if self.finished_step >= 0:
            say(f"going on after {self.finished_step + 1} steps")
        self.plan_memory()
        self.callbacks.append(TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self.summarize))

    def plan_memory(self) -> None:
        """On a GPU: no more Gaussians than its free memory holds, and that much of it kept from the frames."""
        if torch.device(self.device).type != "cuda":
            return
        model, free = self.pipeline.gaussians, memory.gpu_memory()[0]
        options = model.config.densification
        allowed, reason = memory.affordable(model.representation, options.max_gaussians, model.num_points, free)
        if reason is not None:
            warn(reason)
            options.max_gaussians = allowed
        self.pipeline.datamanager.reserved_bytes = memory.training_bytes(model.representation, allowed)

    def setup_optimizers(self) -> JointOptimizers:
        """Learning rates of everything measured in world units are given for a rig of extent 1 and scaled here, as are those
        that are given per second (Adam's steps have the unit of their parameter)."""
        model = self.pipeline.gaussians
        groups = self.pipeline.get_param_groups()
        config = {
            name: copy.deepcopy(self.config.optimizers[name]) for name in groups if name in self.config.optimizers
        }
        for name, spec in model.representation.parameters.items():
            if spec.spatial:
                config[name]["optimizer"].lr *= model.densifier.extent
            if spec.per_second and model.clip.duration_seconds > 0:
                config[name]["optimizer"].lr /= model.clip.duration_seconds**spec.per_second
        if "camera_times" in config and model.clip.duration_seconds > 0:
            config["camera_times"]["optimizer"].lr /= model.clip.duration_seconds
        return JointOptimizers(config, groups)

    # ------------------------------------------------------------------ the loop

    def train(self) -> None:
        total, start = self.config.max_num_iterations, compat.start_step(self)
        if start >= total:
            raise UserError(
                f"the checkpoint has finished {start} steps and --max-num-iterations is {total}; give a larger number to go on"
            )
        self._log_started, self._log_step = perf_counter(), start
        restore = self._stop_gently_on_interrupt()
        # Nerfstudio runs this many steps more; for us it is the total.
        self.config.max_num_iterations = total - start
        try:
            with memory.one_line("training", self.pipeline.gaussians.memory_use):
                _ = self.pipeline.datamanager.frames  # decoded first: their bar is not shown inside the line
                self.line.open(start, total)
                super().train()
        except memory.OutOfMemory as error:
            saved = sorted(self.checkpoint_dir.glob("step-*.ckpt"))
            rest = (
                f"; {saved[-1].name} is intact: go on from there with --load-dir {self.checkpoint_dir}" if saved else ""
            )
            raise memory.OutOfMemory(f"{error}{rest}") from None
        finally:
            self.line.close()
            quiet_nerfstudio(False)
            self.config.max_num_iterations = total
            restore()

    def _stop_gently_on_interrupt(self):
        """First Ctrl-C: finish the step, save, stop. Second: Python's usual interrupt. Returns a function that undoes it."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        previous = signal.getsignal(signal.SIGINT)

        def on_interrupt(number: int, frame: FrameType | None) -> None:
            say("\nStopping after this step and saving; press Ctrl-C again to stop at once.")
            self.interrupted = self.stop_training = True
            signal.signal(signal.SIGINT, previous)

        signal.signal(signal.SIGINT, on_interrupt)
        return lambda: signal.signal(signal.SIGINT, previous)

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """One step, without what Nerfstudio does for mixed precision and gradient accumulation."""
        self.optimizers.zero_grad_all()
        _, loss_dict, metrics_dict = self.pipeline.get_train_loss_dict(step=step)
        loss = functools.reduce(torch.add, loss_dict.values())
        loss.backward()
        self.optimizers.step_all()
        self.optimizers.scheduler_step_all(step, log=step % self.config.logging.steps_per_log == 0)
        self.finished_step = step
        self.line.step(step + 1, self.pipeline.gaussians.num_points)
        # Nerfstudio turns these into plain numbers, for which torch wants them without history.
        return loss.detach(), {name: value.detach() for name, value in loss_dict.items()}, metrics_dict

    def eval_iteration(self, step: int) -> None:
        """Held-out scores and the log line, whichever loggers are on."""
        done = step + 1
        if done % self.config.steps_per_eval_image == 0:
            model = self.pipeline.gaussians
            seconds = perf_counter() - self._log_started
            rate = (done - self._log_step) / max(seconds, 1e-9)
            scores = self.pipeline.sampled_scores(EVAL_VIEWS_WHILE_TRAINING)
            times = torch.linspace(0, 1, 5).tolist()
            with torch.no_grad():
                alive = sum(float(len(model.slice(t).ids)) for t in times) / len(times)
            numbers = {
                "held_out_psnr": scores["psnr"],
                "held_out_ssim": scores["ssim"],
                "gaussians": float(model.num_points),
                "share_alive": alive / max(model.num_points, 1),
                "steps_per_second": rate,
                "memory_gb": self.peak_memory_gb(),
            }
            writer.put_dict(name="Held-out", scalar_dict=numbers, step=step)
            self._print_row(done, numbers)
            self.line.score(scores["psnr"])
            self._log_started, self._log_step = perf_counter(), done
        if done % self.config.steps_per_eval_all_images == 0 and done < self.config.max_num_iterations:
            scores = self.pipeline.get_average_eval_image_metrics(step=step)
            writer.put_dict(name="Held-out, all views", scalar_dict=scores, step=step)

    def _print_row(self, done: int, numbers: dict[str, float]) -> None:
        total = compat.start_step(self) + self.config.max_num_iterations
        eta = int((total - done) / max(numbers["steps_per_second"], 1e-9))
        say(
            f"step {done:>6}/{total} | held-out {numbers['held_out_psnr']:5.2f} dB, SSIM {numbers['held_out_ssim']:.3f} | "
            f"{int(numbers['gaussians']):>8,} Gaussians, {numbers['share_alive']:4.0%} alive | "
            f"{numbers['steps_per_second']:6.1f} it/s | {numbers['memory_gb']:.1f} GB | ETA {eta // 60}:{eta % 60:02d}"
        )

    def peak_memory_gb(self) -> float:
        """Peak GPU memory on CUDA, else peak resident memory of the process."""
        if self.config.machine.device_type == "cuda":
            return torch.cuda.max_memory_allocated() / 1024**3
        return peak_host_memory() / 1024**3

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self, step: int) -> None:
        """The state after ``step``, or after the last step that was finished."""
        step = min(step, self.finished_step)
        if step < 0:
            return
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": self.optimizers.state_dicts(),
            "schedulers": {k: v.state_dict() for k, v in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        write_checkpoint(state, path, part_folder=self.base_dir)
        if self.config.save_only_latest_checkpoint:
            for other in self.checkpoint_dir.glob("*.ckpt"):
                if other != path:
                    other.unlink()

    # ------------------------------------------------------------------ the end

    def summarize(self, step: int) -> None:
        """Scores, size and the commands to type next; after Ctrl-C, how to go on."""
        self.line.close()
        if self.interrupted:
            say(
                f"Stopped after step {self.finished_step + 1}. Go on with the same command and "
                f"{typed('--load-dir', self.checkpoint_dir)}"
            )
            return
        scores = self.pipeline.get_average_eval_image_metrics(step=step)
        write_summary(self.pipeline, scores, self.base_dir, self.finished_step + 1, self.peak_memory_gb())


def check_options(config: TrainerConfig) -> None:
    """Refuse Nerfstudio's options that these methods cannot honour."""
    unsupported = {
        "--mixed-precision": config.mixed_precision,
        "--use-grad-scaler": config.use_grad_scaler,
        "--log-gradients": config.log_gradients,
        "--gradient-accumulation-steps": any(n != 1 for n in config.gradient_accumulation_steps.values()),
    }
    for option, given in unsupported.items():
        if given:
            raise UserError(
                f"{option} means nothing to this method, which trains in float32 step by step; leave it away"
            )


def follow_length(config: TrainerConfig) -> None:
    """Fill in what by default depends on the length of the training: learning rates' ends and the end of densification."""
    for group in config.optimizers.values():
        scheduler = group["scheduler"]
        if isinstance(scheduler, LogLinearSchedulerConfig) and scheduler.max_steps is None:
            scheduler.max_steps = config.max_num_iterations
    model = config.pipeline.model
    if isinstance(model, DynamicGaussiansModelConfig):
        model.densification.follow_length(config.max_num_iterations)

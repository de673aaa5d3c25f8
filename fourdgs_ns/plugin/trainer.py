"""Nerfstudio's trainer with checkpoints that survive, Ctrl-C without loss, real resuming and a readable log."""

from __future__ import annotations

import copy
import functools
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
import yaml
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils import writer

from fourdgs_ns.common.console import say, warn
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import as_user_error, write_text
from fourdgs_ns.common.interrupts import stopping_gently, tell_way_on
from fourdgs_ns.common.machine_memory import peak_host_memory
from fourdgs_ns.common.text import typed
from fourdgs_ns.common.typed_command import has_option, typed_value
from fourdgs_ns.plugin import compat
from fourdgs_ns.plugin.capture_folder import make_absolute
from fourdgs_ns.plugin.checkpoints import check_checkpoint, checkpoints_in, latest_checkpoint, write_checkpoint
from fourdgs_ns.plugin.command_line import opened_run, quiet_nerfstudio
from fourdgs_ns.plugin.live_line import LiveLine
from fourdgs_ns.plugin.model import DynamicGaussiansModelConfig
from fourdgs_ns.plugin.optimizers import JointOptimizers
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.plugin.run_owner import claim, close_event_files, owning
from fourdgs_ns.plugin.schedulers import LogLinearSchedulerConfig
from fourdgs_ns.plugin.summary import write_summary
from fourdgs_ns.training import memory

EVAL_VIEWS_WHILE_TRAINING = 8
CONFIG = "config.yml"


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
        if has_option("--load-config") and (folder := typed_value("--load-dir")) is not None:
            self.load_dir = Path(folder)  # of what is typed beside a config Nerfstudio takes nothing
        with owning(self):
            claim(self)
            super().save_config()
        say(f"{self.method_name} on {capture}")
        say(f"run: {self.get_base_dir()}")

    def setup(self, **kwargs: Any) -> DynamicGaussiansTrainer:
        """The trainer; see :func:`fourdgs_ns.plugin.run_owner.owning`."""
        with owning(self):
            return super().setup(**kwargs)


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
        self.interrupted = self.summarized = False
        self.only_looking = False
        """What runs now may be given up: it has changed neither Gaussians nor what is remembered of them."""
        self.config_text = yaml.dump(config)
        self.written: list[Path] = []
        """Checkpoints of this training; others are not its to delete."""
        self.gently = ExitStack()
        """Open while Ctrl-C means to finish the step."""
        self.line = LiveLine()
        self._log_started = perf_counter()
        self._log_step = 0

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        with owning(self.config):
            self._setup(test_mode)

    def _setup(self, test_mode: Literal["test", "val", "inference"]) -> None:
        close_event_files()  # of one that was set up in this process and never trained
        if self.config.load_dir is not None:
            # Nerfstudio takes every file in the folder for a checkpoint.
            self.config.load_checkpoint = latest_checkpoint(self.config.load_dir, self.config.load_step)
            self.config.load_dir = None
        if self.config.load_checkpoint is not None:
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
        with owning(self.config, until_end=True):
            self._train()

    def _train(self) -> None:
        total, start = self.config.max_num_iterations, compat.start_step(self)
        if start > total:
            raise UserError(
                f"the checkpoint has finished {start} steps and --max-num-iterations is {total}; give a larger number to go on"
            )
        _ = self.pipeline.datamanager.frames  # decoded now: from here on Ctrl-C waits for the end of a step
        self._log_started, self._log_step = perf_counter(), start
        # Nerfstudio runs this many steps more; for us it is the total.
        self.config.max_num_iterations = total - start
        with self.gently:
            self.gently.enter_context(stopping_gently(self.stop_gently))
            try:
                with memory.one_line("training", self.pipeline.gaussians.memory_use):
                    self.step = start - 1  # where nothing is left to do it is scored
                    self.line.open(start, total)
                    super().train()
            except memory.OutOfMemory as error:
                raise memory.OutOfMemory(f"{error}{self._intact()}") from None
            except (OSError, UserError) as error:
                raise self._rescued(error) from error
            except KeyboardInterrupt:
                if self.summarized:
                    return  # the viewer was still shown
                self.save_checkpoint(self.finished_step)
                self.interrupted = True
            finally:
                self.line.close()
                quiet_nerfstudio(False)
                self.config.max_num_iterations = total
            if self.interrupted:
                if self.finished_step >= 0:
                    tell_way_on(f"Stopped after step {self.finished_step + 1} of {total}; all is saved.")
                raise KeyboardInterrupt

    def _rescued(self, error: OSError | UserError) -> UserError:
        """The line for ``error``, after saving what was trained until it came."""
        vanished = not (self.base_dir / CONFIG).exists()
        self.save_checkpoint(self.finished_step)
        if vanished:
            return UserError(f"{self.base_dir} vanished while it was trained{self._intact()}")
        reason = as_user_error(error) if isinstance(error, OSError) else error
        return UserError(f"{reason}{self._intact()}")

    def _intact(self) -> str:
        saved = checkpoints_in(self.checkpoint_dir)
        if not saved:
            return ""
        folder = typed(self.checkpoint_dir)
        return f"; {saved[max(saved)].name} is intact: go on from there with --load-dir {folder}"

    def stop_gently(self) -> None:
        """First Ctrl-C: save and stop, after this step where it has begun to change anything. Scoring is not waited for."""
        say("\nStopping and saving; press Ctrl-C again to stop at once.")
        self.interrupted = self.stop_training = True
        if self.only_looking:
            raise KeyboardInterrupt

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """One step, without what Nerfstudio does for mixed precision and gradient accumulation."""
        self.optimizers.zero_grad_all()
        # Guided sampling remembers what it sees.
        self.only_looking = not self.pipeline.gaussians.config.guided_sampling.enabled
        _, loss_dict, metrics_dict = self.pipeline.get_train_loss_dict(step=step)
        loss = functools.reduce(torch.add, loss_dict.values())
        loss.backward()
        self.only_looking = False
        self.optimizers.step_all()
        self.optimizers.scheduler_step_all(step, log=step % self.config.logging.steps_per_log == 0)
        self.finished_step = step
        self.line.step(step + 1, self.pipeline.gaussians.num_points)
        # Nerfstudio turns these into plain numbers, for which torch wants them without history.
        return loss.detach(), {name: value.detach() for name, value in loss_dict.items()}, metrics_dict

    def eval_iteration(self, step: int) -> None:
        """Held-out scores and the log line, whichever loggers are on."""
        self.only_looking = True
        self._score(step + 1, step)
        self.only_looking = False

    def _score(self, done: int, step: int) -> None:
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
        if path in self.written:
            return  # Ctrl-C came while it was scored
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": self.optimizers.state_dicts(),
            "schedulers": {k: v.state_dict() for k, v in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        try:
            write_checkpoint(state, path, part_folder=self.base_dir)
        except UserError as error:
            raise UserError(f"{error}{self._intact()}") from error
        if not (self.base_dir / CONFIG).exists():  # somebody removed the folder
            write_text(self.base_dir / CONFIG, self.config_text)
        if self.config.save_only_latest_checkpoint:
            for other in self.written:
                other.unlink(missing_ok=True)
            self.written.clear()
        self.written.append(path)

    # ------------------------------------------------------------------ the end

    def summarize(self, step: int) -> None:
        """Scores, size and the commands to type next; after Ctrl-C, how to go on."""
        self.line.close()
        self.gently.close()
        if self.interrupted:
            return
        scores = self.pipeline.get_average_eval_image_metrics(step=step)
        write_summary(self.pipeline, scores, self.base_dir, self.finished_step + 1, self.peak_memory_gb())
        self.summarized = True


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

"""``fourdgs-ns prune``: fewer Gaussians after training, with the quality brought back by a short fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourdgs_ns.common.console import ERR, say, status
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import write_text
from fourdgs_ns.common.progress import progress_bar

if TYPE_CHECKING:
    from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
    from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
    from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainer, DynamicGaussiansTrainerConfig

CAMERAS_AT_ONCE = 8


@dataclass
class Prune:
    """Keep the Gaussians that matter most to the training views over the whole clip (4DGS-1K), fine-tune the rest, and report
    size, PSNR and images per second before and after. The run itself stays as it is: the result is a run beside it."""

    load_config: Path
    """config.yml of the run, or its folder."""
    keep: float = 0.2
    """Share of the Gaussians to keep. Published: 0.2 for N3V, 0.15 for D-NeRF."""
    steps: int = 2_000
    """Training steps afterwards, without densification. Published: 5000. 0 shows what pruning alone does."""
    data: Path | None = None
    """Folder of the capture. Default: where it was when the run was trained."""
    instants: int = 60
    """Most frames of the clip at which Gaussians are scored, spread evenly; each is seen from all training cameras."""

    def run(self) -> None:
        """Score, prune, fine-tune, report."""
        from fourdgs_ns.densification.rows import edit_rows
        from fourdgs_ns.plugin.summary import next_commands
        from fourdgs_ns.training.pruning import highest_scores, variation_scores

        if not 0 < self.keep < 1:
            raise UserError(f"--keep is {self.keep:g}; give the share of Gaussians to keep, between 0 and 1")
        if self.steps < 0 or self.instants < 1:
            raise UserError("--steps must be at least 0 and --instants at least 1")
        config, start = self._config()
        config.save_config()
        trainer: DynamicGaussiansTrainer = config.setup(local_rank=0, world_size=1)
        trainer.setup(test_mode="test")
        pipeline, model = trainer.pipeline, trainer.pipeline.gaussians
        before = size_and_scores(pipeline, pipeline.get_average_eval_image_metrics())

        views = list(training_views(pipeline, self.instants))
        with progress_bar(ERR, transient=False) as bar:
            tracked = bar.track(views, description="scoring Gaussians")
            scores = variation_scores(model.representation, model.canonical(), model.clip, tracked)
        kept = highest_scores(scores, self.keep)
        if not bool(kept.any()):
            raise UserError(
                f"no training camera of {self.load_config} sees any Gaussian; use a run that shows something"
            )
        edit_rows(model.gauss_params, trainer.optimizers.optimizers, keep=kept)
        for name, zeros in model.densifier.empty_statistics(model.num_points, model.device).items():
            setattr(model, name, zeros)
        pruned = size_and_scores(pipeline, pipeline.get_average_eval_image_metrics())
        report: dict[str, Any] = {"keep": self.keep, "steps": self.steps, "before": before, "pruned": pruned}
        if self.steps:
            trainer.train()
            if trainer.interrupted:
                return
            report["fine-tuned"] = size_and_scores(
                pipeline, json.loads((trainer.base_dir / "scores.json").read_text("utf8"))
            )
        else:
            trainer.finished_step = start
            trainer.save_checkpoint(start)
        write_text(trainer.base_dir / "pruning.json", json.dumps(report, indent=2))
        for name in ("before", "pruned", "fine-tuned"):
            if name in report:
                n = report[name]
                status(
                    f"{name:>10}: {n['gaussians']:>9,} Gaussians {n['megabytes']:8.1f} MB {n['psnr']:6.2f} dB "
                    f"{n['fps']:7.1f} images/s"
                )
        if not self.steps:  # a training has said so
            say(next_commands(trainer.base_dir))

    def _config(self) -> tuple[DynamicGaussiansTrainerConfig, int]:
        """The run's configuration, changed to go on for ``steps`` steps in a run of its own; and the step it has reached."""
        from fourdgs_ns.plugin.capture_folder import locate_capture
        from fourdgs_ns.plugin.checkpoints import latest_checkpoint
        from fourdgs_ns.plugin.runs import find_config, read_config
        from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainerConfig

        path = find_config(self.load_config)
        config = read_config(path)
        if not isinstance(config, DynamicGaussiansTrainerConfig):
            raise UserError(
                f"{self.load_config} belongs to no method of fourdgs-ns; give the config.yml of one of its runs"
            )
        folder, elsewhere = path.resolve().parent, config.get_checkpoint_dir()
        locate_capture(config.pipeline.datamanager, folder, self.data)
        if config.get_base_dir().resolve() != folder:  # the run was moved, or trained from another folder
            config.output_dir = folder.parent
            if folder.parent.name == config.method_name and len(folder.parents) > 2:
                config.output_dir, config.experiment_name = folder.parents[2], folder.parents[1].name
                config.timestamp = folder.name
        beside = folder / config.relative_model_dir
        config.load_dir = beside if beside.is_dir() else elsewhere
        start = int(latest_checkpoint(config.load_dir, None).stem.removeprefix("step-"))
        config.load_step = None
        config.max_num_iterations = start + 1 + self.steps
        config.pipeline.model.densification.stop = 0  # type: ignore[attr-defined]
        config.vis = "tensorboard"
        config.timestamp = f"{config.timestamp}-pruned".lstrip(".-")
        if config.get_base_dir().exists():
            raise UserError(f"{config.get_base_dir()} exists already; remove or rename it to prune this run again")
        return config, start


def size_and_scores(pipeline: DynamicGaussiansPipeline, scores: dict[str, Any]) -> dict[str, Any]:
    """Count, size of the parameters, and the scores that a report shows."""
    from fourdgs_ns.plugin.summary import size_of

    return {**size_of(pipeline.gaussians), **{name: scores[name] for name in ("psnr", "ssim", "fps")}}


def training_views(pipeline: DynamicGaussiansPipeline, instants: int) -> Iterator[tuple[float, PinholeCameras]]:
    """Training cameras frame by frame, those of one image size together."""
    import torch

    cameras = pipeline.datamanager.train_dataset.cameras
    assert cameras.times is not None
    times = cameras.times[:, 0]
    distinct = times.unique()
    picks = torch.linspace(0, len(distinct) - 1, min(instants, len(distinct))).round().long().unique()
    sizes = torch.cat([cameras.height, cameras.width], dim=1)
    for t in distinct[picks]:
        views = torch.nonzero(times == t).squeeze(-1)
        for size in sizes[views].unique(dim=0):
            same = views[(sizes[views] == size).all(dim=1)]
            for part in same.split(CAMERAS_AT_ONCE):
                yield float(t), pipeline.gaussians.pinhole_cameras(cameras[part])

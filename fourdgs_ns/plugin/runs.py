"""A finished training, loaded with its data: what every command after training starts from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from nerfstudio.engine.trainer import TrainerConfig

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import read_bytes
from fourdgs_ns.plugin.capture_folder import locate_capture
from fourdgs_ns.plugin.checkpoints import check_checkpoint, latest_checkpoint, step_of
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.plugin.run_config import MARK, load_config

MAX_CONFIG_BYTES = 1 << 24
HELP = "give the config.yml of a run, or its folder (outputs/<name>/<method>/<date>)"


@dataclass(frozen=True)
class LoadedRun:
    """A run and its pipeline, with held-out views, in evaluation mode."""

    config_path: Path
    config: TrainerConfig
    pipeline: DynamicGaussiansPipeline
    checkpoint: Path
    step: int

    @property
    def folder(self) -> Path:
        """Where the run keeps its files."""
        return self.config_path.parent

    @property
    def name(self) -> str:
        """Experiment and method, as a person tells runs apart."""
        named = self.config.experiment_name
        if named == ".":  # a run that was written, not trained: it lies in a folder that the user named
            named = self.folder.parent.name
        return f"{named or self.folder.parent.parent.name} / {self.config.method_name}"


def find_config(path: Path) -> Path:
    """The config.yml that ``path`` means: the file itself, or the one in the run's folder.

    Raises:
        UserError: there is none; the message names runs below ``path`` when it holds some.
    """
    if path.is_dir():
        if (path / "config.yml").is_file():
            return path / "config.yml"
        below = sorted(path.glob("**/config.yml"), key=lambda file: file.stat().st_mtime)
        if below:
            raise UserError(f"{path} is no run but holds {len(below)}; the newest is {below[-1].parent}")
        raise UserError(f"{path} holds no config.yml; {HELP}")
    if not path.exists():
        raise UserError(f"run {path} does not exist; {HELP}")
    return path


def read_config(path: Path) -> TrainerConfig:
    """The config of a run of this package.

    Raises:
        UserError: it is unreadable or belongs to another package.
    """
    try:
        text = read_bytes(path, MAX_CONFIG_BYTES).decode("utf8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read ({error}); {HELP}") from error
    named = re.search(r"^method_name: (\S+)", text, re.MULTILINE)
    method = named.group(1) if named else None
    if MARK not in text:
        what = f"is a run of '{method}'" if method else "is no config of a run"
        raise UserError(f"{path} {what}, not of a fourdgs-ns method; use Nerfstudio's own ns-render and ns-eval for it")
    return load_config(text, str(path))


def load_run(path: Path, step: int | None = None, data: Path | None = None) -> LoadedRun:
    """Load the run at ``path`` (config.yml or its folder) with its data and its latest checkpoint, or that of ``step``.

    ``data``: where the capture is now, if it was moved. Checkpoints are looked for beside the config first, so that a run that
    was moved still loads.

    Raises:
        UserError: no such run, a run of another package, no checkpoint, a damaged one, or its capture is gone.
    """
    config_path = find_config(path)
    config = read_config(config_path)
    locate_capture(config.pipeline.datamanager, config_path.parent, data)
    beside = config_path.parent / config.relative_model_dir
    config.load_dir = beside if beside.is_dir() else config.get_checkpoint_dir()
    if not config.load_dir.is_dir():
        raise UserError(f"{config_path.parent} has no checkpoint yet (no folder {beside.name}); train it first")
    checkpoint = latest_checkpoint(config.load_dir, step)
    check_checkpoint(checkpoint)
    config.load_step = step_of(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = config.pipeline.setup(device=device, test_mode="test")
    pipeline.eval()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    pipeline.load_pipeline(state["pipeline"], config.load_step)
    return LoadedRun(config_path, config, pipeline, checkpoint, config.load_step)

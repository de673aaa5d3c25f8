"""Writing a model as a run that Nerfstudio's commands open, as if it had been trained here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor, nn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing
from fourdgs_ns.common.tensor_files import save_tensors
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.methods import trainer_config
from fourdgs_ns.representation.base import RepresentationConfig
from fourdgs_ns.representation.types import Clip


def check_new(out: Path) -> None:
    """Refuse to write over what is there."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; give a folder that does not")


def write_run(
    out: Path,
    method: str,
    representation: RepresentationConfig,
    parameters: Mapping[str, Tensor],
    clip: Clip,
    data: Path,
    decoder: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a model into the new folder ``out`` as a finished run of ``method``.

    The run's world is the capture's own, neither turned nor scaled, and ``parameters`` must be in it.

    Args:
        parameters: every canonical parameter of ``representation``, name -> [n, ...].
        data: the capture whose cameras the run's commands show, score and render.
        decoder: weights of the representation's decoder, for methods that have one.

    Returns:
        Path of the run's config.yml, for ``--load-config``.

    Raises:
        UserError: ``out`` exists and is not empty.
        AssertionError: a parameter is missing or has another shape.
    """
    check_new(out)
    config = trainer_config(method)
    pipeline = config.pipeline
    pipeline.model.representation = representation  # type: ignore[attr-defined]
    pipeline.model.color_correction = False  # type: ignore[attr-defined]  # it belongs to cameras of another training
    pipeline.datamanager.data = config.data = data.resolve()
    parser = pipeline.datamanager.dataparser  # type: ignore[attr-defined]
    parser.data, parser.orientation, parser.center, parser.scale_scene = data.resolve(), "none", "none", False
    # Nerfstudio puts a run into output_dir/experiment_name/method_name/timestamp.
    config.output_dir, config.experiment_name, config.timestamp = out.resolve(), ".", "."

    model = pipeline.model.setup(
        scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata=CaptureFacts(clip).as_metadata()
    )
    specs, count = model.representation.parameters, len(parameters["means"])
    assert set(specs) == set(parameters), (sorted(specs), sorted(parameters))
    for name, spec in specs.items():
        assert parameters[name].shape == (count, *spec.shape), (name, tuple(parameters[name].shape), spec.shape)
        model.gauss_params[name] = nn.Parameter(parameters[name].detach().float().cpu())
    for name, zeros in model.densifier.empty_statistics(count, "cpu").items():
        setattr(model, name, zeros)
    if decoder is not None:
        model.decoder.load_state_dict(dict(decoder))
    step = config.max_num_iterations - 1  # a finished training: everything that grows has grown
    state = {
        "step": step,
        "pipeline": {f"_model.{name}": value for name, value in model.state_dict().items()},
        "optimizers": {},
        "schedulers": {},
        "scalers": {},
    }
    with appearing(out) as part:
        checkpoints = part / method / config.relative_model_dir
        checkpoints.mkdir(parents=True)
        save_tensors(state, checkpoints / f"step-{step:09d}.ckpt")
        (part / method / "config.yml").write_text(yaml.dump(config), "utf8")
    return out / method / "config.yml"

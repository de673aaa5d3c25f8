"""A tiny capture and a short training on the CPU, shared by the tests of the commands."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT, FRAMES = 48, 32, 4
CAMERAS = ("0", "1", "2", "3")


def write_capture(root: Path) -> Path:
    """Four cameras around a wall of coloured squares of which one moves, in Dynamic3DGaussians' layout; camera 0 is held out."""
    rng = np.random.default_rng(0)
    colors = rng.integers(40, 255, size=(6, 8, 3))
    k = [[40.0, 0.0, WIDTH / 2], [0.0, 40.0, HEIGHT / 2], [0.0, 0.0, 1.0]]
    metas = {name: {"w": WIDTH, "h": HEIGHT, "k": [], "w2c": [], "fn": [], "cam_id": []} for name in ("train", "test")}
    for t in range(FRAMES):
        for meta in metas.values():
            for key in ("k", "w2c", "fn", "cam_id"):
                meta[key].append([])
        for index, name in enumerate(CAMERAS):
            x = 0.3 * (index - 1.5)
            view = np.eye(4)
            view[0, 3] = -x
            # A wall at depth 2: a square of side 0.25 is 5 pixels wide and shifts by 20 x pixels.
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            for r in range(6):
                for c in range(8):
                    left = round(WIDTH / 2 + (c - 4) * 5 - 20 * x)
                    cv2.rectangle(image, (left, 1 + r * 5), (left + 4, 5 + r * 5), colors[r, c].tolist(), -1)
            left = round(WIDTH / 2 + 4 * t - 6 - 20 * x)
            cv2.rectangle(image, (left, 10), (left + 7, 17), (255, 255, 255), -1)
            path = root / "ims" / name / f"{t:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
            meta = metas["test" if name == "0" else "train"]
            meta["k"][t].append(k)
            meta["w2c"][t].append(view.tolist())
            meta["fn"][t].append(f"{name}/{t:06d}.png")
            meta["cam_id"][t].append(int(name))
    for name, meta in metas.items():
        (root / f"{name}_meta.json").write_text(json.dumps(meta))
    return root


METHODS = ("lite", "full", "freetime", "fourd")
"""What is trained: the variants of spacetime-gaussian, and the other methods."""


def make_config(capture: Path, output: Path, steps: int, method: str = "lite"):
    """The method's own config, shortened: 300 random points and a densification event every 4 steps."""
    from fourdgs_ns.plugin import methods

    variants = {
        "lite": "spacetime-gaussian",
        "full": "spacetime-gaussian",
        "freetime": "freetime",
        "fourd": "4dgs-4dsh",
    }
    config = methods.trainer_config(variants[method])
    config.data = config.pipeline.datamanager.data = capture
    config.output_dir = output
    config.experiment_name = "tiny"
    config.timestamp = "run"
    config.vis = "tensorboard"
    config.max_num_iterations = steps
    config.steps_per_save = 1000
    config.steps_per_eval_image = 1000
    config.machine.device_type = "cpu"
    parser = config.pipeline.datamanager.dataparser
    parser.initial_points, parser.num_random_points = "random", 300
    model = config.pipeline.model
    # 300 random points at random instants: alive over the whole clip, so that every image shows something.
    if method == "freetime":
        model.representation.initial_duration_seconds = 1.0
        model.representation.sh_every = 3
        model.densification.growth = 0.3
    elif method == "fourd":
        model.representation.sh_every = 2
        model.densification.gradient_threshold, model.densification.temporal_gradient_threshold = 1e-5, 1e-6
        model.densification.static_duration = 0.448
    else:
        model.representation.variant = method
        model.representation.initial_duration = 1.0
        model.densification.gradient_threshold = 1e-5
    model.densification.start, model.densification.every = 2, 4
    model.densification.max_gaussians = 600
    # Defaults that follow the length of a training are pinned: tests compare trainings of different lengths.
    model.densification.stop = 15_000
    for group in config.optimizers.values():
        if group["scheduler"] is not None:
            group["scheduler"].max_steps = 30_000
    model.densification.follow_length(30_000)
    # A share of the length, too.
    model.opacity_regularization_share = 1.0
    return config


@contextlib.contextmanager
def tiny_surroundings():
    """What makes short trainings short: one thread, as two only wait for each other on images this small, and no LPIPS,
    whose weights would be downloaded and whose network takes longer to build than a training here."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "torchmetrics.image.lpip", None)
            yield patch
    finally:
        torch.set_num_threads(threads)


def train(config, **overrides):
    """Run the config like ``ns-train`` does; returns the trainer."""
    import random

    import torch

    for name, value in overrides.items():
        setattr(config, name, value)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer

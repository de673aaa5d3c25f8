"""The sample capture in data/ is whole, small, and of the recipe that its README states."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tyro

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.cli.synth import Synth
from fourdgs_ns.synth.generate import Recipe, build_renderer, build_rig

DATA = Path(__file__).parents[2] / "data"


def test_sample_is_the_rig_of_its_recipe():
    recipe = Recipe.of(DATA / "stage")
    capture = read_capture(DATA / "stage")
    assert capture.num_frames == recipe.frames == 30 and capture.eval_cameras == ("cam00",)
    for read, made in zip(capture.cameras, build_rig(recipe, build_renderer(recipe)), strict=True):
        np.testing.assert_allclose(read.at(0).world_from_camera, made.world_from_camera, atol=1e-9)
        np.testing.assert_allclose(read.camera.intrinsics, made.intrinsics)


def test_readme_states_the_command_of_the_recipe():
    line = next(line for line in (DATA / "README.md").read_text().splitlines() if "fourdgs-ns synth" in line)
    options = tyro.cli(Synth, args=line.split()[2:])
    record = json.loads((DATA / "stage" / "synth.json").read_text())
    assert (record.pop("width"), record.pop("height")) == options.size
    assert {name: getattr(options, name) for name in record} == record


def test_sample_is_small():
    files = [f for f in DATA.rglob("*") if f.is_file() and ".fourdgs" not in f.parts]  # what trainings keep is not ours
    assert sum(f.stat().st_size for f in files) < 4e6

"""A small scene and its rig, shared by the tests of the generator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fourdgs_ns.synth.generate import Recipe, build_renderer, build_rig


@pytest.fixture(scope="session")
def recipe():
    return Recipe(
        cameras=4,
        frames=12,
        width=96,
        height=72,
        fps=30.0,
        scene="stage",
        layout="n3dv",
        images=False,
        chroma="444",
        seed=0,
        ground_truth=True,
        points=False,
        samples=4,
    )


@pytest.fixture(scope="session", params=["stage", "studio"])
def scene_recipe(request, recipe):
    return replace(recipe, scene=request.param)


@pytest.fixture(scope="session")
def renderer(scene_recipe):
    return build_renderer(scene_recipe)


@pytest.fixture(scope="session")
def cameras(scene_recipe, renderer):
    return build_rig(scene_recipe, renderer)

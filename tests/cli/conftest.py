"""One tiny training, shared by the tests of all commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.tiny import make_config, tiny_surroundings, train, write_capture

if TYPE_CHECKING:
    from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline


@dataclass(frozen=True)
class Run:
    """A finished training of the tiny capture: cameras 0 and 3 are held out."""

    capture: Path
    folder: Path
    config: Path


@pytest.fixture(scope="package", autouse=True)
def surroundings() -> Iterator[None]:
    with tiny_surroundings() as patch:
        patch.delenv("FOURDGS_TIME", raising=False)
        yield


@pytest.fixture(scope="package")
def capture(surroundings, tmp_path_factory) -> Path:
    return write_capture(tmp_path_factory.mktemp("commands") / "wall")


@pytest.fixture(scope="package")
def run(capture) -> Run:
    config = make_config(capture, capture.parent / "outputs", 14)
    config.pipeline.datamanager.dataparser.eval_cameras = ("0", "3")
    folder = train(config).base_dir
    return Run(capture, folder, folder / "config.yml")


@pytest.fixture(scope="package")
def pipeline(run) -> DynamicGaussiansPipeline:
    """The run as ns-eval and ns-viewer load it."""
    from nerfstudio.utils.eval_utils import eval_setup

    return eval_setup(run.config)[1]

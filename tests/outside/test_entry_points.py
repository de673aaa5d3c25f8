"""Another package's method, format, layout and strategy are found by every command, with nothing of this package changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import environment, in_a_process
from tests.plugin.tiny import write_capture

GROUPS = {
    "fourdgs_ns.methods": "fourier = tests.outside.shipped:METHOD",
    "fourdgs_ns.formats": "count = tests.outside.shipped:FORMAT",
    "fourdgs_ns.layouts": "nested = tests.outside.shipped:LAYOUT",
    "fourdgs_ns.densification": "idle = tests.outside.shipped:STRATEGY",
    "nerfstudio.method_configs": "fourier = fourdgs_ns.plugin.entry_points:fourier",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """Environment of a process in which the other package is installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "shipped-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{line}\n" for group, line in GROUPS.items()))
    root = Path(__file__).parents[2]
    return {"PYTHONPATH": f"{site}:{root}"}


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """A capture in the other package's layout."""
    root = tmp_path_factory.mktemp("outside")
    write_capture(root / "nested")
    return root


def fourdgs(installed: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    code = "from fourdgs_ns.cli.main import entry_point; entry_point()"
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**installed), check=False)


KNOWN = """
import json
from fourdgs_ns.capture.layouts import LAYOUTS
from fourdgs_ns.densification.registry import STRATEGIES
from fourdgs_ns.formats.registry import FORMATS
from fourdgs_ns.representation.registry import METHODS
print(json.dumps([[*r] for r in (METHODS, FORMATS, LAYOUTS, STRATEGIES)]))
assert all(r[name].name == name for r in (METHODS, FORMATS, LAYOUTS, STRATEGIES) for name in r)
"""


def test_the_registries_name_them_last(installed):
    done = subprocess.run(
        [sys.executable, "-c", KNOWN], capture_output=True, text=True, env=environment(**installed), check=False
    )
    assert done.returncode == 0, done.stderr
    assert [names[-1] for names in json.loads(done.stdout)] == ["fourier", "count", "nested", "idle"]


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fourdgs_ns.formats]\nbroken = no.such.module:FORMAT\n")
    code = "from fourdgs_ns.formats.registry import FORMATS\nFORMATS['broken']"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=environment(PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}"),
    )  # fmt: skip
    assert "UserError: the format 'broken' cannot be loaded from no.such.module:FORMAT" in done.stderr


@pytest.mark.slow
def test_a_method_of_another_package_trains_scores_and_exports(installed, capture, tmp_path):
    train = in_a_process(
        "ns-train", "fourier", "--data", capture, "--max-num-iterations", 6, "--vis", "tensorboard", "--output-dir",
        tmp_path / "out", "--machine.device-type", "cpu", "multiview-video-data", "--initial-points", "random",
        "--num-random-points", 200, **installed,
    )  # fmt: skip
    assert train.code == 0, train.text
    (config,) = tmp_path.glob("out/**/config.yml")
    scored = in_a_process("ns-eval", "--load-config", config, "--output-path", tmp_path / "eval.json", **installed)
    assert scored.code == 0, scored.text
    assert json.loads((tmp_path / "eval.json").read_text())["results"]["psnr"] > 5
    for words in (("count", "a.count"), ("npz", "a.npz"), ("ply", "a.ply")):
        done = fourdgs(installed, "export", config.parent, "--format", words[0], "--out", tmp_path / words[1])
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a.count").read_text()) == {"count": 200}
    assert "a count of 200" in fourdgs(installed, "info", tmp_path / "a.count").stdout
    assert "fourier" in fourdgs(installed, "info", tmp_path / "a.npz").stdout
    refused = fourdgs(installed, "export", config.parent, "--format", "splatv", "--out", tmp_path / "a.splatv")
    assert "splatv cannot hold the motion of fourier" in refused.stderr
    assert refused.returncode == 1
    # Where the package is not installed, the archive names what is missing.
    alone = fourdgs({"PYTHONPATH": str(Path(__file__).parents[2])}, "info", tmp_path / "a.npz")
    assert alone.returncode == 1
    assert "of the method 'fourier', which nothing that is installed here brings" in alone.stderr


@pytest.mark.slow
def test_a_strategy_is_chosen_on_the_command_line(installed, capture, tmp_path):
    words = (
        "ns-train", "freetime", "--data", capture, "--max-num-iterations", 3, "--vis", "tensorboard", "--output-dir",
        tmp_path / "out", "--machine.device-type", "cpu", "--pipeline.model.strategy",
    )  # fmt: skip
    data = ("multiview-video-data", "--initial-points", "random", "--num-random-points", 50)
    given = ("idle", "--pipeline.model.strategy-options", "patience", 5)
    done = in_a_process(*words, *given, *data, **installed)
    assert done.code == 0, done.text
    (config,) = tmp_path.glob("out/**/config.yml")
    assert "IdleConfig" in config.read_text() and "patience: 5" in config.read_text()
    unknown = in_a_process(*words, "restless", *data, **installed)
    assert unknown.code == 1 and "the densification strategy 'restless' is unknown" in unknown.text

"""The package as a guest inside Nerfstudio: cheap to load, documented, and harmless when broken."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap

import pytest

from tests.cli.run import in_a_process, typed

HEAVY = ("numba", "gsplat", "pycolmap", "av", "scipy.spatial", "triton", "sklearn", "open3d", "tensorboard")


def python(code: str) -> dict:
    """Run ``code`` in a new interpreter; returns what it prints as JSON in its last line."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_imports_nothing_heavy():
    loaded = python("import fourdgs_ns, sys, json; print(json.dumps({'loaded': sorted(sys.modules)}))")["loaded"]
    assert not {"torch", "numpy", "nerfstudio", "tyro"} & set(loaded)


@pytest.mark.slow
def test_the_dataparser_entry_does_not_reach_the_trainer():
    """Reaching it re-enters half-initialised Nerfstudio modules and breaks every ns-* command."""
    loaded = python(
        "import fourdgs_ns.plugin.dataparser_specs, sys, json; print(json.dumps({'loaded': sorted(sys.modules)}))"
    )
    assert "nerfstudio.data.dataparsers.base_dataparser" in loaded["loaded"]
    for forbidden in ("nerfstudio.engine.trainer", "nerfstudio.plugins.types", "nerfstudio.configs.dataparser_configs"):
        assert forbidden not in loaded["loaded"]


MEASURE = """
import importlib.metadata, json, sys, time
everything = importlib.metadata.entry_points
def others(**select):
    found = everything(**select)
    if not select.get("group", "").startswith("nerfstudio."):
        return found
    return importlib.metadata.EntryPoints(e for e in found if not e.value.startswith("fourdgs_ns"))
importlib.metadata.entry_points = others
import nerfstudio.configs.method_configs
before, start = set(sys.modules), time.process_time()
import fourdgs_ns.plugin.dataparser_specs, fourdgs_ns.plugin.entry_points
seconds = time.process_time() - start
assert fourdgs_ns.plugin.entry_points.spacetime_gaussian is not None and "fourdgs_ns.plugin.model" not in before
print(json.dumps({"seconds": seconds, "loaded": sorted(set(sys.modules) - before)}))
"""


@pytest.mark.slow
def test_loading_the_plugin_adds_little_to_a_command():
    measured = python(MEASURE)
    assert measured["seconds"] < 1.0
    heavy = [name for name in measured["loaded"] if any(name == h or name.startswith(h + ".") for h in HEAVY)]
    assert heavy == []


def test_help_documents_our_fields():
    told = typed("ns-train", "spacetime-gaussian", "--help")
    assert told.code == 0
    for option in (
        "--pipeline.model.representation.variant",
        "--pipeline.model.densification.gradient-threshold",
        "--pipeline.model.background-color",
        "--pipeline.datamanager.residency",
        "--pipeline.datamanager.batch-size",
    ):
        assert option in told.text
    # Words of the docstrings under the fields, which are the documentation a user reads.
    flat = told.text.replace("│", " ")
    flat = " ".join(flat.split())
    assert "one RGB per Gaussian, fastest" in flat
    assert "multiview-video-data" in flat


def test_help_of_the_dataparser_documents_its_fields():
    told = typed("ns-train", "spacetime-gaussian", "multiview-video-data", "--help")
    assert told.code == 0
    flat = " ".join(told.text.replace("│", " ").split())
    for option in ("--eval-cameras", "--train-cameras", "--frames", "--downscale-factor", "--initial-points"):
        assert option in flat
    assert "Cameras held out for scores" in flat
    assert "0:50 is the first 50 frames" in flat


def undocumented(config: type) -> list[str]:
    """Fields of a dataclass without the string below them that tyro shows in --help."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0].body
    documented = [isinstance(below, ast.Expr) for below in [*body[1:], None]]
    names = [
        (n.target.id, said)
        for n, said in zip(body, documented)
        if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n)
    ]
    return [f"{config.__name__}.{name}" for name, said in names if not said and name != "_target"]


def test_every_field_has_documentation():
    """An undocumented field shows up in --help as a bare name."""
    from fourdgs_ns.plugin.methods import trainer_config

    top = trainer_config("spacetime-gaussian")
    manager, model = top.pipeline.datamanager, top.pipeline.model
    parts = (manager, manager.dataparser, model, model.representation, model.densification, model.guided_sampling)
    schedules = [part for group in top.optimizers.values() for part in group.values() if part is not None]
    classes = {type(part) for part in (top, top.pipeline, *parts, *schedules)}
    assert [name for config in classes for name in undocumented(config)] == []


def test_other_methods_keep_their_help():
    told = typed("ns-train", "splatfacto", "--help")
    assert told.code == 0
    assert "--pipeline.model.cull-alpha-thresh" in told.text


BREAK = """
import importlib.abc, sys
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise RuntimeError("broken on purpose")
sys.meta_path.insert(0, Broken())
"""


@pytest.mark.slow
@pytest.mark.parametrize("module, warnings", [("fourdgs_ns.plugin.model", 1), ("fourdgs_ns.plugin.dataparser", 2)])
def test_other_methods_survive_a_broken_installation_of_ours(tmp_path, module, warnings):
    """One line per entry point that is lost (a broken dataparser takes the method with it), and splatfacto goes on."""
    (tmp_path / "sitecustomize.py").write_text(BREAK.format(module=module))
    told = in_a_process("ns-train", "splatfacto", "--help", PYTHONPATH=str(tmp_path))
    assert told.code == 0, told.err
    assert "--pipeline.model.cull-alpha-thresh" in told.text
    ours = [line for line in told.err.splitlines() if line.startswith("warning:")]
    assert len(ours) == warnings
    assert all("broken on purpose" in line and "pip install --force-reinstall fourdgs-ns" in line for line in ours)
    assert "Traceback" not in told.text

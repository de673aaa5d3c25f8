"""The READMEs: every command is accepted as typed and, where it can be, run on the sample; what they name and link exists."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import tyro

from tests.cli.run import SCRIPTS, fourdgs, typed
from tests.plugin.tiny import tiny_surroundings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fourdgs_ns"
READMES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted(PACKAGE.rglob("README.md"))]
OF_THE_SHELL = {"python3", ".", "pip", "pytest"}
ONLY_PARSED = {
    r"ns-viewer": "runs until it is stopped",
    r"fourdgs-ns process": "needs videos of a real rig",
    r"fourdgs-ns (bench|benchmark-process)": "takes minutes, or needs a GPU",
    r".*\bcamera_path\.json": "needs a path saved in the viewer",
    r".*\b(chkpnt30000\.pth|point_cloud\.ply)": "needs a model of other programs",
    r".*\b(DIR|METHOD|panoptic_basketball_60|late)\b": "measured on another capture",
    r"ns-train .*--matcher dense": "takes two minutes; the matcher is typed in points/README.md",
    r"ns-train splatfacto": "needs a GPU",
    r"fourdgs-ns prune .*--keep 0.5": "a run is pruned once, in cli/README.md",
    r"fourdgs-ns synth --out data/stage": "made the sample; tests/synth compares the recipe",
}
"""Commands that are not run here -> why."""
CAPTURES = {"my_capture", "panoptic_basketball_60", "hyfluid_smoke", "pose2sim_demo"}
GONE = {"--selective-adam"}
"""Options of which the notebook of what was tried tells."""


def shown(readme: Path) -> str:
    return str(readme.relative_to(ROOT))


def commands(readme: Path) -> list[list[str]]:
    """The words of every command in the blocks marked ``bash``."""
    blocks = re.findall(r"^```bash\n(.*?)^```", readme.read_text("utf8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [words for words in found if words and words[0] not in OF_THE_SHELL]


def prose(readme: Path) -> str:
    """Everything but the blocks."""
    return re.sub(r"^```.*?^```", "", readme.read_text("utf8"), flags=re.MULTILINE | re.DOTALL)


def code(readme: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(readme))


class Accepted(BaseException):
    """Raised in place of what a command would do next."""


def check_accepted(words: list[str]) -> None:
    """Parse a command as it would be, and stop there. Raises SystemExit, after a message, where the shell would."""
    if words[0] == "fourdgs-ns":
        from fourdgs_ns.cli.commands import COMMANDS

        tyro.extras.subcommand_cli_from_dict(COMMANDS, args=words[1:])
        return
    parse = tyro.cli

    def parse_only(*args, **kwargs) -> None:
        parse(*args, **kwargs)
        raise Accepted

    script = importlib.import_module(SCRIPTS[words[0]])
    stand_in = ["freetime" if word == "METHOD" else word for word in words]
    with mock.patch.object(sys, "argv", stand_in), mock.patch.object(tyro, "cli", parse_only), pytest.raises(Accepted):
        script.entrypoint()


@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_commands_are_accepted(readme, capsys):
    for words in commands(readme):
        try:
            check_accepted(words)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {''.join(capsys.readouterr())}")


def test_commands_are_found():
    found = [words[:2] for words in commands(ROOT / "README.md")]
    assert ["fourdgs-ns", "export"] in found and ["ns-train", "freetime"] in found and len(found) >= 8


# ---------------------------------------------------------------------- what is named exists


@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_links_lead_somewhere(readme):
    for target, heading in re.findall(r"\]\(([^)#\s]*)#?([\w-]*)\)", prose(readme)):
        if target.startswith("http"):
            continue
        path = readme.parent / target if target else readme
        assert path.is_file(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text("utf8"), re.MULTILINE) if heading else []
        assert not heading or heading in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


def exists(name: str, readme: Path) -> bool:
    if any((base / name).exists() for base in (readme.parent, PACKAGE, ROOT)):
        return True
    return "/" not in name and any(PACKAGE.rglob(name))


@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_files_and_folders_exist(readme):
    known = {"tests", "data", "fourdgs_ns", *(path.name for path in PACKAGE.iterdir() if path.is_dir())}
    ours = [
        name
        for name in code(readme)
        if re.fullmatch(r"[\w./-]+\.(py|md|js)", name)
        or (re.fullmatch(r"[\w./-]+", name) and "/" in name and name.split("/")[0] in known)
    ]
    assert [name for name in ours if not exists(name, readme)] == []


@cache
def source() -> str:
    return "\n".join(path.read_text("utf8") for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_names_stand_in_the_code(readme):
    """Names with an underscore or a capital inside, and modules, options of commands aside."""
    names = [n for n in code(readme) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+|[A-Z][a-z]+[A-Z]\w*|fourdgs_ns(\.\w+)+", n)]
    unknown = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", source())]
    assert sorted(set(unknown) - CAPTURES) == []


def test_every_room_is_described():
    described = code(PACKAGE / "README.md")
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")]
    assert [room for room in rooms if f"{room}/" not in described] == []


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option that the help of our commands and of our methods shows."""
    from fourdgs_ns.cli.commands import COMMANDS
    from fourdgs_ns.representation.registry import METHODS

    paths = ("fixed", "orbit", "spiral", "interpolate", "camera-path")
    texts = [fourdgs(command, "--help").out for command in COMMANDS]
    texts += [fourdgs("render", path, "--help").out for path in paths]
    for method in METHODS:
        texts += [typed("ns-train", method, *parser, "--help").out for parser in ((), ("multiview-video-data",))]
    return set(re.findall(r"--[a-z0-9][\w.-]*", "\n".join(texts)))


@pytest.mark.slow
@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_options_in_the_prose_exist(readme, known_options, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    named = {option for text in code(readme) for option in re.findall(r"(?:^| )(--[a-z0-9][\w.-]*)", text)}
    assert named - known_options - GONE - {"--help"} == set()


# ---------------------------------------------------------------------- run on the sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Iterator[Path]:
    """A copy of the sample capture."""
    with tiny_surroundings():
        folder = tmp_path_factory.mktemp("sample") / "stage"
        yield shutil.copytree(ROOT / "data" / "stage", folder, ignore=shutil.ignore_patterns(".fourdgs"))


def train(capture: Path, output: Path, *options: str) -> Path:
    """A short training; returns the run's folder."""
    done = typed(
        "ns-train", "freetime", "--data", capture, "--output-dir", output, "--max-num-iterations", 20, "--vis",
        "tensorboard", *options,
    )  # fmt: skip
    assert done.code == 0, done.text
    return next(output.rglob("config.yml")).parent


@pytest.fixture(scope="module")
def runs(sample, tmp_path_factory) -> dict[str, str]:
    """What the READMEs call so -> a run of the sample."""
    folder = tmp_path_factory.mktemp("runs")
    first = train(sample, folder / "a")
    refine = ("--pipeline.model.pose-correction", "True", "--pipeline.datamanager.batch-size", "1")
    second = train(sample, folder / "b", *refine)
    return {"RUN/refined_cameras.json": f"{second}/refined_cameras.json", "RUN_A": str(first), "RUN_B": str(second),
            "RUN": str(first), "FILE": str(first)}  # fmt: skip


def small(words: list[str]) -> list[str]:
    """The same command with little to do."""
    numbers = {"--max-num-iterations": "20", "--steps": "5"}
    words = [numbers.get(before, word) for before, word in zip(["", *words], words)]
    if words[0] == "ns-train":
        steps = "40" if "--load-dir" in words else "20"
        # Nerfstudio keeps the log files of earlier trainings of a process open: their paths must hold in other folders.
        output = str(Path("outputs").resolve())
        return [*words[:2], "--max-num-iterations", steps, "--vis", "tensorboard", "--output-dir", output, *words[2:]]
    if words[:2] == ["fourdgs-ns", "render"]:
        return [*words, "--scale", "0.25", *(("--length", "0.2") if "--at" in words else ("--span", "0", "0.1"))]
    return words + ["--key-frames", "2"] * (words[:2] == ["fourdgs-ns", "init"])


@pytest.mark.slow
@pytest.mark.parametrize("readme", READMES, ids=shown)
def test_commands_run_on_the_sample(readme, sample, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("my_capture", "data/stage"):
        (tmp_path / name).symlink_to(sample)
    for words in commands(readme):
        if any(re.match(pattern, " ".join(words)) for pattern in ONLY_PARSED):
            continue
        line = small([re.sub(rf"^({'|'.join(runs)})\b", lambda name: runs[name[0]], word) for word in words])
        done = fourdgs(*line[1:]) if line[0] == "fourdgs-ns" else typed(*line)
        assert done.code == 0, f"{shlex.join(line)}: {done.text}"
    if readme != ROOT / "README.md":
        run_python(readme, runs)


def run_python(readme: Path, runs: dict[str, str]) -> dict:
    """Execute the blocks marked ``python``; returns the variables that they leave."""
    values: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", readme.read_text("utf8"), re.MULTILINE | re.DOTALL):
        exec(block.replace('"RUN"', repr(runs["RUN"])), values)
    return values


@pytest.mark.slow
def test_python_runs_on_the_sample(runs):
    image = run_python(ROOT / "README.md", runs)["image"]
    assert image.ndim == 3 and image.shape[2] == 3 and 0 <= float(image.min()) <= float(image.max()) <= 1

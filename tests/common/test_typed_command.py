"""The command that was typed, as one that works from any folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fourdgs_ns.common.typed_command import has_option, typed_again, typed_value


@dataclass
class Inner:
    model_dir: Path = Path("models")


@dataclass
class Command:
    source: tuple[Path, ...] = (Path("viewer"),)
    out: Path = Path("new file")
    vis: str = "viewer"
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    return tmp_path


def typed(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fourdgs-ns", *words])


def test_paths_are_absolute_and_everything_is_quoted(folder, monkeypatch):
    typed(monkeypatch, "do", "viewer", "--out=new file", "--inner.model-dir", "models", "--note", "a b")
    assert typed_again(Command()) == (
        f"fourdgs-ns do {folder}/viewer '--out={folder}/new file' --inner.model-dir {folder}/models --note 'a b'"
    )


def test_a_word_that_only_looks_like_a_path_is_left(folder, monkeypatch):
    typed(monkeypatch, "do", "--source", "viewer", "--vis", "viewer")
    assert typed_again(Command()) == f"fourdgs-ns do --source {folder}/viewer --vis viewer"


def test_before_anything_is_parsed_what_exists_is_a_path(folder, monkeypatch):
    typed(monkeypatch, "do", "here", "--out", "not/yet", "--vis", "viewer")
    assert typed_again() == f"fourdgs-ns do {folder}/here --out {folder}/not/yet --vis viewer"


def test_options_are_left_out_and_put_in(monkeypatch):
    typed(monkeypatch, "do", "--load_dir", "a", "--flag", "--load-step=3", "last")
    assert typed_again(Command(), without=("--load-dir", "--load-step"), added={"--load-dir": "b c"}) == (
        "fourdgs-ns do --load-dir 'b c' --flag last"
    )
    assert has_option("--load-dir") and not has_option("--load")
    assert (typed_value("--load-dir"), typed_value("--load-step"), typed_value("--none")) == ("a", "3", None)

"""A seeded fuzzer over every reader. 100 inputs always; many more with ``-m fuzz`` (``FAULTS=5000`` for as many)."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from .mutations import fresh_copy, mutate
from .subjects import Subject, all_subjects, check_right_inputs
from .watch import Outcome, attempt

ENDS = ("clear line", "accepted", "traceback", "hang")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> list[Subject]:
    root = tmp_path_factory.mktemp("right")
    found = all_subjects(root)
    check_right_inputs(found, tmp_path_factory.mktemp("copies"))
    return found


def attack(subjects: list[Subject], count: int, work: Path) -> tuple[dict[str, Counter], list[str]]:
    """``count`` damaged inputs, the readers in turn; how they ended by reader, and the faults."""
    table: dict[str, Counter] = {subject.name: Counter() for subject in subjects}
    turns = [subject for subject in subjects for _ in range(subject.weight)]
    faults = []
    only = os.environ.get("FAULT")
    for number in range(count) if only is None else [int(only)]:
        subject = turns[number % len(turns)]
        what, outcome = attacked(subject, number, work)
        counts = table[subject.name]
        counts[outcome.end] += 1
        for key in ("outside", "executed"):
            counts[key] += bool(getattr(outcome, key))
        counts["memory"] += any(fault.startswith("took") for fault in outcome.faults)
        faults += [f"{number} {subject.name}, {what}: {fault}" for fault in outcome.faults]
        if only is not None:
            print(what, outcome)
    return table, faults


def attacked(subject: Subject, number: int, work: Path) -> tuple[str, Outcome]:
    """One input, which its number alone decides."""
    rng = random.Random(number)
    folder = work / "input"
    folder.mkdir()
    where = os.getcwd()
    try:
        copy = fresh_copy(subject.path, folder)
        what = mutate(rng, rng.choice(subject.files(copy)), subject.damage)
        os.chdir(folder)
        sys.modules.pop("tests.faults.bait", None)
        return what, attempt(subject.read, copy, folder)
    finally:
        os.chdir(where)
        if os.environ.get("FAULT") is None:
            shutil.rmtree(folder)


def report(table: dict[str, Counter]) -> str:
    """Readers down, ends across."""
    columns = [*ENDS, "outside", "executed", "memory"]
    lines = [f"{'reader':<24}" + "".join(f"{column:>12}" for column in columns)]
    total = sum(table.values(), Counter())
    for name, counts in [*table.items(), ("all", total)]:
        lines.append(f"{name:<24}" + "".join(f"{counts[column]:>12}" for column in columns))
    return "\n".join(lines)


def test_a_hundred_inputs(subjects, tmp_path):
    _, faults = attack(subjects, 100, tmp_path)
    assert not faults, "\n".join(faults)


@pytest.mark.fuzz
def test_thousands_of_inputs(subjects, tmp_path, capsys):
    count = int(os.environ.get("FAULTS", "2000"))
    table, faults = attack(subjects, count, tmp_path)
    with capsys.disabled():
        print(f"\n{report(table)}")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)

"""Surroundings of short trainings."""

from __future__ import annotations

import pytest

from tests.plugin.tiny import tiny_surroundings


@pytest.fixture(scope="package", autouse=True)
def surroundings():
    with tiny_surroundings():
        yield

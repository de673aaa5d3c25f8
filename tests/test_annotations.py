"""Annotations are executed while tests run: a wrong shape fails where it is passed, stored or returned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.points.matcher import TriangulatedPoints
from fourdgs_ns.rasterization.cpu_kernels import blend_backward
from fourdgs_ns.training.losses import random_crops

from .annotations import checked


def test_a_wrong_shape_is_no_argument():
    with pytest.raises(TypeCheckError, match="parameter 'quats'"):
        rotation_matrices(torch.zeros(5, 3))


def test_dimensions_of_one_name_are_equal():
    with pytest.raises(TypeCheckError, match="parameter 'target'"):
        random_crops(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 9, 3), side=4, seed=0)


def test_fields_of_a_dataclass_are_checked():
    with pytest.raises(TypeCheckError, match="parameter 'errors'"):
        TriangulatedPoints(np.zeros((2, 3)), np.zeros((2, 3), np.uint8), np.zeros((2, 1), bool), np.zeros(3))


def test_results_are_checked():
    @checked
    def wrong() -> int:
        return "1"  # type: ignore[return-value]

    with pytest.raises(TypeCheckError, match="return value"):
        wrong()


def test_what_numba_compiles_is_left_alone():
    assert not hasattr(blend_backward.py_func, "__wrapped__")

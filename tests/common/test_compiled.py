"""Ranges are spread over threads, and each item is computed once."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fourdgs_ns.common.compiled import exact_helper, exact_kernel, spread


@exact_helper
def _square(x):
    return x * x


@exact_kernel
def _squares(start, end, numbers, out):
    for i in range(start, end):
        out[i] += _square(numbers[i])


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 10, 1001])
def test_every_item_is_computed_once(threads, count):
    numbers, out = np.arange(float(count)), np.zeros(count)
    spread(threads, _squares, count, 10, numbers, out)
    np.testing.assert_array_equal(out, numbers**2)


def test_no_more_threads_than_asked_for_and_errors_come_back():
    seen = set()
    spread(2, lambda start, end: seen.add(threading.get_ident()), 50, 1)
    assert 1 <= len(seen) <= 2

    def fail(start, end):
        raise ValueError(start)

    with pytest.raises(ValueError):
        spread(3, fail, 50, 1)

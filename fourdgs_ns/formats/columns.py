"""Columns of numbers in fewer bytes, each with the largest error that decoding makes, measured when it was written.

| codec | bytes per number | what is stored |
|---|---|---|
| f32 | 4 | the number |
| f16 | 2 | the nearest half |
| log16 | 2 | sign(x) ln(1 + abs(x)) in 65536 steps between the component's extremes: fine near the origin, coarser far away |
| book8 | 1 | the nearest of 256 values chosen for the column (Lloyd's algorithm, started from quantiles) |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

Codec = Literal["f32", "f16", "log16", "book8"]
DTYPES: dict[str, str] = {"f32": "<f4", "f16": "<f2", "log16": "<u2", "book8": "u1"}
BOOK_SIZE = 256
LLOYD_ROUNDS = 8
LLOYD_SAMPLE = 1 << 18
HALF_MAX = 65504.0


@dataclass
class Column:
    """One attribute of all Gaussians, encoded."""

    codec: Codec
    codes: np.ndarray
    """[n, c] of the codec's type."""
    error: float
    """Largest absolute difference of a decoded number."""
    table: Float[np.ndarray, " k"] | Float[np.ndarray, "2 c"] = field(default_factory=lambda: np.zeros(0, np.float32))
    """book8: the 256 values. log16: lowest and highest of each component after the logarithm."""

    def describe(self) -> dict[str, Any]:
        """What a header must say besides the codes."""
        return {"codec": self.codec, "components": self.codes.shape[1], "error": self.error}


def encode(values: Float[np.ndarray, "n c"], codec: Codec) -> Column:
    """Encode finite ``values`` and measure the error."""
    values = np.ascontiguousarray(values, np.float32)
    table = np.zeros(0, np.float32)
    if codec == "f32":
        codes = values.astype("<f4")
    elif codec == "f16":
        codes = np.clip(values, -HALF_MAX, HALF_MAX).astype("<f2")
    elif codec == "log16":
        logs = np.sign(values) * np.log1p(np.abs(values.astype(np.float64)))
        table = np.stack([logs.min(axis=0), logs.max(axis=0)]).astype(np.float32)
        span = np.maximum(table[1] - table[0], 1e-12)
        codes = np.clip(np.rint((logs - table[0]) / span * 65535), 0, 65535).astype("<u2")
    else:
        table = codebook(values.ravel())
        edges = 0.5 * (table[1:] + table[:-1])
        codes = np.searchsorted(edges, values.ravel()).astype(np.uint8).reshape(values.shape)
    column = Column(codec, codes, 0.0, table)
    column.error = float(np.abs(decode(column).astype(np.float64) - values).max(initial=0.0))
    return column


def decode(column: Column) -> Float[np.ndarray, "n c"]:
    """The numbers, float32."""
    if column.codec == "book8":
        return column.table[column.codes]
    if column.codec == "log16":
        low, high = column.table.reshape(2, -1).astype(np.float64)
        logs = low + column.codes.astype(np.float64) * (np.maximum(high - low, 1e-12) / 65535)
        return (np.sign(logs) * np.expm1(np.abs(logs))).astype(np.float32)
    return column.codes.astype(np.float32)


def codebook(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "256"]:
    """256 ascending values near which ``values`` lie, their extremes included."""
    sample = values if len(values) <= LLOYD_SAMPLE else values[:: -(-len(values) // LLOYD_SAMPLE)]
    sample = np.sort(sample.astype(np.float64))
    if len(sample) == 0:
        return np.zeros(BOOK_SIZE, np.float32)
    # Half by rank, half by value: rare but large values must not be far from every entry.
    ranks = np.quantile(sample, np.linspace(0, 1, BOOK_SIZE // 2))
    book = np.sort(np.concatenate([ranks, np.linspace(values.min(), values.max(), BOOK_SIZE // 2)]))
    totals = np.concatenate([[0.0], np.cumsum(sample)])
    for _ in range(LLOYD_ROUNDS):
        cuts = np.concatenate([[0], np.searchsorted(sample, 0.5 * (book[1:] + book[:-1])), [len(sample)]])
        counts = np.diff(cuts)
        means = (totals[cuts[1:]] - totals[cuts[:-1]]) / np.maximum(counts, 1)
        book = np.where(counts > 0, means, book)
        book[0], book[-1] = values.min(), values.max()
        book.sort()
    return book.astype(np.float32)

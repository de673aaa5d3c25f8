"""``fourdgs-ns bench``: measured speed, as ratios against the rasterizer alone in the same run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fourdgs_ns.common.console import say

if TYPE_CHECKING:
    from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainer


@dataclass
class Bench:
    """Measure speed on this machine.

    render: rendering at random t from canonical parameters against rasterizing a frozen slice, for every representation. step: a
    whole training step of a method on a capture, by parts, and the frames per second that the data path serves. play: images per
    second that the viewer's Play delivers of a trained run, encoded. export: seconds per frame of a PLY sequence, beside
    Nerfstudio's writer. memory: bytes per Gaussian of every representation and, on a GPU, what real training steps take. data:
    decoding, building the frame store and serving frames, and the host memory for that.
    """

    measurement: tyro.conf.Positional[Literal["render", "step", "play", "export", "memory", "data"]] = "render"
    """What is measured."""
    rows: tuple[int, ...] = ()
    """render, memory, export: numbers of Gaussians. Default: 0.1, 0.3 and 1 million; for memory 0.5, 1 and 3 million; for export
    1 million."""
    alive: tuple[float, ...] = (1.0, 0.3, 0.08)
    """render, memory: shares of them that are alive at any t; step, data, export take the first."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="W H")] = (1352, 1014)
    """render, play, memory: width and height in pixels; data without a capture: those of the recordings that are made."""
    trained: Path | None = None
    """play: folder of the run, or its config.yml."""
    data: Path | None = None
    """step, data: the capture. data makes recordings of its own when none is named."""
    method: str = "freetime"
    """step, data: the method."""
    initial_gaussians: int = 100_000
    """step, data: random Gaussians to train with; their number does not change."""
    cameras: int = 20
    """data without a capture: number of recordings."""
    frames: int = 300
    """data without a capture: length of each recording. The frames of all of them have to fit on the disk of the temporary folder
    (TMPDIR)."""
    repeats: int = 50
    """Repetitions of each measurement (median), training steps (mean), or frames of an export (mean)."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where; auto takes the GPU when there is one."""

    def run(self) -> None:
        """Measure and print tables."""
        import torch

        from fourdgs_ns.common.errors import UserError

        found: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
        name = found if self.device == "auto" else self.device
        if name == "cuda" and not torch.cuda.is_available():
            raise UserError("PyTorch sees no CUDA device here; measure the CPU with --device cpu")
        if self.repeats < 1:
            raise UserError(f"--repeats is {self.repeats}; give at least 1")
        device = torch.device(name)
        if self.measurement == "export":
            self._export()
        elif self.measurement in ("render", "play", "memory"):
            {"render": self._render, "play": self._play, "memory": self._memory}[self.measurement](device)
        else:
            {"step": self._step, "data": self._data}[self.measurement](name)

    def _play(self, device) -> None:  # type: ignore[no-untyped-def]

        from fourdgs_ns.bench import play
        from fourdgs_ns.bench.timing import hardware
        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.plugin.runs import load_run

        if self.trained is None:
            raise UserError("bench play needs a trained run; name its folder with --trained")
        loaded = load_run(self.trained)
        rate = play.measure(loaded, self.size, self.repeats)
        say(
            f"{loaded.name}, {loaded.pipeline.gaussians.num_points:,} Gaussians: Play delivers {rate.images_per_second:.1f} "
            f"images/s of {rate.width}x{rate.height}, encoded; rendering alone {rate.rendered_per_second:.1f}/s at "
            f"{self.size[0]}x{self.size[1]}; {hardware(device)}"
        )

    def _export(self) -> None:

        from fourdgs_ns.bench import export

        for rows, degree in ((rows, degree) for rows in self.rows or (1_000_000,) for degree in (3, 0)):
            r = export.measure(rows, self.alive[0], degree, self.repeats)
            say(
                f"SH degree {degree}, {r.alive:,} Gaussians in a frame, {r.megabytes:.0f} MB: {r.ours:.2f} s per frame "
                f"({r.ours_cpu:.2f} CPU s), 300 frames in {5 * r.ours:.1f} min"
            )
            beside = (
                "cannot be imported here" if r.stock is None
                else f"takes {r.stock:.1f} CPU s per frame, {r.stock / r.ours_cpu:.0f} times as much"
            )  # fmt: skip
            say(f"  Nerfstudio's writer {beside}")

    def _render(self, device) -> None:  # type: ignore[no-untyped-def]
        from rich.table import Table

        from fourdgs_ns.bench import render
        from fourdgs_ns.bench.timing import hardware

        table = Table(title=f"{self.size[0]}x{self.size[1]}, median of {self.repeats}; {hardware(device)}")
        for column in (
            "representation", "Gaussians", "alive", "forward ratio", "fwd+bwd ratio",
            "rasterizer ms", "ours ms", "rasterizer fwd+bwd ms", "ours fwd+bwd ms",
        ):  # fmt: skip
            table.add_column(column, justify="left" if column == "representation" else "right")
        if device.type == "cpu":
            for column in ("pixel pairs, millions", "ns/pair forward", "ns/pair fwd+bwd"):
                table.add_column(column, justify="right")
            table.caption = "ns/pair: of one core, for each pixel at which the rasterizer has to evaluate a Gaussian"
        for name in render.REPRESENTATIONS:
            for rows in self.rows or (100_000, 300_000, 1_000_000):
                for share in self.alive:
                    r = render.measure(name, rows, share, self.size, device, self.repeats)
                    extra = []
                    if r.pixel_pairs is not None:
                        spent = (r.nanoseconds_per_pair(ms) for ms in (r.floor, r.floor_both))
                        extra = [f"{r.pixel_pairs / 1e6:.1f}", *(f"{ns:.2f}" for ns in spent)]
                    table.add_row(
                        r.name, f"{r.rows:,}", f"{r.alive:,}", f"{r.ours / r.floor:.2f}",
                        f"{r.ours_both / r.floor_both:.2f}",
                        *(f"{ms:.2f}" for ms in (r.floor, r.ours, r.floor_both, r.ours_both)), *extra,
                    )  # fmt: skip
        say(table)

    def _memory(self, device) -> None:  # type: ignore[no-untyped-def]
        import torch
        from rich.table import Table

        from fourdgs_ns.bench import memory
        from fourdgs_ns.bench.timing import hardware

        on_gpu = device.type == "cuda"
        table = Table(title=f"Memory of training; {hardware(device)}", caption=memory.CAPTION)
        for column in ("representation", "rows", "B/row", "parameters", "gradients", "moments", "sum"):
            table.add_column(column, justify="left" if column == "representation" else "right", no_wrap=True)
        if on_gpu:
            for share in self.alive:
                table.add_column(f"{share:.0%} alive: peak", justify="right")
        for name in memory.REPRESENTATIONS:
            for rows in self.rows or (500_000, 1_000_000, 3_000_000):
                each = memory.stated(name, rows).per_row
                measured = []
                for share in self.alive if on_gpu else ():
                    try:
                        need = memory.measured(name, rows, share, self.size, device)
                        measured.append(f"{memory.gigabytes(need.peak_step)}, {memory.gigabytes(need.peak_growth)}")
                    except torch.cuda.OutOfMemoryError:
                        measured.append("does not fit")
                    torch.cuda.empty_cache()
                parts = (each.parameters, each.gradients, each.moments, each.total)
                table.add_row(
                    name, f"{rows:,}", f"{each.total:,}", *(memory.gigabytes(rows * part) for part in parts), *measured
                )
        say(table)

    def _step(self, device: Literal["cpu", "cuda"]) -> None:

        from fourdgs_ns.bench import step
        from fourdgs_ns.common.errors import UserError

        if self.data is None:
            raise UserError("bench step trains on a capture; name its folder with --data")
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(self.data, Path(folder), device)
            times = step.measure(trainer, self.repeats)
        batch = trainer.pipeline.datamanager.config.batch_size
        say(f"{self.method}, {times.rows:,} Gaussians, {times.alive:,} alive, batch {batch}")
        say(
            f"whole step {times.whole:.2f} ms ({1000 / times.whole:.0f} per second), {times.whole / times.floor:.2f} times the "
            f"rasterizer alone ({times.floor:.2f} ms forward and backward); peak {times.peak_gb:.2f} GB"
        )
        say("by parts: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.parts.items()))
        say(
            f"data alone: {times.frames_per_second:.0f} frames/s served, {times.frames_needed:.0f} needed at this speed"
        )

    def _data(self, device: Literal["cpu", "cuda"]) -> None:

        from fourdgs_ns.bench import data
        from fourdgs_ns.training.memory import GB

        with tempfile.TemporaryDirectory() as folder:
            capture = self.data or data.make_recordings(
                Path(folder) / "recordings", self.cameras, self.frames, self.size
            )
            rates = data.measure(self._trainer(capture, Path(folder) / "out", device), self.repeats)
        say(
            f"{rates.cameras} cameras, {rates.frames:,} frames in all\n"
            f"frames/s: building the frame store {rates.building:.0f}, plain decoding {rates.decoding:.0f}; building takes "
            f"{rates.decoding / rates.building:.2f} times as long\n"
            f"frames/s: {rates.served:.0f} served, {rates.needed:.0f} needed by {self.method} at full speed; {rates.residency}\n"
            f"peak host memory: {rates.peak_building / GB:.2f} GB when the store was built, {rates.peak / GB:.2f} GB after "
            "training"
        )

    def _trainer(self, capture: Path, output: Path, device: Literal["cpu", "cuda"]) -> DynamicGaussiansTrainer:
        """A trainer of the method with random points that neither logs nor saves."""
        from fourdgs_ns.bench import step
        from fourdgs_ns.plugin.datamanager import MultiViewVideoDatamanagerConfig
        from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
        from fourdgs_ns.plugin.methods import trainer_config

        config = trainer_config(self.method)
        data = config.pipeline.datamanager
        assert isinstance(data, MultiViewVideoDatamanagerConfig)
        parser = data.dataparser
        assert isinstance(parser, MultiViewVideoDataParserConfig)
        parser.initial_points, parser.num_random_points = "random", self.initial_gaussians
        return step.make_trainer(config, capture, output, device, self.alive[0])

"""``fourdgs-ns bench``: measured speed, as ratios against the rasteriser alone in the same run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional

import tyro


@dataclass
class Bench:
    """Measure speed on this machine.

    render: drawing a moment from canonical parameters against drawing a frozen still, for every representation. step: a whole
    training step of a method on a capture, by parts, and the frames per second that the data path serves. play: pictures per
    second that the viewer's Play delivers of a trained run, encoded. export: seconds per frame of a PLY sequence, beside
    Nerfstudio's writer.
    """

    room: tyro.conf.Positional[Literal["render", "step", "play", "export"]] = "render"
    """What is measured."""
    rows: tuple[int, ...] = (100_000, 300_000, 1_000_000)
    """render, export: numbers of Gaussians; export takes the last."""
    alive: tuple[float, ...] = (1.0, 0.3, 0.08)
    """render, export: shares of them that are alive at any t; export takes the first."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="W H")] = (1352, 1014)
    """render, play: width and height in pixels."""
    trained: Optional[Path] = None  # noqa: UP045
    """play: folder of the run, or its config.yml."""
    data: Optional[Path] = None  # noqa: UP045  (tyro on Python 3.10)
    """step: the capture to train on."""
    method: Literal["spacetime-gaussian", "freetime", "4dgs-4dsh"] = "freetime"
    """step: the method."""
    initial_gaussians: int = 100_000
    """step: random Gaussians to train with; their number does not change."""
    repeats: int = 50
    """Repetitions of each measurement (median), training steps (mean), or frames of an export (mean)."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where; auto takes the GPU when there is one."""

    def run(self) -> None:
        """Measure and print tables."""
        import torch

        from fourdgs_ns.errors import UserError

        found: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
        name = found if self.device == "auto" else self.device
        if name == "cuda" and not torch.cuda.is_available():
            raise UserError("PyTorch sees no CUDA device here; measure the CPU with --device cpu")
        if self.repeats < 1:
            raise UserError(f"--repeats is {self.repeats}; give at least 1")
        device = torch.device(name)
        if self.room == "export":
            self._export()
        elif self.room == "play":
            self._play(device)
        else:
            self._render(device) if self.room == "render" else self._step(name)

    def _play(self, device) -> None:  # type: ignore[no-untyped-def]
        from rich.console import Console

        from fourdgs_ns.bench import play
        from fourdgs_ns.bench.timing import hardware
        from fourdgs_ns.errors import UserError
        from fourdgs_ns.runs import load_run

        if self.trained is None:
            raise UserError("bench play needs a trained run; name its folder with --trained")
        loaded = load_run(self.trained)
        rate = play.measure(loaded, self.size, self.repeats)
        Console(highlight=False).print(
            f"{loaded.name}, {loaded.pipeline.gaussians.num_points:,} Gaussians: Play delivers {rate.pictures_per_second:.1f} "
            f"pictures/s of {rate.width}x{rate.height}, encoded; drawing alone {rate.drawn_per_second:.1f}/s at "
            f"{self.size[0]}x{self.size[1]}; {hardware(device)}"
        )

    def _export(self) -> None:
        from rich.console import Console

        from fourdgs_ns.bench import export

        console = Console(highlight=False)
        for degree in (3, 0):
            r = export.measure(self.rows[-1], self.alive[0], degree, self.repeats)
            console.print(
                f"SH degree {degree}, {r.alive:,} Gaussians in a frame, {r.megabytes:.0f} MB: {r.ours:.2f} s per frame "
                f"({r.ours_cpu:.2f} CPU s), 300 frames in {5 * r.ours:.1f} min",
                soft_wrap=True,
            )
            beside = (
                "cannot be imported here" if r.stock is None
                else f"takes {r.stock:.1f} CPU s per frame, {r.stock / r.ours_cpu:.0f} times as much"
            )  # fmt: skip
            console.print(f"  Nerfstudio's writer {beside}")

    def _render(self, device) -> None:  # type: ignore[no-untyped-def]
        from rich.console import Console
        from rich.table import Table

        from fourdgs_ns.bench import render
        from fourdgs_ns.bench.timing import hardware

        console = Console()
        table = Table(title=f"{self.size[0]}x{self.size[1]}, median of {self.repeats}; {hardware(device)}")
        for column in (
            "representation", "rows", "alive", "forward ratio", "fwd+bwd ratio",
            "rasteriser ms", "ours ms", "rasteriser fwd+bwd ms", "ours fwd+bwd ms",
        ):  # fmt: skip
            table.add_column(column, justify="left" if column == "representation" else "right")
        for name in render.REPRESENTATIONS:
            for rows in self.rows:
                for share in self.alive:
                    r = render.measure(name, rows, share, self.size, device, self.repeats)
                    table.add_row(
                        r.name, f"{r.rows:,}", f"{r.alive:,}", f"{r.ours / r.floor:.2f}",
                        f"{r.ours_both / r.floor_both:.2f}",
                        *(f"{ms:.2f}" for ms in (r.floor, r.ours, r.floor_both, r.ours_both)),
                    )  # fmt: skip
        console.print(table)

    def _step(self, device: Literal["cpu", "cuda"]) -> None:
        from rich.console import Console

        from fourdgs_ns import method_configs
        from fourdgs_ns.bench import step
        from fourdgs_ns.data.datamanager import MultiViewVideoDatamanagerConfig
        from fourdgs_ns.data.dataparser import MultiViewVideoDataParserConfig
        from fourdgs_ns.errors import UserError

        if self.data is None:
            raise UserError("bench step trains on a capture; name its folder with --data")
        methods = (method_configs.spacetime_gaussian, method_configs.freetime, method_configs.fourdgs_4dsh)
        config = {c.config.method_name: c.config for c in methods}[self.method]
        data = config.pipeline.datamanager
        assert isinstance(data, MultiViewVideoDatamanagerConfig)
        parser = data.dataparser
        assert isinstance(parser, MultiViewVideoDataParserConfig)
        parser.initial_points, parser.num_random_points = "random", self.initial_gaussians
        with tempfile.TemporaryDirectory() as folder:
            trainer = step.make_trainer(config, self.data, Path(folder), device)
            times = step.measure(trainer, self.repeats)
        console = Console(highlight=False)
        console.print(f"{self.method}, {times.rows:,} Gaussians, {times.alive:,} alive, batch {data.batch_size}")
        console.print(
            f"whole step {times.whole:.2f} ms ({1000 / times.whole:.0f} per second), {times.whole / times.floor:.2f} times the "
            f"rasteriser alone ({times.floor:.2f} ms forward and backward); peak {times.peak_gb:.2f} GB"
        )
        console.print("by parts: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.parts.items()))
        console.print(
            f"data alone: {times.frames_per_second:.0f} frames/s served, {times.frames_needed:.0f} needed at this speed"
        )

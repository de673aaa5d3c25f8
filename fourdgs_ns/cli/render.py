"""``fourdgs-ns render``: videos along camera paths in space and time, of one run or of several side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fourdgs_ns.common.console import say

MOST_SCALE = 16
"""Times the capture's size."""

if TYPE_CHECKING:
    from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
    from fourdgs_ns.rendering.plans import Plan, Timing


@dataclass
class PathOptions(ABC):
    """What all paths share."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """One run, or several of one capture to compare side by side: their folders or config.yml files."""
    out: Path
    """Video to write (a name that ends in .mp4), or a folder for PNG files. Interrupted, the same command goes on."""
    outputs: tuple[Literal["rgb", "depth", "motion", "truth", "difference"], ...] = ("rgb",)
    """Panels of each image. depth and motion (speed) keep their colour range over the whole video; truth and difference
    need the path fixed at the capture's own frames, all or some."""
    span: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="TIME TIME")] = None
    """Part of the clip, from and to; to before from runs backwards. Default: all of it. A TIME is in seconds (0.5), a frame
    counted from 0 (12f) or a share of the clip (50%)."""
    at: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """Freeze time at this TIME."""
    speed: float = 1.0
    """Speed of time; below 1 is slow motion, for which times between frames are rendered."""
    fps: float | None = None
    """Images per second of the video. Default: the capture's."""
    length: float = 4.0
    """Seconds of video while time is frozen."""
    scale: float = 1.0
    """Size of the images, as a multiple of the training resolution."""
    strip: bool = False
    """A strip with names and scores below, also for a single run; runs that are compared always have it."""
    data: Path | None = None
    """Folder of the capture. Default: where it was when the run was trained."""
    overwrite: bool = False
    """Replace what is at --out."""

    @abstractmethod
    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        """The cameras of every image."""

    def run(self) -> None:
        """Load the runs, render with a progress bar, report the file."""

        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.plugin.runs import load_run
        from fourdgs_ns.rendering.panels import PanelRenderer
        from fourdgs_ns.rendering.plans import Timing
        from fourdgs_ns.rendering.sequence import Sequence, write_sequence

        if not self.runs:
            raise UserError(
                "no run is given; name the folder of one, for instance outputs/stage/freetime/2026-01-01_120000"
            )
        if not 0 < self.scale <= MOST_SCALE:
            raise UserError(f"--scale is {self.scale:g}; give a number above 0 and at most {MOST_SCALE}")
        runs = [load_run(path, data=self.data) for path in self.runs]
        plan = self.plan(runs[0].pipeline, Timing(self.span, self.at, self.speed, self.fps, self.length))
        renderer = PanelRenderer(runs, plan, self.outputs, self.strip or len(runs) > 1)
        aside = {"out", "overwrite", "runs", "data"}
        recipe = {
            "path": type(self).__name__,
            **{field.name: str(getattr(self, field.name)) for field in fields(self) if field.name not in aside},
            "cameras": plan.digest(),
            "checkpoints": [f"{run.checkpoint.resolve()} {run.checkpoint.stat().st_mtime_ns}" for run in runs],
        }
        sequence = Sequence(self.out, len(plan.cameras), plan.fps, recipe, self.overwrite)
        write_sequence(sequence, renderer.render)
        say(f"wrote {self.out}: {len(plan.cameras)} images, {plan.fps:g} per second")


@dataclass
class Fixed(PathOptions):
    """One camera of the capture while time runs; with --speed 0.25 in slow motion."""

    camera: str | None = None
    """Its name. Default: the first held-out camera."""

    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        from fourdgs_ns.rendering.plans import fixed_plan

        return fixed_plan(pipeline, self.camera, timing, self.scale)


@dataclass
class Orbit(PathOptions):
    """A camera that swings about what the rig looks at while time runs; with --at TIME time stands (bullet time)."""

    camera: str | None = None
    """The camera to start from. Default: the first held-out camera."""
    degrees: float = 40.0
    """Width of the swing; 360 goes all the way round."""

    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        from fourdgs_ns.rendering.plans import orbit_plan

        return orbit_plan(pipeline, self.camera, self.degrees, timing, self.scale)


@dataclass
class Spiral(PathOptions):
    """A camera that circles about its place, looking at the same point, while time runs or, with --at, stands."""

    camera: str | None = None
    """The camera to circle about. Default: the first held-out camera."""
    radius: float = 0.1
    """Radius of the circle, as a share of the distance to what the rig looks at."""
    turns: float = 2.0
    """Number of circles."""

    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        from fourdgs_ns.rendering.plans import spiral_plan

        return spiral_plan(pipeline, self.camera, self.radius, self.turns, timing, self.scale)


@dataclass
class Interpolate(PathOptions):
    """From camera to camera of the capture while time runs or, with --at, stands."""

    cameras: tuple[str, ...] = ()
    """Their names, in this order. Default: all training cameras, ordered by proximity."""

    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        from fourdgs_ns.rendering.plans import interpolate_plan

        return interpolate_plan(pipeline, self.cameras, timing, self.scale)


@dataclass
class CameraPath(PathOptions):
    """The path in space and time that the viewer's Render tab saved, also slowed down, or at other times."""

    file: Path = Path("camera_path.json")
    """The JSON file."""

    def plan(self, pipeline: DynamicGaussiansPipeline, timing: Timing) -> Plan:
        from fourdgs_ns.rendering.plans import saved_plan

        return saved_plan(pipeline, self.file, timing, self.scale)


@dataclass
class Render:
    """Render a video along a camera and time path, of one run or of several side by side."""

    path: Annotated[
        Annotated[Fixed, tyro.conf.subcommand("fixed")]
        | Annotated[Orbit, tyro.conf.subcommand("orbit")]
        | Annotated[Spiral, tyro.conf.subcommand("spiral")]
        | Annotated[Interpolate, tyro.conf.subcommand("interpolate")]
        | Annotated[CameraPath, tyro.conf.subcommand("camera-path")],
        tyro.conf.arg(name=""),
    ]
    """Where the camera goes."""

    def run(self) -> None:
        """Run the chosen path."""
        self.path.run()

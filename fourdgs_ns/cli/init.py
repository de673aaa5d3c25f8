"""``fourdgs-ns init``: initial points over time of a capture, computed ahead of the first training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fourdgs_ns.common.console import remark, say, warn
from fourdgs_ns.points.matcher_name import MatcherName


@dataclass
class Init:
    """Find the points that a training of a capture starts from: where, when, in which colour and how fast.

    Matches between the training cameras at several key frames are triangulated with the known poses; velocities come from
    optical flow; what rests is kept once. The result is kept with the capture: a training with the same options finds it.
    """

    capture: Annotated[Path, tyro.conf.Positional]
    """Folder of the capture, in any layout that fourdgs-ns knows."""
    matcher: MatcherName = "sift"
    """sift: fewer, exact points. dense: a plane sweep, many points on all textured surfaces; about ten times slower. roma: a
    pretrained network, needs pip install 'fourdgs-ns[roma]', its weights and better a GPU."""
    key_frames: int | None = None
    """Key frames at which points are found, spread evenly over the clip. Default: three per second, 10 to 30."""
    max_points: int | None = None
    """Most points per key frame. Default: all of sift, 30000 of dense and roma."""
    velocities: Literal["flow", "neighbors", "none"] = "flow"
    """flow: optical flow to the frames around a key frame. neighbors: the nearest points of the next key frame, which only slow
    things survive."""
    out: Path | None = None
    """Also write the merged points to this PLY file (time, velocity_x.., static), for instance points3D.ply in the capture."""
    overwrite: bool = False
    """Whether the PLY file may replace one that is there."""
    layout: str = "auto"
    """Convention of the folder: n3dv, easyvolcap, transforms, dynamic3dgs, hyfluid; auto recognises it."""
    eval_cameras: tuple[str, ...] = ()
    """Cameras held out for scores, which are not looked at. Empty: what the layout's protocol holds out."""
    train_cameras: tuple[str, ...] = ()
    """Cameras to use. Empty: all that are not held out."""
    frames: str | None = None
    """Part of the clip as start:stop:step, like a Python slice."""
    downscale_factor: float | None = None
    """As for the training: it decides the size of the images that are matched."""
    check: bool = False
    """Compare with the ground truth of a capture that fourdgs-ns synth wrote. Happens by itself where there is one."""

    def run(self) -> None:
        """Compute or find the points, then print the report."""

        from fourdgs_ns.capture.selection import automatic_downscale
        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
        from fourdgs_ns.points.finding import find_points
        from fourdgs_ns.points.ply import write_points_ply
        from fourdgs_ns.points.report import print_report, print_truth
        from fourdgs_ns.points.testimony import testify
        from fourdgs_ns.points.truth import check_against_truth, has_truth

        if self.out is not None and self.out.is_file() and not self.overwrite:
            raise UserError(f"--out {self.out} exists; give another name, or add --overwrite")
        if self.out is not None and (self.out.is_dir() or not self.out.parent.is_dir()):  # before the long work
            what = "is a folder" if self.out.is_dir() else "lies in a folder that does not exist"
            raise UserError(f"--out {self.out} {what}; give the name of a PLY file in a folder that does")
        parser = MultiViewVideoDataParserConfig(
            data=self.capture,
            layout=self.layout,
            eval_cameras=self.eval_cameras,
            train_cameras=self.train_cameras,
            frames=self.frames,
            downscale_factor=self.downscale_factor,
        ).setup()
        capture = parser.capture()
        for note in capture.notes:
            remark(note)
        cameras = [camera for camera in capture.cameras if camera.name not in capture.eval_cameras]
        against = testify(capture, cameras).sentence()
        if against is not None:
            warn(f"{capture.root}: {against}")
        found = find_points(
            capture,
            cameras,
            downscale=self.downscale_factor or automatic_downscale(capture),
            key_frames=self.key_frames,
            matcher=self.matcher,
            max_points=self.max_points,
            velocities=self.velocities,
        )
        print_report(capture, found)
        if self.check or has_truth(capture):
            print_truth(check_against_truth(capture, found))
        if self.out is not None:
            cloud = found.cloud
            write_points_ply(self.out, cloud.positions, cloud.colors, cloud.times, cloud.velocities, cloud.static)
            say(f"wrote {self.out}")

"""Runs the steps from videos to a capture; each one is skipped when its result is there already."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fourdgs_ns.capture.capture import Capture, ImageFrames, RecordedCamera
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import kept_json, write_json
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.common.workspace import FOLDER, STEPS, StepName, Workspace, digest, stamp
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.points.matcher_name import MatcherName
from fourdgs_ns.process import calibrate, extract, masks, probe, report, synchronise, timeline, write
from fourdgs_ns.process.probe import RawVideo
from fourdgs_ns.process.timeline import Timeline


@dataclass(frozen=True)
class ProcessOptions:
    """Everything that decides what becomes of the videos."""

    videos: tuple[Path, ...]
    out: Path
    camera_names: tuple[str, ...] = ()
    sync: synchronise.SyncMethod = "auto"
    sync_offsets: tuple[str, ...] = ()
    fps: float | None = None
    start: str | None = None
    end: str | None = None
    every: int = 1
    resize: tuple[int, int] | None = None
    downscale: float = 1.0
    calibration: str = "colmap"
    """colmap, or a file or folder with calibrated cameras."""
    lens: calibrate.Lens = "radial"
    shared_intrinsics: bool = False
    matching: calibrate.Matching = "exhaustive"
    markers: str = "auto"
    masks: str = "none"
    """none, background-subtraction, or a folder."""
    clean_plates: Path | None = None
    points: MatcherName | Literal["none"] = "sift"
    redo_from: str | None = None
    """Name of the first step that is done again."""


@dataclass
class Outcome:
    """What a run left behind."""

    root: Path
    results: dict[StepName, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[StepName, float] = field(default_factory=dict)
    """Of the steps that ran now."""
    red: bool = False
    """Whether the check found what makes the capture useless."""


def process(options: ProcessOptions) -> Outcome:
    """Run all steps and print their reports.

    Raises:
        UserError: what any step objects to; finished steps stay finished.
    """
    if options.redo_from not in (None, *STEPS):
        raise UserError(f"--from is '{options.redo_from}'; give one of the steps {', '.join(STEPS)}")
    videos = probe.find_videos(options.videos, options.camera_names)
    offsets = synchronise.parse_offsets(options.sync_offsets, list(videos))
    if options.out.resolve() in (given.resolve() for given in options.videos):
        raise UserError(f"--out {options.out} is the folder of the videos; give a folder that does not exist yet")
    return _Run(options, Workspace.open(options.out), videos, offsets).all_steps()


class _Run:
    """One run; the methods are the steps in their order."""

    def __init__(
        self,
        options: ProcessOptions,
        workspace: Workspace,
        files: Mapping[str, Path],
        offsets: Mapping[str, float],
    ) -> None:
        self.options, self.workspace = options, workspace
        self.files, self.given = files, offsets
        self.root = workspace.root
        self.outcome = Outcome(self.root)
        unasked = {name for name, how in (("masks", options.masks), ("points", options.points)) if how == "none"}
        self.steps = [step for step in STEPS if step not in unasked]

    def all_steps(self) -> Outcome:
        if self.options.redo_from is not None:
            self.workspace.forget(self.options.redo_from)
            if self.options.redo_from in ("probe", "synchronise", "extract"):
                self._extracted_file.unlink(missing_ok=True)
        videos = self.probe()
        sync = self.synchronise(videos)
        plan = timeline.plan(
            videos,
            sync["offsets"],
            fps=self.options.fps,
            start=self.options.start,
            end=self.options.end,
            every=self.options.every,
        )
        frames = self.extract(videos, plan)
        calibration = self.calibrate(frames)
        found = [Camera.from_json(c) for c in calibration["cameras"]]
        cameras = [replace(c, time_offset_seconds=plan.late_seconds[c.name]) for c in found]
        self.undistort(cameras)
        masked = self.masks(cameras)
        capture = self.capture(cameras, plan, masked)
        self.points(capture)
        self.check(capture)
        self.write(cameras, plan, masked)
        return self.outcome

    # -- steps -------------------------------------------------------------------------------------------------------

    def probe(self) -> list[RawVideo]:
        stamps = {camera: stamp(path) for camera, path in self.files.items()}
        result = self._step("probe", stamps, lambda: probe.to_json(probe.probe(dict(self.files))))
        videos = probe.from_json(result)
        report.print_videos(videos, probe.notes_of(videos))
        return videos

    def synchronise(self, videos: Sequence[RawVideo]) -> dict[str, Any]:
        facts = [self._key("probe"), self.options.sync, dict(self.given)]

        def compute() -> dict[str, Any]:
            with self._progress("comparing recordings", len(videos)) as advance:
                return synchronise.synchronise(videos, self.options.sync, self.given, advance)

        result = self._step("synchronise", facts, compute)
        report.print_sync(result, {v.camera: v.fps for v in videos})
        return result

    @property
    def _extracted_file(self) -> Path:
        return self.root / FOLDER / "extracted.json"

    def extract(self, videos: Sequence[RawVideo], plan: Timeline) -> dict[str, Any]:
        sizes = {v.camera: extract.target_size(v, self.options.resize, self.options.downscale) for v in videos}
        keys = {v.camera: digest([stamp(v.path), plan.picks[v.camera].tolist(), sizes[v.camera]]) for v in videos}
        extracted = kept_json(self._extracted_file)
        extracted = extracted if isinstance(extracted, dict) else {}

        def done(camera: str) -> bool:
            folder = self.root / extract.FRAMES / camera
            whole = folder.is_dir() and sum(1 for _ in folder.glob("*.jpg")) == len(plan.instants)
            return whole and extracted.get(camera) == keys[camera]

        def finished(camera: str) -> None:
            extracted[camera] = keys[camera]
            write_json(self._extracted_file, extracted)

        def compute() -> dict[str, Any]:
            todo = sum(len(plan.instants) for v in videos if not done(v.camera))
            with self._progress("extracting frames", todo) as advance:
                return extract.extract(videos, plan, sizes, self.root, done, finished, advance)

        facts = [keys, plan.fps, plan.instants.tolist()]
        result = self._step("extract", facts, compute, lambda _: all(done(v.camera) for v in videos))
        report.print_frames(result)
        return result

    def calibrate(self, frames: Mapping[str, Any]) -> dict[str, Any]:
        options = self.options
        given = options.calibration
        source = None if given == "colmap" else Path(given)
        if source is not None and not source.exists():
            raise UserError(f"--calibration {given} does not exist; give colmap, or a file with calibrated cameras")
        facts: list[Any] = [self._key("extract"), given]
        if source is None:
            facts += [options.lens, options.shared_intrinsics, options.matching, options.markers]
        else:
            facts += [stamp(source)]
        sizes = {name: (size[0], size[1]) for name, size in frames["sizes"].items()}

        def compute() -> dict[str, Any]:
            if source is not None:
                from fourdgs_ns.capture.calibration import read_calibration

                return read_calibration(source, sizes)
            ids = calibrate.calibration_instants(frames["frames"]).tolist()
            paths = {name: [self._frame(name, i) for i in ids] for name in sizes}
            markers = {name: [self._frame(name, i) for i in range(frames["frames"])] for name in sizes}
            with self._progress("calibrating", None) as advance:
                return calibrate.solve_rig(
                    paths,
                    lens=options.lens,
                    shared=options.shared_intrinsics,
                    matching=options.matching,
                    marker_frames=markers if options.markers != "none" else None,
                    marker_dictionary=options.markers,
                    advance=lambda what: advance(),
                )

        result = self._step("calibrate", facts, compute)
        report.print_calibration(result, calibrate.warnings_of(result))
        return result

    def undistort(self, cameras: Sequence[Camera]) -> None:
        """Only checks that each lens can be undone: training resamples its own copy of the frames."""

        def compute() -> dict[str, Any]:
            found = {}
            for camera in cameras:
                pinhole = camera.undistorted()
                found[camera.name] = {
                    "intrinsics": pinhole.intrinsics.tolist(),
                    "zoom": float(pinhole.intrinsics[0, 0] / camera.intrinsics[0, 0]),
                }
            return {"cameras": found}

        result = self._step("undistort", self._key("calibrate"), compute)
        report.print_undistortion(result)

    def masks(self, cameras: Sequence[Camera]) -> bool:
        how = self.options.masks
        folder = self.root / "masks"
        if how == "none":
            # Masks of an earlier run would be read with the capture.
            self.workspace.artefact("masks").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            return False
        frames = {c.name: self._frames(c.name) for c in cameras}
        plates = self.options.clean_plates

        def compute() -> dict[str, Any]:
            with self._progress("masks", sum(len(f) for f in frames.values())) as advance:
                if how == "background-subtraction":
                    return masks.subtract_background(frames, folder, plates, advance)
                return masks.copy_masks(Path(how), frames, folder, advance)

        facts = [self._key("calibrate"), how, None if plates is None else str(plates)]
        result = self._step("masks", facts, compute, lambda _: all((folder / name).is_dir() for name in frames))
        report.print_masks(result, masks.notes_of(result["shares"]))
        return True

    def capture(self, cameras: Sequence[Camera], plan: Timeline, masked: bool) -> Capture:
        """The capture as it will be read from what the last step writes."""
        made = []
        for camera in cameras:
            frames = tuple(self._frames(camera.name))
            masks = ImageFrames(tuple(self.root / "masks" / camera.name / f"{p.stem}.png" for p in frames))
            made.append(RecordedCamera(camera, ImageFrames(frames), np.arange(len(frames)), masks if masked else None))
        times = plan.instants - plan.instants[0]
        return Capture(self.root, "transforms", tuple(made), times, (made[0].name,))

    def points(self, capture: Capture) -> None:
        how = self.options.points
        if how == "none":
            return
        path = self.root / write.POINTS

        def compute() -> dict[str, Any]:
            from fourdgs_ns.capture.selection import automatic_downscale
            from fourdgs_ns.points.finding import find_points
            from fourdgs_ns.points.ply import write_points_ply
            from fourdgs_ns.points.testimony import testify

            against = testify(capture, capture.cameras).sentence()
            # Held-out cameras give no points, so that their scores stay honest; two cameras are too few to hold one out.
            chosen = [c for c in capture.cameras if c.name not in capture.eval_cameras or len(capture.cameras) < 3]
            found = find_points(capture, chosen, downscale=automatic_downscale(capture), matcher=how)
            cloud = found.cloud
            moving = int((~cloud.static).sum())
            if len(cloud.positions):
                write_points_ply(path, cloud.positions, cloud.colors, cloud.times, cloud.velocities, cloud.static)
            return {
                "points": len(cloud.positions),
                "moving": moving,
                "instants": len(found.key_frames.frames),
                "notes": [*([against] if against else []), *found.notes],
            }

        facts = [self._key("calibrate"), self._key("masks") if self.options.masks != "none" else None, how]
        result = self._step("points", facts, compute, lambda r: r["points"] == 0 or path.is_file())
        report.print_points(result)

    def check(self, capture: Capture) -> None:
        from fourdgs_ns.process.check import check_capture, print_items

        def compute() -> dict[str, Any]:
            with self._progress("checking", None) as advance:
                return {"items": check_capture(capture, self.root / "contact_sheet.png", advance)}

        facts = [self._key("calibrate"), self._key("points") if self.options.points != "none" else None]
        result = self._step("check", facts, compute)
        self.outcome.red = print_items(result["items"])

    def write(self, cameras: Sequence[Camera], plan: Timeline, masked: bool) -> None:
        points = self.options.points != "none" and self.outcome.results["points"]["points"] > 0

        def compute() -> dict[str, Any]:
            facts = {
                "sync": self.outcome.results["synchronise"]["method"],
                "calibration": self.options.calibration,
                "masks": masked,
            }
            write.write_capture(self.root, cameras, plan.fps, len(plan.instants), points, facts)
            return {"cameras": [c.name for c in cameras]}

        facts = [self._key(s) for s in self.outcome.results]
        self._step("write", facts, compute, lambda _: (self.root / "transforms.json").is_file())
        report.print_end(self.root, cameras, plan, {**self.outcome.seconds})

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _frame(self, camera: str, i: int) -> Path:
        return self.root / extract.FRAMES / camera / f"{i:06d}.jpg"

    def _frames(self, camera: str) -> list[Path]:
        return [self._frame(camera, i) for i in range(self.outcome.results["extract"]["frames"])]

    def _key(self, step: StepName) -> str:
        return digest(self.outcome.results[step])

    def _step(
        self,
        step: StepName,
        facts: Any,
        compute: Callable[[], dict[str, Any]],
        reuse: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        report.print_step(step, self.steps)
        result, reused = self.workspace.run(step, facts, compute, reuse)
        if not reused:
            self.outcome.seconds[step] = time.perf_counter() - started
        self.outcome.results[step] = result
        return result

    @contextmanager
    def _progress(self, what: str, total: int | None) -> Iterator[Callable[[], None]]:
        with progress_bar() as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)

"""The points that a training starts from, in the training's world."""

from __future__ import annotations

from dataclasses import replace

import torch

from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.common.console import say, warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.neighbors import LEAST_SQUARED_DISTANCE, mean_neighbor_distance
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.points.loading import InitialPoints, load_points
from fourdgs_ns.points.testimony import testify
from fourdgs_ns.points.thinning import thin_over_time
from fourdgs_ns.representation.types import PointsOverTime


def starting_points(facts: CaptureFacts, options: MultiViewVideoDataParserConfig, seed: int) -> PointsOverTime:
    """Points over time from the capture's files, triangulated or random, as ``options`` say."""
    capture, world = facts.require_capture(), facts.world_from_capture
    assert world is not None
    if options.masks == "ignore":
        # What is trained on needs points everywhere, not on the subject only.
        capture = replace(capture, cameras=tuple(replace(camera, masks=None) for camera in capture.cameras))
    found = load_points(
        capture,
        contradiction=_contradiction(facts, options),
        train_cameras=facts.train_camera_names,
        downscale=facts.downscale,
        key_frames=options.key_frames,
        method=options.initial_points,
        matcher=options.matcher,
        max_points=options.max_points,
        velocities=options.velocities,
        num_random=options.num_random_points,
        seed=seed,
    )
    say(found.source)
    found = _thinned(found, options)
    positions = world.points_from_capture(found.positions)
    return PointsOverTime(
        positions=torch.from_numpy(positions),
        colors=torch.from_numpy(found.colors).float() / 255.0,
        times=torch.from_numpy(found.times).float(),
        spacing=torch.from_numpy(mean_neighbor_distance(positions, least_squared=LEAST_SQUARED_DISTANCE)).float(),
        timed=found.timed,
        velocities=torch.from_numpy(world.vectors_from_capture(found.velocities)),
        static=torch.from_numpy(found.static),
        key_interval=found.key_interval,
    )


def _contradiction(facts: CaptureFacts, options: MultiViewVideoDataParserConfig) -> str:
    """What the pictures have against the calibration, which the user is told; empty for nothing.

    Raises:
        UserError: they contradict most cameras, and nobody said to trust their poses.
    """
    capture = facts.require_capture()
    testimony = testify(capture, capture.cameras)
    sentence = testimony.sentence()
    if sentence is None:
        return ""
    if testimony.whole and not options.trust_poses:
        raise UserError(f"{capture.root}: {sentence}; or train all the same with --trust-poses True")
    warn(f"{capture.root}: {sentence}")
    return f"the pictures contradict the calibration of {listed(testimony.contradicted)}"


def _thinned(found: InitialPoints, options: MultiViewVideoDataParserConfig) -> InitialPoints:
    if options.thin_points == "none" or not found.timed:
        return found
    keep = thin_over_time(found.positions, found.colors, found.times, options.thin_points)
    say(f"{int(keep.sum())} of them are kept (--thin-points {options.thin_points})")
    kept = {name: getattr(found, name)[keep] for name in ("positions", "colors", "times", "velocities", "static")}
    return replace(found, **kept)

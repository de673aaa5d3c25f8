"""Second step: when each recording started, and the interval that all of them cover.

An offset is how many seconds later than the first camera a recording started: common time = local time + offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.capture.video import decode
from fourdgs_ns.capture.video_header import opened
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process import audio, flash
from fourdgs_ns.process.offsets import PairOffset, solve_offsets
from fourdgs_ns.process.probe import RawVideo

SyncMethod = Literal["auto", "audio", "flash", "none", "given"]
AUDIO_TOLERANCE, FLASH_TOLERANCE = 0.03, 0.1
"""Seconds by which pairs may contradict each other; sound travels 10 m in 0.03 s."""


def parse_offsets(words: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Seconds by camera from words like ``cam03=-0.25``.

    Raises:
        UserError: a word of another form, or an unknown camera.
    """
    found = {}
    for word in words:
        name, _, seconds = word.partition("=")
        try:
            found[name] = float(seconds)
        except ValueError:
            found[name] = np.nan
        if not np.isfinite(found[name]):
            raise UserError(
                f"--sync-offsets {word} says no seconds; write CAMERA=SECONDS, for instance {names[-1]}=0.04"
            )
        if name not in names:
            raise UserError(f"--sync-offsets {word} names no camera; there are {listed(list(names))}")
    return found


def synchronise(
    videos: Sequence[RawVideo],
    method: SyncMethod,
    given: Mapping[str, float],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Offset, spread (disagreement of pairs) and confidence of every camera; ``advance`` is called once per video.

    Raises:
        UserError: no sound, silence, no flash, or a camera whose offset nothing determines.
    """
    if method == "auto":
        method = "given" if given else "audio" if all(v.audio for v in videos) else "none"
        automatic = True
    else:
        automatic = False
    names = [v.camera for v in videos]
    notes: list[str] = []
    if method == "given" and not given:
        raise UserError(f"--sync given needs --sync-offsets, for instance --sync-offsets {names[-1]}=0.04")
    if method not in ("given", "auto") and given:
        raise UserError(f"--sync {method} finds the offsets itself; leave --sync-offsets out, or use --sync given")
    if method in ("given", "none"):
        offsets = np.array([given.get(name, 0.0) for name in names])
        for _ in videos:
            advance()
        if method == "none":
            notes.append(
                "the videos are taken to start at the same instant"
                + ("; not all of them have sound to compare" if automatic else "")
            )
        return _result(method, videos, offsets, np.zeros(len(names)), np.full(len(names), np.nan), notes)
    try:
        pairs, tolerance = _by_sound(videos, advance) if method == "audio" else _by_flash(videos, advance)
    except UserError as error:
        if not automatic:
            raise
        return synchronise(videos, "none", {}) | {
            "notes": [f"sound was of no use ({error}): started together is assumed"]
        }
    offsets, spread = solve_offsets(pairs, len(videos), tolerance)
    confidence = np.array([max((p.weight for p in pairs if c in (p.a, p.b)), default=0.0) for c in range(len(names))])
    lost = [names[c] for c in np.flatnonzero(np.isnan(offsets))]
    if lost:
        what = "sound" if method == "audio" else "brightness"
        raise UserError(
            f"the {what} of camera {listed(lost)} fits no other camera's; if it recorded the same scene, give its start "
            f"with --sync-offsets {lost[0]}=SECONDS and --sync given, else leave it out"
        )
    return _result(method, videos, offsets, spread, confidence, notes)


def common_interval(videos: Sequence[RawVideo], offsets: Mapping[str, float]) -> tuple[float, float]:
    """Begin and end in common time of what all cameras recorded.

    Raises:
        UserError: there is no such interval.
    """
    starts = {v.camera: offsets[v.camera] for v in videos}
    ends = {v.camera: offsets[v.camera] + v.duration for v in videos}
    late, early = max(starts, key=starts.__getitem__), min(ends, key=ends.__getitem__)
    if starts[late] >= ends[early]:
        raise UserError(
            f"no instant was recorded by all cameras: '{early}' ends at {ends[early]:.2f} s, before '{late}' starts at "
            f"{starts[late]:.2f} s; leave one of them out, or correct their --sync-offsets"
        )
    return starts[late], ends[early]


def _result(
    method: str,
    videos: Sequence[RawVideo],
    offsets: Float[np.ndarray, " c"],
    spread: Float[np.ndarray, " c"],
    confidence: Float[np.ndarray, " c"],
    notes: list[str],
) -> dict[str, Any]:
    names = [v.camera for v in videos]
    by_name = {name: float(x) for name, x in zip(names, offsets)}
    start, end = common_interval(videos, by_name)
    return {
        "method": method,
        "offsets": by_name,
        "spread": {name: float(x) for name, x in zip(names, spread)},
        "confidence": {name: None if np.isnan(x) else float(x) for name, x in zip(names, confidence)},
        "start": float(start),
        "end": float(end),
        "notes": notes,
    }


def _by_sound(videos: Sequence[RawVideo], advance: Callable[[], None]) -> tuple[list[PairOffset], float]:
    mute = [v.camera for v in videos if not v.audio]
    if mute:
        raise UserError(
            f"camera {listed(mute)} has no audio track; use --sync flash, --sync none, or give the starts with --sync-offsets"
        )
    sounds = {}
    for i, video in enumerate(videos):
        track = audio.sound(video.path)
        if track is None or audio.is_silent(track[0]):
            raise UserError(
                f"the audio track of camera '{video.camera}' ({video.path}) is silent; use --sync flash, --sync none, or "
                "give the starts with --sync-offsets"
            )
        sounds[i] = (track[0], track[1] - video.clock_start)
        advance()
    return audio.pair_offsets(sounds), AUDIO_TOLERANCE


def _by_flash(videos: Sequence[RawVideo], advance: Callable[[], None]) -> tuple[list[PairOffset], float]:
    brightness = {}
    for i, video in enumerate(videos):
        with opened(video.path) as container:
            frames = [(frame.seconds, flash.mean_luminance(frame.frame)) for frame in decode(container, video.path)]
        times, luminance = (np.array(x) for x in zip(*frames))
        if flash.jump(luminance) < flash.CONFIDENT:
            raise UserError(
                f"camera '{video.camera}' ({video.path}) shows no flash: its brightness never jumps; use --sync audio, "
                "--sync none, or give the starts with --sync-offsets"
            )
        brightness[i] = (times - video.clock_start, luminance)
        advance()
    return flash.pair_offsets(brightness), FLASH_TOLERANCE

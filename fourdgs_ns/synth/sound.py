"""What the microphones of a synthetic rig hear: claps and a rustle from one place, later in farther cameras."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fourdgs_ns.geometry.camera import Camera

RATE = 48_000
SPEED_OF_SOUND = 343.0
"""Metres per second at 20 degrees."""
CLAPS_PER_SECOND = 0.8
MARGIN_SECONDS = 2.0
"""Sound before and after the clip, for cameras whose clock is off."""
NOISE = 0.02
"""Root mean square of each microphone's own noise; the scene's sound has about 0.1."""


def scene_sound(seconds: float, seed: int) -> Float[np.ndarray, " n"]:
    """The sound at its source from ``-MARGIN_SECONDS`` to ``seconds + MARGIN_SECONDS``, ``RATE`` samples a second."""
    rng = np.random.default_rng([seed, 48])
    samples = int((seconds + 2 * MARGIN_SECONDS) * RATE)
    rustle = np.convolve(rng.standard_normal(samples), np.ones(6) / 6, mode="same")
    loudness = np.interp(np.arange(samples), np.linspace(0, samples, 40), rng.uniform(0.1, 1.0, 40))
    sound = 0.1 * rustle * loudness
    decay = np.exp(-np.arange(int(0.05 * RATE)) / (0.008 * RATE))
    for start in rng.uniform(0, samples - len(decay), max(1, int(samples / RATE * CLAPS_PER_SECOND))).astype(int):
        sound[start : start + len(decay)] += 0.6 * decay * rng.standard_normal(len(decay))
    return np.clip(sound, -1, 1)


def heard(
    camera: Camera,
    source: Float[np.ndarray, "3"],
    sound: Float[np.ndarray, " n"],
    seconds: float,
    fps: float,
    seed: int,
) -> Float[np.ndarray, " m"]:
    """The track of one camera: ``sound`` at the distance of ``source``, quieter and noisier the farther away.

    A camera whose clock is late records the same sound earlier on its own clock.
    """
    distance = float(np.linalg.norm(camera.world_from_camera[:3, 3] - source))
    local = np.arange(int(seconds * RATE)) / RATE
    at_source = local + (camera.time_offset_seconds or 0.0) - distance / SPEED_OF_SOUND
    position = (at_source + MARGIN_SECONDS) * RATE
    track = np.interp(position, np.arange(len(sound)), sound, left=0.0, right=0.0) / max(distance, 1.0)
    rng = np.random.default_rng([seed, *camera.name.encode()])
    return np.clip(track + NOISE * rng.standard_normal(len(track)), -1, 1)

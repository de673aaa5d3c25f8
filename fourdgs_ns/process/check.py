"""Whether a capture can train well: green, yellow and red items, a contact sheet, and the clock errors of its cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from rich.markup import escape

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.sequences import listed, natural_key
from fourdgs_ns.capture.selection import automatic_downscale
from fourdgs_ns.common.console import say
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import write_bytes
from fourdgs_ns.points.instants import PosedImage, matching_downscale, read_instants
from fourdgs_ns.points.testimony import SURE, Testimony, testify
from fourdgs_ns.process.epipolar import WINDOW, PairErrors, clock_errors, pair_errors
from fourdgs_ns.process.prediction import predict

Color = Literal["green", "yellow", "red"]
Item = dict[str, str]
"""``color``, ``name`` and ``text``, as kept in the result of the step."""
INSTANTS = 4
FEW_MATCHES, ENOUGH_MATCHES = 8, 30
"""Matches on static and moving points with any other camera."""
STATIC_YELLOW, STATIC_RED = 2.0, 6.0
"""Median distance from epipolar lines in pixels of a 1000 pixel image."""
LATE_YELLOW, LATE_RED = 0.25, 1.0
"""Frames."""
STOPS_YELLOW = 0.4
BLUR_YELLOW = 0.35
"""Sharpness relative to the rig's median."""
SHEET_WIDTH = 1600
SAME_PLACE = 1e-6
"""Of the rig's size, and of a rotation's entries."""
EMPTY_LEVELS = 1.5
"""Standard deviation of the colours of a frame that shows nothing but noise."""


def check_capture(
    capture: Capture, sheet: Path | None, advance: Callable[[], None] = lambda: None, *, iterations: int = 30_000
) -> list[Item]:
    """All items; writes the contact sheet to ``sheet``.

    Raises:
        UserError: frames cannot be decoded, none of them shows anything at the instants that are looked at, or the sheet
            cannot be written.
    """
    images = [entry for entry in _gather(capture, advance) if entry[0]]
    posed = [entry[0] for entry in images]
    if not posed:
        raise UserError(
            f"no camera of {capture.root} has pictures at the instants that are looked at; look at the numbers or times of its "
            "frames, or leave them out"
        )
    if sheet is not None:
        write_contact_sheet(sheet, max(posed, key=len))
        advance()
    names = sorted({name for images in posed for name in images}, key=natural_key)
    own = {name: [images[name].image for images in posed if name in images] for name in names}
    showing = [name for name in names if not all(_empty(image) for image in own[name])]
    items = [_cameras(capture), *_places(capture), *_content(own), *_testimony(testify(capture, capture.cameras))]
    advance()
    fixed = [c.name for c in capture.cameras if not c.moves]
    if len(fixed) >= 2:
        errors = pair_errors([({n: p[n] for n in p if n in fixed}, g, m) for p, g, m in images])
        advance()
        items += [_overlap(fixed, errors), _static(fixed, errors, posed), *_moving(capture, fixed, errors)]
        items += _exposure({name: own[name] for name in showing})
    items += _blur({name: own[name] for name in showing})
    items += predict(capture, iterations)
    if sheet is not None:
        items.append(_item("green", "contact sheet", str(sheet)))
    return items


def print_items(items: Sequence[Item]) -> bool:
    """Print them; True when one is red."""
    width = max(len(item["name"]) for item in items)
    for item in items:
        color = item["color"]
        rest = escape(f"{item['name']:<{width}}  {item['text']}")
        say(f"[{color}]{color:>6}[/{color}]  {rest}", markup=True)
    return any(item["color"] == "red" for item in items)


def expected_quality(cameras: int) -> str:
    """PSNR that users see between the cameras of a rig. Few cameras are enough side by side only."""
    if cameras >= 8:
        return "32-36 dB"
    best = "28-32 dB" if cameras >= 4 else "24-28 dB" if cameras >= 2 else "20-25 dB"
    return f"{best} if they stand side by side, far less around a room"


def write_contact_sheet(path: Path, images: dict[str, PosedImage]) -> None:
    """All cameras at one instant, with their names, as a PNG."""
    names = sorted(images)
    columns = int(np.ceil(np.sqrt(len(names))))
    width = SHEET_WIDTH // columns
    height = round(width * max(images[n].image.shape[0] / images[n].image.shape[1] for n in names))
    tiles = []
    for name in names:
        image = images[name].image
        scale = min(width / image.shape[1], height / image.shape[0])
        small = cv2.resize(image, (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))))
        tile = np.full((height, width, 3), 24, np.uint8)
        tile[: small.shape[0], : small.shape[1]] = small
        for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(tile, name, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full((height, width, 3), 24, np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    ok, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    if not ok:
        raise UserError(f"{path} cannot be encoded as PNG; give --contact-sheet another name")
    write_bytes(path, data.tobytes())


def _gather(
    capture: Capture, advance: Callable[[], None]
) -> list[tuple[dict[str, PosedImage], dict[str, list[np.ndarray]], int]]:
    """A few instants with the gray frames around each."""
    count = capture.num_frames
    margin = min(WINDOW, (count - 1) // 2)
    chosen = np.unique(np.round(np.linspace(margin, count - 1 - margin, min(INSTANTS, count))).astype(int))
    needed = sorted({int(f) for m in chosen for f in range(m - margin, m + margin + 1) if 0 <= f < count})
    downscale = float(automatic_downscale(capture))
    scales = {c.name: matching_downscale(c, downscale) for c in capture.cameras}
    posed, gray = {}, {}
    for f, images in read_instants(capture, capture.cameras, needed, scales):
        gray[f] = {n: cv2.cvtColor(image.image, cv2.COLOR_RGB2GRAY) for n, image in images.items()}
        if f in chosen:
            posed[f] = images
        advance()
    entries = []
    for m in (int(x) for x in chosen):
        window = [f for f in range(m - margin, m + margin + 1) if f in gray]
        # A camera without one of the frames cannot be followed there.
        present = {n: i for n, i in posed[m].items() if all(n in gray[f] for f in window)}
        if len(present) < min(2, len(posed[m])):
            window, present = [m], posed[m]
        entries.append((present, {n: [gray[f][n] for f in window] for n in present}, window.index(m)))
    return entries


def _item(color: Color, name: str, text: str) -> Item:
    return {"color": color, "name": name, "text": text}


def _cameras(capture: Capture) -> Item:
    n = len(capture.cameras)
    moving = [c.name for c in capture.cameras if c.moves]
    color: Color = "green" if n >= 8 else "yellow"
    sizes = sorted({f"{c.width}x{c.height}" for c in capture.cameras})
    text = (
        f"{n} camera{'s' * (n != 1)} ({listed(sizes)}), {capture.num_frames} instants, {capture.duration_seconds:.2f} s; "
        f"expect {expected_quality(n)} between the cameras"
    )
    if moving and n == 1:
        text += "; a single camera that moves: only what is static can be seen from new sides"
    elif n < 8:
        text += "; more cameras help more than anything else"
    return _item(color, "cameras", text)


def _places(capture: Capture) -> list[Item]:
    """Red for cameras that stand in one place and look the same way: one of them has another one's pose."""
    fixed = [c for c in capture.cameras if not c.moves]
    centers = np.array([c.camera.center for c in fixed]).reshape(-1, 3)
    size = max(float(np.ptp(centers, axis=0).max()) if fixed else 0.0, 1e-12)
    same = [
        f"{a.name} and {b.name}"
        for a, b in combinations(fixed, 2)
        if np.linalg.norm(a.camera.center - b.camera.center) <= SAME_PLACE * size
        and np.abs(a.camera.world_from_camera - b.camera.world_from_camera)[:3, :3].max() <= SAME_PLACE
    ]
    if not same:
        return []
    text = f"stand in one place and look the same way: {listed(same)}; correct the pose of one, or leave it out"
    return [_item("red", "places", text)]


def _content(own: Mapping[str, Sequence[np.ndarray]]) -> list[Item]:
    """Red for cameras that show nothing, or what another one shows; the images of each."""
    empty = [name for name, images in own.items() if all(_empty(image) for image in images)]
    twice = [
        f"{a} and {b}"
        for a, b in combinations([name for name in own if name not in empty], 2)
        if len(own[a]) == len(own[b]) and all(map(np.array_equal, own[a], own[b]))
    ]
    items = []
    if empty:
        text = f"frames of one colour, with nothing to see: {listed(empty)}; look at the files, or leave the camera out"
        items.append(_item("red", "pictures", text))
    if twice:
        text = f"the same frames under two names: {listed(twice)}; look at the files, or leave one out"
        items.append(_item("red", "pictures", text))
    return items


def _empty(image: UInt8[np.ndarray, "h w 3"]) -> bool:
    return float(image.std(axis=(0, 1)).max()) < EMPTY_LEVELS


def _testimony(testimony: Testimony) -> list[Item]:
    """What the pictures say about the calibration; nothing where they say nothing."""
    sentence = testimony.sentence()
    if sentence is not None:
        return [_item("red", "testimony", sentence)]
    least = min(testimony.agreement, key=lambda name: testimony.agreement[name], default="")
    if not least or testimony.agreement[least] < SURE:
        return []
    share = f"{100 * testimony.agreement[least]:.0f} %"
    return [
        _item("green", "testimony", f"of each camera's sure matches at least {share} agree with its pose ({least})")
    ]


def _overlap(names: Sequence[str], errors: Sequence[PairErrors]) -> Item:
    matches = dict.fromkeys(names, 0)
    group = {name: i for i, name in enumerate(names)}
    for e in errors:
        count = len(e.static) + len(e.moving)
        for name in (e.a, e.b):
            matches[name] = max(matches[name], count)
        if count >= FEW_MATCHES:
            old, new = group[e.b], group[e.a]
            group = {n: new if g == old else g for n, g in group.items()}
    islands: dict[int, list[str]] = {}
    for name, g in group.items():
        islands.setdefault(g, []).append(name)
    if len(islands) > 1:
        parts = " | ".join(listed(own) for own in islands.values())
        return _item(
            "red",
            "overlap",
            f"the cameras fall into {len(islands)} groups without common points: {parts}; their views do not overlap, or "
            "their poses are wrong",
        )
    weak = [f"{name} ({count})" for name, count in matches.items() if count < ENOUGH_MATCHES]
    if weak:
        return _item("yellow", "overlap", f"few points in common with any other camera: {listed(weak)}")
    return _item(
        "green", "overlap", f"every camera shares at least {min(matches.values())} points with its best neighbour"
    )


def _static(names: Sequence[str], errors: Sequence[PairErrors], posed: Sequence[dict[str, PosedImage]]) -> Item:
    side = max(max(image.image.shape[:2]) for images in posed for image in images.values())
    by_camera = {
        name: np.concatenate([e.static for e in errors if name in (e.a, e.b)] or [np.zeros(0)]) for name in names
    }
    medians = {name: float(np.median(own)) for name, own in by_camera.items() if len(own) >= FEW_MATCHES}
    if not medians:
        return _item(
            "yellow", "calibration", "too few static points are matched beyond doubt, so the poses cannot be judged"
        )
    bad = {name: value for name, value in medians.items() if value * 1000 / side > STATIC_YELLOW}
    overall = float(np.median(np.concatenate(list(by_camera.values()))))
    text = f"static points lie {overall:.2f} px from their epipolar lines (median, images of {side} px)"
    if not bad:
        return _item("green", "calibration", text)
    color: Color = "red" if max(bad.values()) * 1000 / side > STATIC_RED else "yellow"
    worst = [f"{name} {value:.1f} px" for name, value in sorted(bad.items(), key=lambda kv: -kv[1])]
    return _item(color, "calibration", f"{text}; {listed(worst)}: calibrate again, or leave that camera out")


def _moving(capture: Capture, names: Sequence[str], errors: Sequence[PairErrors]) -> list[Item]:
    moving = np.concatenate([e.moving for e in errors] or [np.zeros(0)])
    if capture.num_frames < 3 or len(moving) < FEW_MATCHES:
        return [_item("yellow", "synchronisation", "too few moving points are matched to judge the clocks")]
    late = clock_errors(errors, names)
    if not late:
        text = f"moving points lie {np.median(moving):.2f} px off, but their motion does not tell the clocks apart"
        return [_item("yellow", "synchronisation", text)]
    interval = capture.duration_seconds / (capture.num_frames - 1)
    stated = {c.name: c.time_offset_seconds / interval for c in capture.cameras}
    # What a stated offset explains is no error: training knows it.
    baseline = np.median([stated[n] for n in late])
    unexplained = {n: value - (stated[n] - baseline) for n, value in late.items()}
    found = {n: v for n, v in unexplained.items() if abs(v) > LATE_YELLOW}
    text = f"moving points lie {np.median(moving):.2f} px from their epipolar lines ({len(moving)} matches)"
    unknown = [n for n in names if n not in late]
    if unknown:
        text += f"; the clock of {listed(unknown)} cannot be told (too little moves there, or over {WINDOW} frames of error)"
    if not found:
        color: Color = "yellow" if unknown else "green"
        others = "those of the others" if unknown else "clocks"
        return [_item(color, "synchronisation", f"{text}; {others} agree within {LATE_YELLOW:g} frames")]
    worst = max(abs(v) for v in found.values())
    said = [
        f"{n} is {abs(v) * interval * 1000:.0f} ms ({abs(v):.1f} frames) {'late' if v > 0 else 'early'}"
        for n, v in sorted(found.items(), key=lambda kv: -abs(kv[1]))
    ]
    color = "red" if worst > LATE_RED else "yellow"
    remedy = "correct it with process --sync-offsets, or train with time offsets per camera"
    return [_item(color, "synchronisation", f"{text}; {listed(said)}: {remedy}")]


def _exposure(own: Mapping[str, Sequence[np.ndarray]]) -> list[Item]:
    """Mean linear brightness of each camera's images against the rig's median, in stops."""
    means = {
        name: float(np.mean([np.mean((image / 255.0) ** 2.2) for image in images])) for name, images in own.items()
    }
    if not means:
        return []
    middle = float(np.median(list(means.values()))) + 1e-9
    stops = {n: float(np.log2((m + 1e-9) / middle)) for n, m in means.items()}
    off = {n: s for n, s in stops.items() if abs(s) > STOPS_YELLOW}
    if not off:
        return [_item("green", "exposure", f"cameras differ by at most {max(map(abs, stops.values())):.2f} stops")]
    said = [f"{n} {s:+.1f}" for n, s in sorted(off.items(), key=lambda kv: -abs(kv[1]))]
    text = f"stops brighter or darker than the others: {listed(said)}; train with colour correction"
    return [_item("yellow", "exposure", text)]


def _blur(own: Mapping[str, Sequence[np.ndarray]]) -> list[Item]:
    """Energy of fine detail against coarser detail, which does not depend on exposure."""
    means = {name: float(np.median([_sharpness(image) for image in images])) for name, images in own.items()}
    if not means:
        return []
    middle = float(np.median(list(means.values()))) + 1e-9
    soft = [f"{n} ({m / middle:.2f})" for n, m in means.items() if m / middle < BLUR_YELLOW]
    if soft:
        text = f"less sharp than the others: {listed(soft)} of their detail; check the focus"
        return [_item("yellow", "sharpness", text)]
    return [_item("green", "sharpness", "all cameras are about equally sharp")]


def _sharpness(image: UInt8[np.ndarray, "h w 3"]) -> float:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    smoother = cv2.GaussianBlur(gray, (0, 0), 2.0)
    return float(np.var(gray - smooth) / (np.var(smooth - smoother) + 1e-6))

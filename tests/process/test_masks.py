"""Masks by background subtraction, from a plate and from a folder."""

import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.masks import copy_masks, notes_of, subtract_background


@pytest.fixture
def scene(tmp_path):
    """A bright square that crosses a noisy wall."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(40, 160, (120, 160, 3), dtype=np.uint8), (0, 0), 3)
    paths, truth = [], []
    (tmp_path / "frames" / "a").mkdir(parents=True)
    for k in range(20):
        image = np.clip(wall + rng.normal(0, 2, wall.shape), 0, 255).astype(np.uint8)
        mask = np.zeros((120, 160), bool)
        mask[40:80, 6 * k : 6 * k + 30] = True
        image[mask] = (30, 220, 240)
        paths.append(tmp_path / "frames" / "a" / f"{k:06d}.png")
        cv2.imwrite(str(paths[-1]), image)
        truth.append(mask)
    return tmp_path, wall, {"a": paths}, truth


def _overlap(folder, truth):
    scores = []
    for k, mask in enumerate(truth):
        found = cv2.imread(str(folder / "a" / f"{k:06d}.png"), cv2.IMREAD_GRAYSCALE) > 127
        scores.append((found & mask).sum() / (found | mask).sum())
    return min(scores)


def test_median_over_time(scene):
    root, _, frames, truth = scene
    result = subtract_background(frames, root / "masks")
    assert _overlap(root / "masks", truth) > 0.9
    assert result["shares"]["a"] == pytest.approx(np.mean(truth), rel=0.1) and notes_of(result["shares"]) == []


def test_clean_plate(scene):
    root, wall, frames, truth = scene
    (root / "plates").mkdir()
    cv2.imwrite(str(root / "plates" / "a.png"), wall)
    subtract_background(frames, root / "masks", root / "plates")
    assert _overlap(root / "masks", truth) > 0.9
    with pytest.raises(UserError, match=r"no clean plate b\.jpg"):
        subtract_background({"b": frames["a"]}, root / "masks", root / "plates")


def test_masks_from_a_folder(scene):
    root, _, frames, truth = scene
    (root / "given" / "a").mkdir(parents=True)
    for k, mask in enumerate(truth):
        small = cv2.resize(mask.astype(np.uint8) * 255, (80, 60), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / "given" / "a" / f"{k:06d}.png"), small)
    copy_masks(root / "given", frames, root / "masks")
    assert _overlap(root / "masks", truth) > 0.85
    with pytest.raises(UserError, match="holds 20 masks but camera 'a' has 19 frames"):
        copy_masks(root / "given", {"a": frames["a"][1:]}, root / "masks")

"""Per-camera colours."""

from __future__ import annotations

import torch

from fourdgs_ns.corrections.colors import CameraColors


def test_starts_as_the_identity_and_applies_each_cameras_own_map():
    colors = CameraColors(3)
    rgb = torch.rand(2, 4, 5, 3)
    torch.testing.assert_close(colors(rgb, torch.tensor([2, 0])), rgb)
    with torch.no_grad():
        colors.matrices[2] = torch.diag(torch.tensor([0.1, 0.2, 0.3]))
        colors.offsets[0] = 0.5
    got = colors(rgb, torch.tensor([2, 0]))
    torch.testing.assert_close(got[0], rgb[0] * torch.tensor([1.1, 1.2, 1.3]))
    torch.testing.assert_close(got[1], rgb[1] + 0.5)


def test_centering_removes_a_common_cast_and_keeps_differences():
    colors = CameraColors(4)
    with torch.no_grad():
        colors.matrices.normal_()
        colors.offsets.normal_()
    before = colors.matrices[1] - colors.matrices[3]
    colors.center()
    torch.testing.assert_close(colors.matrices.mean(0), torch.zeros(3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(colors.matrices[1] - colors.matrices[3], before)

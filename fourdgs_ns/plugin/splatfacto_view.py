"""What Nerfstudio's exporter and viewer read from a Splatfacto model, answered with a slice."""

from __future__ import annotations

import os
from abc import abstractmethod

import torch
from nerfstudio.models.splatfacto import SplatfactoModel
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.clip_time import read_time
from fourdgs_ns.representation.parts.ellipsoids import slice_axes
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0, harmonics_to_capture
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, finite_rows

EXPORT_TIME_VARIABLE = "FOURDGS_TIME"


class SplatfactoView(SplatfactoModel):
    """Splatfacto's properties. While ``exporting`` they show the slice at the default time in the capture's own world, else the
    canonical parameters in the training's world."""

    clip: Clip
    representation: Representation
    world_from_capture: WorldFromCapture | None

    @property
    @abstractmethod
    def exporting(self) -> bool:
        """Whether Nerfstudio reads the properties to write files."""

    @abstractmethod
    def slice(self, t: float | Tensor) -> GaussiansAtTime:
        """The Gaussians alive at ``t``."""

    def default_time(self) -> float:
        """t that is rendered or exported when nothing else says: what the environment says, else the first frame."""
        text = os.environ.get(EXPORT_TIME_VARIABLE)
        if text is None:
            return 0.0
        return read_time(text, self.clip, EXPORT_TIME_VARIABLE)

    @torch.no_grad()
    def exported(self, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Finite Gaussians at ``t`` in the capture's world: means, quats, log scales, opacities, spherical harmonics [n, k, 3].

        Raises:
            UserError: nothing is visible at ``t``.
        """
        gaussians = self.slice(t)
        fields = {name: value for name, value in gaussians.tensors().items() if name != "ids"}
        gaussians = gaussians.select(finite_rows(fields))
        if len(gaussians.ids) == 0:
            raise UserError(f"no Gaussian is visible at t = {t:g}; set {EXPORT_TIME_VARIABLE} to another time")
        quats, scales = slice_axes(gaussians)
        harmonics, log_scales = self.representation.spherical_harmonics(gaussians), scales.log()
        if self.world_from_capture is None:
            return gaussians.means, quats, log_scales, gaussians.opacities, harmonics
        means, quats, log_scales = self.world_from_capture.gaussians_to_capture(gaussians.means, quats, log_scales)
        return means, quats, log_scales, gaussians.opacities, harmonics_to_capture(harmonics, self.world_from_capture)

    def _shown(self) -> GaussiansAtTime:
        return self.slice(self.default_time())

    def _exported(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.exported(self.default_time())

    @property
    def means(self) -> Tensor:
        return self._exported()[0] if self.exporting else self.gauss_params["means"]

    @property
    def quats(self) -> Tensor:
        if self.exporting:
            return self._exported()[1]
        # Where the method has no quaternions of three axes, those of the slice: Nerfstudio's viewer reads every property.
        return self.gauss_params["quats"] if "quats" in self.gauss_params else slice_axes(self._shown())[0]

    @property
    def scales(self) -> Tensor:
        return self._exported()[2] if self.exporting else self.gauss_params["scales"]

    @property
    def opacities(self) -> Tensor:
        if not self.exporting:
            return self.gauss_params["opacities"]
        return torch.logit(self._exported()[3].clamp(1e-6, 1 - 1e-6))[:, None]

    def _harmonics(self) -> Tensor:
        if self.exporting:
            return self._exported()[4]
        return self.representation.spherical_harmonics(self._shown())

    @property
    def colors(self) -> Tensor:
        """RGB without view dependence."""
        return (self.shs_0 * SH_C0 + 0.5).clamp(0.0, 1.0)

    @property
    def shs_0(self) -> Tensor:
        return self._harmonics()[:, 0]

    @property
    def shs_rest(self) -> Tensor:
        return self._harmonics()[:, 1:]

    @property
    def features_dc(self) -> Tensor:
        return self.shs_0

    @property
    def features_rest(self) -> Tensor:
        return self.shs_rest

    @property
    def num_points(self) -> int:
        return self.gauss_params["means"].shape[0]

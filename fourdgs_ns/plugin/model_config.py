"""Options of the model that all methods share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.models.base_model import ModelConfig

from fourdgs_ns.densification.base import DensificationConfig
from fourdgs_ns.densification.gradient import GradientDensificationConfig
from fourdgs_ns.densification.guided import GuidedSamplingConfig
from fourdgs_ns.representation.base import RepresentationConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig


def _model_class() -> type:
    from fourdgs_ns.plugin.model import DynamicGaussiansModel

    return DynamicGaussiansModel


@dataclass
class DynamicGaussiansModelConfig(ModelConfig):
    """What all methods of this package share; the representation is what differs."""

    _target: type = field(default_factory=_model_class)
    representation: RepresentationConfig = field(default_factory=SpacetimeConfig)
    """What a Gaussian is."""
    densification: DensificationConfig = field(default_factory=GradientDensificationConfig)
    """When Gaussians are added, moved and removed."""
    guided_sampling: GuidedSamplingConfig = field(default_factory=GuidedSamplingConfig)
    """Extra Gaussians along the rays of badly reconstructed pixels."""
    ssim_weight: float = 0.2
    """Share of structural dissimilarity in the loss; the rest is L1."""
    perceptual_weight: float = 0.0
    """Weight of LPIPS on one random crop per picture. It needs AlexNet's weights, which are downloaded on first use; without
    them the term is left out with one line."""
    opacity_regularization: float = 0.0
    """Weight of the mean over Gaussians of peak opacity times temporal weight: a pull on the peak opacity of what is alive. 0.001
    to 0.01 removes haze and floaters where few cameras look, at the price of faint detail."""
    opacity_regularization_over: Literal["active", "all"] = "active"
    """What the mean is over: the Gaussians alive at t, so that the pull on each does not depend on how short lives are, or all of
    them, as FreeTimeGS states it."""
    opacity_regularization_share: float = 1.0
    """Share of the training after which the regulariser ends."""
    velocity_smoothness: float = 0.0
    """Weight of the difference between velocities of neighbours (scene units per clip). Up to 1e-3; calms noise in the motion of
    large surfaces, smears where objects touch."""
    trajectory_smoothness: float = 0.0
    """Weight of the acceleration of what is alive (scene units per clip squared). Up to 1e-4; straight lines have none."""
    temporal_consistency: float = 0.0
    """Weight of the difference between the change over neighbouring frames as drawn and as filmed. Up to 0.2; less flicker, at
    twice the time per step."""
    temporal_window: int = 1
    """Farthest neighbour, in frames, that the temporal consistency looks at."""
    background_color: Literal["capture", "black", "white", "random"] = "capture"
    """Colour behind the scene. capture: what the layout prescribes, else black. random: another one each step, which keeps RGBA
    captures from painting their background; evaluation then uses the capture's."""
    near: float = 0.3
    """Gaussians closer to a camera than this share of the cameras' distance to what they look at are not drawn. Training cameras
    carve the space in front of themselves free, held-out and new ones do not: what is left there would cover the picture.
    Lower it when the subject comes close to a camera."""
    color_correction: bool = False
    """Learn one affine colour per physical training camera (identity on average), for rigs whose cameras disagree."""
    time_offsets: bool = False
    """Learn one time offset per physical training camera (zero in the median), for rigs whose clocks are apart, and report
    them. Needs batches of one camera."""
    pose_correction: bool = False
    """Learn one small pose correction per physical training camera (nothing on average) and write the refined calibration into
    the run's folder. Needs batches of one camera."""
    default_time: float = 0.0
    """t in [0, 1] that is drawn or exported when nothing else says. The environment variable FOURDGS_TIME overrides it."""

    @property
    def sh_degree(self) -> int:
        """What Nerfstudio's exporter asks for."""
        return self.representation.setup().sh_degree

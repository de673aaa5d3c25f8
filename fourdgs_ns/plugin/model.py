"""The Nerfstudio model around any representation: slice at t, rasterize, compare, densify, save, export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor, nn
from torch.nn import Parameter

from fourdgs_ns.common.console import warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.corrections.camera_corrections import CameraCorrections
from fourdgs_ns.densification.base import DensificationConfig
from fourdgs_ns.densification.gradient import GradientDensificationConfig
from fourdgs_ns.densification.guided import GuidedSampling, GuidedSamplingConfig
from fourdgs_ns.densification.registry import chosen
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.geometry.world import WorldFromCapture, check_same_world
from fourdgs_ns.plugin import checkpoints
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.nerfstudio_cameras import TrainingViews, pinhole_cameras
from fourdgs_ns.plugin.splatfacto_view import EXPORT_TIME_VARIABLE, SplatfactoView
from fourdgs_ns.rasterization.render import RenderedViews, SliceEdit, Views, render_views
from fourdgs_ns.representation.base import RepresentationConfig
from fourdgs_ns.representation.parts.active_set import ActiveSet
from fourdgs_ns.representation.registry import METHODS
from fourdgs_ns.representation.types import GaussiansAtTime, PointsOverTime
from fourdgs_ns.training.losses import photometric_loss, psnr, ssim
from fourdgs_ns.training.memory import Use, one_line, row_bytes
from fourdgs_ns.training.perceptual import Perceptual
from fourdgs_ns.training.terms import LossOptions, TrainingStep, training_terms


@dataclass
class DynamicGaussiansModelConfig(ModelConfig, LossOptions):
    """What all methods of this package share; the representation is what differs."""

    _target: type = field(default_factory=lambda: DynamicGaussiansModel)
    representation: RepresentationConfig = field(default_factory=lambda: METHODS["spacetime-gaussian"].config)
    """What a Gaussian is."""
    densification: DensificationConfig = field(default_factory=GradientDensificationConfig)
    """When Gaussians are added, moved and removed."""
    strategy: str | None = None
    """Another densification strategy in place of the method's: gradient, relocation, fourd, or one that an installed package
    brings. Start, stop, every and max-gaussians stay as they are given above."""
    strategy_options: dict[str, float] = field(default_factory=dict)
    """Other options of that strategy, by name: growth 0.1 dead-opacity 0.01."""
    guided_sampling: GuidedSamplingConfig = field(default_factory=GuidedSamplingConfig)
    """Extra Gaussians along the rays of badly reconstructed pixels."""
    background_color: Literal["capture", "black", "white", "random"] = "capture"
    """Colour behind the Gaussians. capture: what the layout prescribes, else black. random: another one each step, which keeps
    RGBA captures from learning their background; evaluation then uses the capture's."""
    near: float = 0.3
    """Gaussians closer to a camera than this share of the cameras' distance to what they look at are not rendered. Training
    cameras carve the space in front of themselves free, held-out and new ones do not: what is left there would cover the image.
    Lower it when the subject comes close to a camera."""
    color_correction: bool = True
    """Learn one affine colour per physical training camera (identity on average), for rigs whose cameras disagree."""
    time_offsets: bool = False
    """Learn one time offset per physical training camera (zero in the median), for rigs whose clocks are apart, and report
    them. Needs batches of one camera."""
    pose_correction: bool = False
    """Learn one small pose correction per physical training camera (nothing on average) and write the refined calibration into
    the run's folder. Needs batches of one camera."""

    def __post_init__(self) -> None:
        if self.strategy is None and self.strategy_options:
            raise UserError(
                "--pipeline.model.strategy-options needs --pipeline.model.strategy; name the strategy they are of"
            )
        if self.strategy is not None:
            self.densification = chosen(self.strategy, self.strategy_options, self.densification)
            self.strategy, self.strategy_options = None, {}

    @property
    def sh_degree(self) -> int:
        """What Nerfstudio's exporter asks for."""
        return self.representation.setup().sh_degree


@dataclass
class Surroundings:
    """What the model knows of who uses it."""

    exporting: bool = False
    """Nerfstudio reads the Splatfacto properties to write files: they then show the slice at the export time in the capture's
    own world."""
    viewer_renderer: Callable[[Cameras], dict[str, Any]] | None = None
    """Renders for the viewer in place of ``get_outputs``; training, scores and files never see it."""
    frame_bytes: Callable[[], int] = lambda: 0
    """Bytes of decoded frames on the GPU, for the message when its memory runs out."""
    total_steps: int | None = None
    """Length of the training, to which schedules that are shares of it refer; None where there is none."""
    metrics_every: int = 1
    """Steps between two that compute training metrics: nobody reads the others."""


class DynamicGaussiansModel(SplatfactoView):
    """Rendered as Splatfacto where Nerfstudio asks for one (viewer, exporter); everything else is its own.

    ``gauss_params`` holds the canonical parameters. Cameras of one call must share their t.
    """

    config: DynamicGaussiansModelConfig  # type: ignore[assignment]
    capture_background: Tensor

    def __init__(self, *args, metadata: Mapping[str, Any] | None = None, **kwargs) -> None:
        self.facts = CaptureFacts.of(metadata)
        self.surroundings = Surroundings()
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------ construction

    def populate_modules(self) -> None:
        config, facts = self.config, self.facts
        self.representation = config.representation.setup()
        self.clip = facts.clip
        self.world_from_capture = facts.world_from_capture
        self.near = config.near * facts.focus_distance
        # Without points a checkpoint is about to be loaded: one placeholder row that load_state_dict replaces.
        points = facts.points or PointsOverTime(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1), torch.ones(1))
        rows = self.representation.initialize(points, self.clip)
        self.gauss_params = nn.ParameterDict({name: Parameter(value.float()) for name, value in rows.items()})
        self.decoder = self.representation.make_decoder()
        self.densifier = config.densification.setup(self.representation, self.clip, facts.extent)
        self.densifier.camera_centers = facts.train_camera_centers
        self.guided = GuidedSampling(config.guided_sampling, self.representation, self.clip)
        self.corrections = CameraCorrections(
            len(facts.train_camera_names), colors=config.color_correction, clocks=config.time_offsets,
            poses=config.pose_correction,
        )  # fmt: skip
        statistics = self.densifier.empty_statistics(self.num_points, "cpu")
        self.statistic_names = tuple(statistics)
        for name, zeros in statistics.items():
            self.register_buffer(name, zeros)
        backdrop = None if facts.capture is None else facts.capture.background
        self.register_buffer("capture_background", torch.tensor(backdrop or (0.0, 0.0, 0.0)), persistent=False)
        self.viewer_background: Tensor | None = None
        self.crop_box: OrientedBox | None = None
        self.step = 0
        self.perceptual = Perceptual()
        self.training_views = TrainingViews()
        self.active_set = ActiveSet()
        self.rendered: RenderedViews | None = None
        """What the last training step rendered."""
        self._warned_about_time = False

    def prepare(self, surroundings: Surroundings, train_cameras: Cameras | None = None) -> None:
        """Learn who uses the model and, for a training, its views, which it will come back to again and again."""
        self.surroundings = surroundings
        if train_cameras is not None:
            self.training_views.learn(train_cameras, self.device)

    @property
    def exporting(self) -> bool:
        """See :attr:`Surroundings.exporting`."""
        return self.surroundings.exporting

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Densification statistics, kept as buffers so that checkpoints hold them."""
        return {name: getattr(self, name) for name in self.statistic_names}

    # ------------------------------------------------------------------ checkpoints

    def get_extra_state(self) -> dict[str, Any]:
        """See :func:`fourdgs_ns.plugin.checkpoints.describe`."""
        return checkpoints.describe(
            self.config.representation, self.facts, self.near, self.guided.state(), self.world_from_capture
        )

    def set_extra_state(self, state: dict[str, Any]) -> None:
        checkpoints.require_same_method(state, self.get_extra_state())
        self.guided.restore(state["guided"])
        plain = state["world_from_capture"]
        stored = None if plain is None else WorldFromCapture.from_plain(plain)
        if self.world_from_capture is None:
            self.world_from_capture = stored
        else:
            check_same_world(stored, self.world_from_capture)

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs):  # type: ignore[override]
        """Resizes in place, so that optimizers built before keep training the same Parameters."""
        state = {**dict}
        checkpoints.require_written_here(state)
        self.set_extra_state(state["_extra_state"])
        rows = state["gauss_params.means"].shape[0]
        state = checkpoints.without_foreign_statistics(state, self.densifier.empty_statistics(rows, "cpu"))
        checkpoints.require_complete(state, Model.state_dict(self))
        for parameter in self.gauss_params.values():
            parameter.data = torch.zeros((rows, *parameter.shape[1:]), device=parameter.device)
        for name in list(self.statistics):
            setattr(self, name, torch.zeros(rows, device=self.device))
        return Model.load_state_dict(self, state, strict=True)

    def update_to_step(self, step: int) -> None:
        self.step = step
        self.representation.set_step(step)

    # ------------------------------------------------------------------ optimization

    def get_gaussian_param_groups(self) -> dict[str, list[Parameter]]:
        return {name: [value] for name, value in self.gauss_params.items()}

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        decoder = {} if self.decoder is None else {"decoder": list(self.decoder.parameters())}
        return {**self.get_gaussian_param_groups(), **decoder, **self.corrections.groups()}

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [
            TrainingCallback([before], self.step_cb, args=[attributes.optimizers]),
            TrainingCallback([after], self.step_post_backward),
        ]

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        total = self.surroundings.total_steps
        return self.step / total if total else 0.0

    def step_cb(self, optimizers: Optimizers, step: int) -> None:
        self.update_to_step(step)
        self.optimizers = optimizers.optimizers

    def step_post_backward(self, step: int) -> None:
        """Statistics, growth and pruning after the optimizer's step, so that no step is lost."""
        assert self.rendered is not None
        self.representation.confine(self.canonical())
        if step < self.densifier.last_step:
            self.densifier.observe(self.statistics, self.rendered.rendering, self.canonical())
        self.rendered = None
        # Nobody reads them any more, and what grows needs the room.
        for value in self.gauss_params.values():
            value.grad = None
        self.corrections.center()
        statistics = self.statistics
        # Seeded by the step: a resumed run splits as the uninterrupted one does.
        generator = torch.Generator().manual_seed(step)
        with one_line(f"Gaussians were added after step {step + 1}", self.memory_use):
            changed = self.densifier.step(step, self.gauss_params, self.optimizers, statistics, generator)
            added = self.guided.step(self.gauss_params, self.optimizers)
        if added:
            statistics = self.densifier.empty_statistics(self.num_points, self.device)
        if changed or added:
            for name in self.statistic_names:
                setattr(self, name, statistics[name])

    # ------------------------------------------------------------------ rendering

    def time_of(self, camera: Cameras) -> float:
        """t of ``camera`` in [0, 1]; the default time, with one warning, when it carries none."""
        if camera.times is None:
            if not self._warned_about_time:
                warn(
                    f"These cameras carry no time: rendering t = {self.default_time():g}. Set "
                    f"{EXPORT_TIME_VARIABLE} (seconds, 12f or 50%) for another one, or save the camera path with times."
                )
                self._warned_about_time = True
            return self.default_time()
        return min(max(float(camera.times.flatten()[0]), 0.0), 1.0)

    def canonical(self) -> dict[str, Tensor]:
        """The canonical parameters by name."""
        return dict(self.gauss_params.items())

    def slice(self, t: float | Tensor) -> GaussiansAtTime:
        """The Gaussians alive at ``t``, differentiable, in ``t`` too where it is a tensor."""
        params = self.canonical()
        return self.representation.at(params, t, self.representation.active(params, float(t)))

    def views(self, camera: Cameras, edit: SliceEdit | None = None) -> Views:
        """Nerfstudio's ``camera`` and all that its images depend on; from here on nobody knows Nerfstudio or the model."""
        ids = camera.metadata["cam_id"][:, 0] if self.training and camera.metadata is not None else None
        return Views(
            self.representation, self.canonical(), self.time_of(camera), self.pinhole_cameras(camera), self.background(),
            self.decoder, None if ids is None else self.corrections.of(ids),
            edit if self.training else self._cropped(edit), depth=not self.training,
        )  # fmt: skip

    def pinhole_cameras(self, camera: Cameras) -> PinholeCameras:
        """See :func:`fourdgs_ns.plugin.nerfstudio_cameras.pinhole_cameras`."""
        if self.training:
            return self.training_views.get(camera, self.near, self.device)
        return pinhole_cameras(camera, self.near, self.device)

    def _cropped(self, edit: SliceEdit | None) -> SliceEdit | None:
        """``edit`` after the viewer's crop box."""
        crop = self.crop_box
        if crop is None:
            return edit

        def change(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> GaussiansAtTime:
            gaussians = gaussians.select(crop.within(gaussians.means).reshape(-1))
            return gaussians if edit is None else edit(gaussians, cameras)

        return change

    def set_background(self, background_color: Float[Tensor, "3"]) -> None:
        """The viewer's colour, for its next image only: it must reach neither training nor scores."""
        self.viewer_background = background_color

    def background(self) -> Float[Tensor, "3"]:
        """Colour behind the Gaussians for this call."""
        choice = self.config.background_color
        if not self.training and renderers.BACKGROUND_COLOR_OVERRIDE is not None:
            # The viewer and camera paths with a crop box bring a colour of their own.
            return renderers.BACKGROUND_COLOR_OVERRIDE.to(self.device)
        if choice == "random" and self.training:
            return torch.rand(3, generator=torch.Generator().manual_seed(self.step)).to(self.device)
        if choice in ("black", "white"):
            return torch.full((3,), float(choice == "white"), device=self.device)
        if not self.training and self.viewer_background is not None:
            return self.viewer_background.to(self.device)
        return self.capture_background

    def get_outputs(self, camera: RayBundle | Cameras, edit: SliceEdit | None = None) -> dict[str, Any]:
        """Renders one or more cameras at one t; ``edit`` changes the slice first.

        Returns rgb, accumulation and (outside training) depth, each [h, w, ...] for one camera and [b, h, w, ...] for a batch
        in training; depth is the expected z in world units; background is the colour used.

        Raises:
            UserError: Nerfstudio passed rays, as its exporters of point clouds and meshes do.
            OutOfMemory: the GPU's memory does not hold what is rendered.
        """
        if not isinstance(camera, Cameras):
            raise UserError(
                "this command of Nerfstudio asks for rays, but this method renders whole images; leave --render-nearest-camera "
                "away, and export with ns-export gaussian-splat"
            )
        with one_line("rendering", lambda: self.memory_use(camera)):
            rendered = render_views(self.views(camera, edit), self.active_set)
        rendering, background = rendered.rendering, rendered.background
        if self.training:
            self.rendered = rendered
            return {"rgb": rendered.rgb, "accumulation": rendering.alphas, "background": background}
        depth = rendering.depths
        assert depth is not None
        # Where nothing was rendered the far end of what was looks better in the viewer than a hole at depth 0.
        depth = torch.where(rendering.alphas > 0, depth, depth.max())
        return {
            "rgb": rendered.rgb[0].clamp(0.0, 1.0),
            "depth": depth[0],
            "accumulation": rendering.alphas[0],
            "background": background.expand(*depth.shape[1:3], 3),
        }

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """One camera [1], with an optional crop box that acts on the Gaussians where they are at t."""
        self.set_crop(obb_box)
        # Nobody but the viewer sets a background of its own just before it asks.
        viewer = None if self.viewer_background is None else self.surroundings.viewer_renderer
        try:
            return (self.get_outputs if viewer is None else viewer)(camera)
        finally:
            self.viewer_background = None

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Float[Tensor, "h w 4"]:
        """The Gaussians without their background: RGB and straight alpha, as PNG wants them."""
        alpha = outputs["accumulation"]
        color = (outputs[output_name] - (1 - alpha) * outputs["background"]) / alpha.clamp_min(1e-6)
        return torch.cat([color.clamp(0.0, 1.0), alpha], dim=-1)

    def memory_use(self, cameras: Cameras | None = None) -> Use:
        """What is in GPU memory while ``cameras`` are rendered (None: those of this training step, if any are)."""
        size = 0, 0, 0
        if cameras is not None:
            size = len(cameras), int(cameras.width.flatten()[0]), int(cameras.height.flatten()[0])
        elif self.rendered is not None:
            size = len(self.rendered.cameras), self.rendered.cameras.width, self.rendered.cameras.height
        each, training = row_bytes(self.representation), self.surroundings.total_steps is not None
        bytes_per_row = each.total if training else each.parameters
        return Use(self.num_points, bytes_per_row, *size, self.surroundings.frame_bytes(), training)

    # ------------------------------------------------------------------ losses and scores

    def ground_truth(self, batch: dict, background: Tensor) -> Float[Tensor, "*b h w 3"]:
        """The batch's image in [0, 1]; RGBA is composited over ``background``."""
        image = batch["image"].to(self.device)
        image = image / 255.0 if image.dtype == torch.uint8 else image
        if image.shape[-1] == 4:
            image = image[..., 3:] * image[..., :3] + (1 - image[..., 3:]) * background
        return image

    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        if self.training and self.step % self.surroundings.metrics_every:
            return {}
        truth = self.ground_truth(batch, outputs["background"])
        return {"psnr": psnr(outputs["rgb"].detach(), truth), "gaussian_count": float(self.num_points)}

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        truth, rgb = self.ground_truth(batch, outputs["background"]), outputs["rgb"]
        if rgb.dim() == 3:
            truth, rgb = truth[None], rgb[None]
        losses = {"photometric": photometric_loss(rgb, truth, self.config.ssim_weight)}
        if self.training:
            losses |= training_terms(self.config, self._now(truth, batch), self.perceptual)
            self._observe_guided(rgb.detach(), truth, batch)
        return losses

    def _now(self, truth: Float[Tensor, "b h w 3"], batch: dict) -> TrainingStep:
        assert self.rendered is not None

        def neighbor() -> tuple[Tensor, Tensor]:
            other = render_views(self.views(batch["neighbor_cameras"]), self.active_set)
            return other.rgb, self.ground_truth({"image": batch["neighbor_image"]}, other.background)

        return TrainingStep(
            self.step, self.progress, self.representation, self.canonical(), self.clip, self.rendered, truth, neighbor
        )

    def _observe_guided(self, rgb: Float[Tensor, "b h w 3"], truth: Float[Tensor, "b h w 3"], batch: dict) -> None:
        """Shows guided sampling, where it is on, what the step got wrong."""
        if not self.config.guided_sampling.enabled:
            return
        assert self.rendered is not None
        self.guided.observe(
            self.step, rgb, truth, [int(c) for c in batch["camera_ids"]], len(self.facts.train_camera_names),
            self.rendered.cameras, self.rendered.gaussians.means.detach(), torch.Generator().manual_seed(self.step),
        )  # fmt: skip

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        truth, rgb = self.ground_truth(batch, outputs["background"]), outputs["rgb"]
        scores = {"psnr": float(psnr(rgb, truth)), "ssim": float(ssim(rgb[None], truth[None]))}
        # The few views scored while training go without: loading the network, or failing to, costs more than they do.
        with torch.no_grad():
            perceptual = None if batch.get("quick") else self.perceptual.distance(rgb[None], truth[None])
        if perceptual is not None:
            scores["lpips"] = float(perceptual)
        return scores, {"img": torch.cat([truth, rgb], dim=1)}

    def composite_with_background(self, image: Tensor, background: Tensor) -> Tensor:
        return self.ground_truth({"image": image}, background)

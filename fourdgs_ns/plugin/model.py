"""The Nerfstudio model around any representation: slice at t, rasterise, compare, densify, save, export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model
from torch import Tensor, nn
from torch.nn import Parameter

from fourdgs_ns.common.console import warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.corrections.clocks import CameraTimes
from fourdgs_ns.corrections.colors import CameraColors
from fourdgs_ns.corrections.poses import CameraPoses
from fourdgs_ns.densification.guided import GuidedSampling
from fourdgs_ns.geometry.world import WorldFromCapture, check_same_world
from fourdgs_ns.plugin import checkpoints
from fourdgs_ns.plugin.cameras import TrainingViews, pinhole_cameras
from fourdgs_ns.plugin.model_config import DynamicGaussiansModelConfig
from fourdgs_ns.plugin.render_views import Drawn, draw
from fourdgs_ns.plugin.splatfacto_view import EXPORT_TIME_VARIABLE, SplatfactoView
from fourdgs_ns.rasterization import PinholeCameras, Rendering
from fourdgs_ns.rasterization.render import SliceEdit
from fourdgs_ns.representation.base import Clip, GaussiansAtTime, PointsOverTime
from fourdgs_ns.representation.parts.active_set import ActiveSet
from fourdgs_ns.training.losses import photometric_loss, psnr, ssim
from fourdgs_ns.training.memory import Use, one_line, row_bytes
from fourdgs_ns.training.perceptual import Perceptual
from fourdgs_ns.training.terms import observe_guided, training_terms


class DynamicGaussiansModel(SplatfactoView):
    """Drawn as Splatfacto where Nerfstudio asks for one (viewer, exporter); everything else is its own.

    ``gauss_params`` holds the canonical parameters. Cameras of one call must share their t.
    """

    config: DynamicGaussiansModelConfig  # type: ignore[assignment]
    capture_background: Tensor

    def __init__(self, *args, metadata: Mapping[str, Any] | None = None, **kwargs) -> None:
        self.capture_metadata: Mapping[str, Any] = metadata or {}
        self.exporting = False
        """True where Nerfstudio reads the Splatfacto properties to write files: they then show the slice at the export time
        in the capture's own world."""
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------ construction

    def populate_modules(self) -> None:
        config, metadata = self.config, self.capture_metadata
        self.representation = config.representation.setup()
        self.clip: Clip = metadata.get("clip", Clip(1, 0.0))
        self.world_from_capture: WorldFromCapture | None = metadata.get("world_from_capture")
        extent = float(metadata.get("scene_extent", 1.0))
        self.focus_distance = float(metadata.get("focus_distance", 1.0))
        """From the cameras to what they look at, world units."""
        self.near = config.near * self.focus_distance
        points: PointsOverTime | None = metadata.get("points_over_time")
        if points is None:
            # A checkpoint is about to be loaded: one placeholder row that load_state_dict replaces.
            points = PointsOverTime(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1), torch.ones(1))
        rows = self.representation.initialize(points, self.clip)
        self.gauss_params = nn.ParameterDict({name: Parameter(value.float()) for name, value in rows.items()})
        self.decoder = self.representation.make_decoder()
        self.densifier = config.densification.setup(self.representation, self.clip, extent)
        self.densifier.camera_centers = metadata.get("train_camera_centers")
        self.guided = GuidedSampling(config.guided_sampling, self.representation, self.clip)
        num_cameras = len(metadata.get("train_camera_names", ()))
        self.camera_colors = CameraColors(num_cameras) if config.color_correction else None
        self.camera_times = CameraTimes(num_cameras) if config.time_offsets else None
        self.camera_poses = CameraPoses(num_cameras) if config.pose_correction else None
        statistics = self.densifier.empty_statistics(self.num_points, "cpu")
        self.statistic_names = tuple(statistics)
        for name, zeros in statistics.items():
            self.register_buffer(name, zeros)
        backdrop = torch.tensor(getattr(metadata.get("capture"), "background", None) or (0.0, 0.0, 0.0))
        self.register_buffer("capture_background", backdrop, persistent=False)
        self.viewer_background: Tensor | None = None
        self.viewer_draws: Callable[[Cameras], dict[str, Any]] | None = None
        """Draws the viewer's pictures in place of ``get_outputs``; training, scores and files never see it."""
        self.crop_box: OrientedBox | None = None
        self.step = 0
        self.metrics_every = 1
        """Steps between two that compute training metrics: nobody reads the others."""
        self.total_steps: int | None = None
        """Length of the training, which the trainer fills in; schedules that are shares of it refer to this."""
        self.frame_bytes: Callable[[], int] = lambda: 0
        """Bytes of decoded frames on the GPU, for the message when its memory runs out; the pipeline fills it in."""
        self.perceptual = Perceptual()
        self.rendering: Rendering | None = None
        self.training_views = TrainingViews()
        self.active_set = ActiveSet()
        self.drawn: Drawn | None = None
        """What the last training step drew."""
        self._warned_about_time = False

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Densification statistics, kept as buffers so that checkpoints hold them."""
        return {name: getattr(self, name) for name in self.statistic_names}

    # ------------------------------------------------------------------ checkpoints

    def get_extra_state(self) -> dict[str, Any]:
        """See :func:`fourdgs_ns.plugin.checkpoints.describe`."""
        return checkpoints.describe(self)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        checkpoints.require_same_method(state, self.get_extra_state())
        self.guided.restore(state["guided"])
        if "world_from_capture" not in state:  # an earlier version's
            return
        stored = (
            None if state["world_from_capture"] is None else WorldFromCapture.from_plain(state["world_from_capture"])
        )
        if self.world_from_capture is None:
            self.world_from_capture = stored
        else:
            check_same_world(stored, self.world_from_capture)

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs):  # type: ignore[override]
        """Resizes in place, so that optimizers built before keep training the same Parameters."""
        state = {**dict}
        checkpoints.require_written_here(state)
        self.set_extra_state(state["_extra_state"])
        checkpoints.require_complete(state, Model.state_dict(self))
        rows = state["gauss_params.means"].shape[0]
        for parameter in self.gauss_params.values():
            parameter.data = torch.zeros((rows, *parameter.shape[1:]), device=parameter.device)
        for name in list(self.statistics):
            setattr(self, name, torch.zeros(rows, device=self.device))
        return Model.load_state_dict(self, state, strict=True)

    def update_to_step(self, step: int) -> None:
        self.step = step
        self.representation.set_step(step)

    # ------------------------------------------------------------------ optimisation

    def get_gaussian_param_groups(self) -> dict[str, list[Parameter]]:
        return {name: [value] for name, value in self.gauss_params.items()}

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        groups = self.get_gaussian_param_groups()
        if self.decoder is not None:
            groups["decoder"] = list(self.decoder.parameters())
        if self.camera_colors is not None:
            groups["camera_colors"] = list(self.camera_colors.parameters())
        if self.camera_times is not None:
            groups["camera_times"] = list(self.camera_times.parameters())
        if self.camera_poses is not None:
            groups["camera_poses"] = list(self.camera_poses.parameters())
        return groups

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [
            TrainingCallback([before], self.step_cb, args=[attributes.optimizers]),
            TrainingCallback([after], self.step_post_backward),
        ]

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return self.step / self.total_steps if self.total_steps else 0.0

    def step_cb(self, optimizers: Optimizers, step: int) -> None:
        self.update_to_step(step)
        self.optimizers = optimizers.optimizers

    def step_post_backward(self, step: int) -> None:
        """Statistics, growth and pruning after the optimiser's step, so that no step is lost."""
        assert self.rendering is not None
        self.representation.confine(self.canonical())
        if step < self.densifier.last_step:
            self.densifier.observe(self.statistics, self.rendering, self.canonical())
        self.rendering = self.drawn = None
        # Nobody reads them any more, and what grows needs the room.
        for value in self.gauss_params.values():
            value.grad = None
        for correction in (self.camera_colors, self.camera_times, self.camera_poses):
            if correction is not None:
                correction.center()
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
                    f"These cameras carry no time: drawing t = {self.default_time():g}. Set {EXPORT_TIME_VARIABLE}=0..1 "
                    "for another instant, or save the camera path with times."
                )
                self._warned_about_time = True
            return self.default_time()
        return min(max(float(camera.times.flatten()[0]), 0.0), 1.0)

    def canonical(self) -> dict[str, Tensor]:
        """The learned rows by name."""
        return dict(self.gauss_params.items())

    def slice(self, t: float | Tensor) -> GaussiansAtTime:
        """The Gaussians alive at ``t``, differentiable, in ``t`` too where it is a tensor."""
        params = self.canonical()
        return self.representation.at(params, t, self.representation.active(params, float(t)))

    def exposure_time(self, camera: Cameras) -> float | Tensor:
        """t of ``camera``; in training corrected by its learned offset."""
        t, corrected = self.time_of(camera), self.corrected_camera(camera)
        return t if self.camera_times is None or corrected is None else self.camera_times(t, corrected)

    def corrected_camera(self, camera: Cameras) -> int | None:
        """Number of the one training camera whose clock and pose are corrected in this drawing; None when none is."""
        if not self.training or camera.metadata is None or (self.camera_times is None and self.camera_poses is None):
            return None
        if len(camera) != 1:
            raise UserError(
                "time offsets and poses are learned for one camera at a time: add --pipeline.datamanager.batch-size 1, or leave "
                "--pipeline.model.time-offsets and --pipeline.model.pose-correction away"
            )
        return int(camera.metadata["cam_id"].flatten()[0])

    def cameras_for_rasterizer(self, camera: Cameras) -> PinholeCameras:
        """See :func:`fourdgs_ns.plugin.cameras.pinhole_cameras`."""
        if self.training:
            return self.training_views.get(camera, self.near, self.device)
        return pinhole_cameras(camera, self.near, self.device)

    def set_background(self, background_color: Float[Tensor, "3"]) -> None:
        """The viewer's colour, for its next picture only: it must reach neither training nor scores."""
        self.viewer_background = background_color

    def background(self) -> Float[Tensor, "3"]:
        """Colour behind the scene for this call."""
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

    def get_outputs(self, camera: Cameras, edit: SliceEdit | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Draws one or more cameras of one instant; ``edit`` changes the slice first.

        Returns rgb, accumulation and (outside training) depth, each [h, w, ...] for one camera and [b, h, w, ...] for a batch
        in training; depth is the expected z in scene units; background is the colour used.

        Raises:
            UserError: Nerfstudio passed rays, as its exporters of point clouds and meshes do.
            OutOfMemory: the GPU's memory does not hold what is drawn.
        """
        if not isinstance(camera, Cameras):
            raise UserError(
                "this command of Nerfstudio asks for rays, but this method draws whole pictures; leave --render-nearest-camera "
                "away, and export with ns-export gaussian-splat"
            )
        with one_line("drawing", lambda: self.memory_use(camera)):
            drawn = self.draw(camera, edit)
        rendering, background = drawn.rendering, drawn.background
        if self.training:
            self.drawn, self.rendering = drawn, rendering
            return {"rgb": drawn.rgb, "accumulation": rendering.alphas, "background": background}
        depth = rendering.depths
        assert depth is not None
        # Where nothing was drawn the far end of what was looks better in the viewer than a hole at depth 0.
        depth = torch.where(rendering.alphas > 0, depth, depth.max())
        return {
            "rgb": drawn.rgb[0].clamp(0.0, 1.0),
            "depth": depth[0],
            "accumulation": rendering.alphas[0],
            "background": background.expand(*depth.shape[1:3], 3),
        }

    def draw(self, camera: Cameras, edit: SliceEdit | None = None) -> Drawn:
        """See :func:`fourdgs_ns.plugin.render_views.draw`."""
        return draw(self, camera, edit)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """One camera [1], with an optional crop box that acts on the Gaussians where they are at t."""
        self.set_crop(obb_box)
        # Nobody but the viewer sets a background of its own just before it asks.
        draws = self.get_outputs if self.viewer_draws is None or self.viewer_background is None else self.viewer_draws
        try:
            return draws(camera)
        finally:
            self.viewer_background = None

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Float[Tensor, "h w 4"]:
        """The scene without its background: RGB and straight alpha, as PNG wants them."""
        alpha = outputs["accumulation"]
        color = (outputs[output_name] - (1 - alpha) * outputs["background"]) / alpha.clamp_min(1e-6)
        return torch.cat([color.clamp(0.0, 1.0), alpha], dim=-1)

    def memory_use(self, cameras: Cameras | None = None) -> Use:
        """What is in GPU memory while ``cameras`` are drawn (None: those of this training step, if any are)."""
        size = 0, 0, 0
        if cameras is not None:
            size = len(cameras), int(cameras.width.flatten()[0]), int(cameras.height.flatten()[0])
        elif self.drawn is not None:
            size = len(self.drawn.cameras), self.drawn.cameras.width, self.drawn.cameras.height
        each, training = row_bytes(self.representation), self.total_steps is not None
        bytes_per_row = each.total if training else each.parameters
        return Use(self.num_points, bytes_per_row, *size, self.frame_bytes(), training)

    # ------------------------------------------------------------------ losses and scores

    def ground_truth(self, batch: dict, background: Tensor) -> Float[Tensor, "*b h w 3"]:
        """The batch's image in [0, 1]; RGBA is composited over ``background``."""
        image = batch["image"].to(self.device)
        image = image / 255.0 if image.dtype == torch.uint8 else image
        if image.shape[-1] == 4:
            image = image[..., 3:] * image[..., :3] + (1 - image[..., 3:]) * background
        return image

    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        if self.training and self.step % self.metrics_every:
            return {}
        truth = self.ground_truth(batch, outputs["background"])
        return {"psnr": psnr(outputs["rgb"].detach(), truth), "gaussian_count": float(self.num_points)}

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        truth, rgb = self.ground_truth(batch, outputs["background"]), outputs["rgb"]
        if rgb.dim() == 3:
            truth, rgb = truth[None], rgb[None]
        losses = {"photometric": photometric_loss(rgb, truth, self.config.ssim_weight)}
        if self.training:
            losses |= training_terms(self, rgb, truth, batch)
            observe_guided(self, rgb.detach(), truth, batch)
        return losses

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

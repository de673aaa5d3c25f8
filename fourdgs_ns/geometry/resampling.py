"""From a camera's source frames to the pixels of its undistorted, smaller images."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera


class Resampler:
    """Turns frames of ``camera`` into those of ``pinhole``, which is ``camera.undistorted(...)``.

    The maps are computed once, calls are thread-safe.
    """

    def __init__(self, camera: Camera, pinhole: Camera) -> None:
        self.name = camera.name
        self.source_size = (camera.width, camera.height)
        self.size = (pinhole.width, pinhole.height)
        self.maps: tuple[np.ndarray, np.ndarray] | None = None
        if camera.undistortion is not None:
            self.maps = cv2.convertMaps(*camera.undistortion.map(*self.source_size), cv2.CV_16SC2)  # type: ignore[assignment]

    def __call__(
        self, frame: UInt8[np.ndarray, "source_h source_w c"], described: str | None = None
    ) -> UInt8[np.ndarray, "h w c"]:
        """The frame at the size of ``pinhole``, c = 1, 3 or 4.

        A fourth channel is coverage: colours are averaged with it as weight, so what lies outside the subject does not
        bleed into its silhouette. Raises UserError when the frame has another size than the camera; ``described`` names
        the frame in it.
        """
        height, width = frame.shape[:2]
        if (width, height) != self.source_size:
            raise UserError(
                f"{described or 'a frame of camera ' + self.name} is {width}x{height} pixels, but camera '{self.name}' "
                f"is calibrated for {self.source_size[0]}x{self.source_size[1]}; use the frames that were calibrated, "
                "or scale the calibration to their size"
            )
        if self.maps is None and self.size == self.source_size:
            return np.ascontiguousarray(frame)
        if frame.shape[2] != 4:
            return self._resample(frame).reshape(self.size[1], self.size[0], frame.shape[2])
        alpha = frame[:, :, 3:].astype(np.float32)
        result = self._resample(np.concatenate([frame[:, :, :3] * (alpha / 255.0), alpha], axis=2))
        weight = result[:, :, 3:] / 255.0
        # Colour under what rounds to zero coverage is never seen; black keeps it the same everywhere.
        covered = result[:, :, 3:] > 0.5
        result[:, :, :3] = np.divide(result[:, :, :3], weight, out=np.zeros_like(result[:, :, :3]), where=covered)
        return np.clip(np.rint(result), 0, 255).astype(np.uint8)

    def _resample(self, image: np.ndarray) -> np.ndarray:
        if self.maps is not None:
            # Replicating covers the last fraction of a pixel between the outermost pixel centres and the border.
            image = cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if (image.shape[1], image.shape[0]) != self.size:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        return image

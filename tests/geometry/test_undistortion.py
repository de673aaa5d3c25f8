"""Known 3D points must appear where the undistorted camera says, whatever the lens and the downscale."""

import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.resampling import Resampler

WIDTH, HEIGHT = 321, 240
INTRINSICS = np.array([[260.0, 0.0, 148.3], [0.0, 255.0, 131.7], [0.0, 0.0, 1.0]])
LENSES = {
    "none": ((), False),
    "barrel": ((-0.28, 0.09, 0.001, -0.002, 0.0), False),
    "pincushion": ((0.15, 0.02, 0.0, 0.001), False),
    "rational": ((-0.2, 0.05, 0.0, 0.0, 0.01, 0.05, 0.0, 0.0), False),
    "one coefficient": ((-0.1,), False),
    "fisheye": ((0.05, -0.02, 0.003, 0.0), True),
    "equidistant fisheye": ((), True),
}


def make_camera(distortion=(), fisheye=False, intrinsics=INTRINSICS, size=(WIDTH, HEIGHT)):
    return Camera("left", *size, intrinsics, np.eye(4), distortion, fisheye)


def source_positions(points, distortion, fisheye):
    """Where the lens images ``points`` [n, 3], in our pixel convention."""
    zero = np.zeros(3)
    if fisheye:
        filled = np.zeros(4)
        filled[: len(distortion)] = distortion
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, INTRINSICS, filled)[0][:, 0]
    filled = np.zeros(8)
    filled[: len(distortion)] = distortion
    return cv2.projectPoints(points, zero, zero, INTRINSICS, filled)[0][:, 0]


def dot_image(position, sigma):
    x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5
    dot = np.exp(-((x - position[0]) ** 2)[None] / (2 * sigma**2) - ((y - position[1]) ** 2)[:, None] / (2 * sigma**2))
    return np.rint(255 * dot).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def centroid(image):
    weight = image[:, :, 0].astype(np.float64)
    x, y = np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5
    return np.array([(weight.sum(0) * x).sum(), (weight.sum(1) * y).sum()]) / weight.sum()


@pytest.mark.parametrize("downscale", [1.0, 2.0, 2.6])
@pytest.mark.parametrize("lens", LENSES)
def test_points_appear_where_the_undistorted_camera_projects_them(lens, downscale):
    distortion, fisheye = LENSES[lens]
    camera = make_camera(distortion, fisheye)
    pinhole = camera.undistorted(downscale)
    assert (pinhole.width, pinhole.height) == (round(WIDTH / downscale), round(HEIGHT / downscale))
    resample = Resampler(camera, pinhole)

    pixels = np.array([[x, y, 1.0] for x in (0.13, 0.4, 0.88) for y in (0.15, 0.55, 0.85)])
    pixels *= [pinhole.width, pinhole.height, 1.0]
    points = 3.0 * pixels @ np.linalg.inv(pinhole.intrinsics).T
    for pixel, source in zip(pixels, source_positions(points, distortion, fisheye), strict=True):
        found = centroid(resample(dot_image(source, sigma=1.5)))
        # Without the half-pixel shifts around OpenCV, or with one ratio for both axes, this is off by 0.1 to 0.5.
        np.testing.assert_allclose(found, pixel[:2], atol=0.06)


@pytest.mark.parametrize("downscale", [1.0, 2.0])
@pytest.mark.parametrize("lens", [*LENSES, "strong barrel"])
def test_no_black_border(lens, downscale):
    distortion, fisheye = {**LENSES, "strong barrel": ((-0.35, 0.14, 0.004, 0.003), False)}[lens]
    camera = make_camera(distortion, fisheye)
    pinhole = camera.undistorted(downscale)
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    assert (Resampler(camera, pinhole)(white) == 255).all()
    if camera.undistortion is not None:
        x, y = camera.undistortion.map(WIDTH, HEIGHT)
        assert x.min() >= -0.51 and y.min() >= -0.51
        assert x.max() <= WIDTH - 0.49 and y.max() <= HEIGHT - 0.49
        # Nor may the zoom throw much more away than it must: the view touches the border of the source frame.
        gaps = [x.min(), y.min(), WIDTH - 1 - x.max(), HEIGHT - 1 - y.max()]
        assert min(gaps) < 8


def test_skew_of_a_distorted_lens():
    skewed = INTRINSICS.copy()
    skewed[0, 1] = 6.0
    camera = make_camera((-0.1, 0.02), intrinsics=skewed)
    pinhole = camera.undistorted(1.0)
    point = np.array([0.2, -0.25, 1.0])
    radius2 = (point[:2] ** 2).sum()
    distorted = np.append(point[:2] * (1 - 0.1 * radius2 + 0.02 * radius2**2), 1.0)
    found = centroid(Resampler(camera, pinhole)(dot_image((skewed @ distorted)[:2], sigma=2.0)))
    np.testing.assert_allclose(found, (pinhole.intrinsics @ point)[:2], atol=0.06)


def test_without_distortion_pixels_are_exact_means_and_the_principal_point_keeps_its_place():
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    intrinsics = np.array([[50.0, 0.5, 7.25], [0.0, 52.0, 20.5], [0.0, 0.0, 1.0]])
    camera = make_camera((0.0, 0.0, 0.0, 0.0), intrinsics=intrinsics, size=(36, 24))
    pinhole = camera.undistorted(3.0)
    assert camera.undistortion is None
    np.testing.assert_array_equal(pinhole.intrinsics, np.diag([1 / 3, 1 / 3, 1.0]) @ intrinsics)
    means = image.reshape(8, 3, 12, 3, 3).mean(axis=(1, 3))
    assert np.abs(Resampler(camera, pinhole)(image) - means).max() <= 0.5 + 1e-9

    same = camera.undistorted(1.0)
    np.testing.assert_array_equal(Resampler(camera, same)(image), image)
    np.testing.assert_array_equal(same.intrinsics, intrinsics)


def test_each_axis_is_scaled_by_its_own_ratio():
    pinhole = make_camera(size=(101, 66)).undistorted(2.0)
    assert (pinhole.width, pinhole.height) == (50, 33)
    np.testing.assert_allclose(pinhole.intrinsics[0], INTRINSICS[0] * 50 / 101)
    np.testing.assert_allclose(pinhole.intrinsics[1], INTRINSICS[1] * 0.5)


@pytest.mark.parametrize("distortion", [(), (-0.1, 0.01)])
def test_hidden_colours_do_not_bleed_into_a_silhouette(distortion):
    image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    image[:, :, 1] = 255
    image[50:151, 80:201] = (200, 10, 0, 255)
    camera = make_camera(distortion)
    result = Resampler(camera, camera.undistorted(2.0))(image)
    covered = result[:, :, 3] > 0
    assert 0 < covered.mean() < 1 and ((result[:, :, 3] > 0) & (result[:, :, 3] < 255)).any()
    np.testing.assert_array_equal(result[covered][:, :3], np.tile([200, 10, 0], (covered.sum(), 1)))
    assert (result[~covered] == 0).all()


def test_mistakes_are_named():
    camera = make_camera()
    resample = Resampler(camera, camera.undistorted(1.0))
    with pytest.raises(UserError, match=r"clip\.mp4, frame 7 is 240x321 pixels.*'left'.*321x240"):
        resample(np.zeros((WIDTH, HEIGHT, 3), np.uint8), "clip.mp4, frame 7")
    with pytest.raises(UserError, match="camera left"):
        resample(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"--downscale-factor 0\.5"):
        camera.undistorted(0.5)
    with pytest.raises(UserError, match=r"'left'.*folds"):
        make_camera((-2.0, 0.0, 0.0, 0.0)).undistorted(1.0)
    with pytest.raises(UserError, match=r"5 distortion coefficients.*fisheye"):
        make_camera((0.1,) * 5, fisheye=True).undistorted(1.0)

"""An orbit camera over a world with x and y on the floor and z up. One matrix serves relief, paths and labels."""

import math
from dataclasses import dataclass

import numpy as np

from steepest.view.render.theme import CONSTANTS

LENS = CONSTANTS["camera"]["lensDegrees"] / 180 * math.pi
TARGET_HEIGHT: float = CONSTANTS["camera"]["targetHeight"]


@dataclass(frozen=True)
class Camera:
    """Position and direction of a view.

    Attributes:
        azimuth, elevation: radians around the z axis, and above the floor.
        distance: to the target, in half widths of the block.
        shift: of the world's middle on the canvas, as a share of the canvas's half size, right and up.
    """

    azimuth: float
    elevation: float
    distance: float
    shift: tuple[float, float] = (0.0, 0.0)


def matrix(camera: Camera, aspect: float) -> np.ndarray:
    """The camera's matrix [3, 4]: a world point becomes (x · w, y · w, w), w the distance along the view.

    Args:
        camera: of the view.
        aspect: the canvas's width over its height.
    """
    ca, sa = math.cos(camera.azimuth), math.sin(camera.azimuth)
    ce, se = math.cos(camera.elevation), math.sin(camera.elevation)
    forward = np.array((-ce * ca, -ce * sa, -se))
    right = np.array((-sa, ca, 0.0))
    up = np.array((-se * ca, -se * sa, ce))
    eye = np.array((0.0, 0.0, TARGET_HEIGHT)) - forward * camera.distance
    focal = 1 / math.tan(LENS / 2)
    rows = np.stack(
        (focal / aspect * right + camera.shift[0] * forward, focal * up + camera.shift[1] * forward, forward)
    )
    return np.hstack((rows, -(rows @ eye)[:, None]))


def project(m: np.ndarray, width: float, height: float, points: np.ndarray) -> np.ndarray:
    """Canvas x, canvas y and distance [..., 3] of world points [..., 3]."""
    x, y, w = np.moveaxis(points @ m[:, :3].T + m[:, 3], -1, 0)
    return np.stack(((x / w * 0.5 + 0.5) * width, (0.5 - y / w * 0.5) * height, w), axis=-1)

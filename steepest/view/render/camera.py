"""An orbit camera over a world with x and y on the floor and z up. One matrix serves relief, paths and labels."""

import math

import numpy as np

from steepest.view.render.theme import CONSTANTS

LENS = CONSTANTS["camera"]["lensDegrees"] / 180 * math.pi
TARGET_HEIGHT: float = CONSTANTS["camera"]["targetHeight"]


def matrix(azimuth: float, elevation: float, distance: float, shift: tuple[float, float], aspect: float) -> np.ndarray:
    """The camera's matrix [3, 4]: a world point becomes (x · w, y · w, w), w the distance along the view.

    Args:
        azimuth, elevation: radians around the z axis, and above the floor.
        distance: to the target, in half widths of the block.
        shift: of the world's middle to the right and up, as a share of the canvas's half size.
        aspect: the canvas's width over its height.
    """
    ca, sa = math.cos(azimuth), math.sin(azimuth)
    ce, se = math.cos(elevation), math.sin(elevation)
    forward, up = np.array((-ce * ca, -ce * sa, -se)), np.array((-se * ca, -se * sa, ce))
    right = np.array((-sa, ca, 0.0))
    eye = np.array((0.0, 0.0, TARGET_HEIGHT)) - forward * distance
    focal = 1 / math.tan(LENS / 2)
    rows = np.stack((focal / aspect * right + shift[0] * forward, focal * up + shift[1] * forward, forward))
    return np.hstack((rows, -(rows @ eye)[:, None]))


def project(m: np.ndarray, width: float, height: float, points: np.ndarray) -> np.ndarray:
    """Canvas x, canvas y and distance [..., 3] of world points [..., 3]."""
    x, y, w = np.moveaxis(points @ m[:, :3].T + m[:, 3], -1, 0)
    return np.stack(((x / w * 0.5 + 0.5) * width, (0.5 - y / w * 0.5) * height, w), axis=-1)

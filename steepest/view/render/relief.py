"""A field as a block of relief, drawn into a depth buffer: the twin of `page/src/render/relief.ts`."""

import math

import numpy as np

from steepest.view.render.camera import project
from steepest.view.render.colours import SHADES, shade_table, wall_table
from steepest.view.render.field import MISSING_CELL, THERE, Field
from steepest.view.render.theme import CONSTANTS, Theme

RELIEF = CONSTANTS["relief"]
BASE: float = RELIEF["base"]
"""Height of the block's floor."""
BEHIND = 1.0006
"""Factor of 1 / distance by which a wall must be nearer to be drawn: the surface's edge stays in front of it."""


class Block:
    """A field's relief; its light is computed once.

    `pixels` [height, width] are uint32 of the bytes red, green, blue and alpha; `depth` [height, width], float32, is
    1 / distance, and 0 where nothing is drawn.
    """

    def __init__(self, field: Field, theme: Theme) -> None:
        from steepest.view.render.raster import bake

        self.field = field
        scale = field.scale
        ny, nx = field.height.shape
        z = field.height.astype(np.float64) * scale.block
        x, y = np.meshgrid(2 * np.arange(nx) / (nx - 1) - 1, 2 * np.arange(ny) / (ny - 1) - 1)
        self._world = np.stack((x, y, z), axis=-1)
        shade = np.clip(field.height.astype(np.float64) * (SHADES - 1), 0, SHADES - 1).astype(np.float32)
        self._vertices = np.empty((ny, nx, 8))
        self._vertices[..., 3:] = np.stack((bake(z), field.level, shade, field.support, field.state), axis=-1)
        self._table = shade_table(theme)
        self._walls = [wall_table(theme, BASE, scale.block, tone) for tone in RELIEF["wallTones"]]
        self._pens = np.array((theme.thin, theme.thick, scale.major, RELIEF["line"], RELIEF["thickLine"]))
        self.resize(1, 1)

    def resize(self, width: int, height: int) -> None:
        """A picture of this size, empty."""
        self.width, self.height = width, height
        self.pixels = np.zeros((height, width), np.uint32)
        self.depth = np.zeros((height, width), np.float32)

    def render(self, m: np.ndarray, azimuth: float) -> None:
        """Draws the block for the camera of this matrix and azimuth."""
        from steepest.view.render.raster import CELL_STATE, NEAR, SHADE, mesh

        self.pixels.fill(0)
        self.depth.fill(0)
        points = project(m, self.width, self.height, self._world)
        self._vertices[..., :2] = points[..., :2]
        self._vertices[..., NEAR] = 1 / points[..., 2]
        mesh(self._vertices, 1.0, self._table, self._pens, self.pixels, self.depth)
        east, north = -1 if math.cos(azimuth) > 0 else 0, -1 if math.sin(azimuth) > 0 else 0
        for edge, table in zip(((slice(None), east), (north, slice(None))), self._walls):
            both = np.stack((self._world[edge], self._world[edge]))  # above, and at the base
            both[1, :, 2] = BASE
            wall = np.zeros((*both.shape[:2], 8))
            wall[..., : NEAR + 1] = project(m, self.width, self.height, both)
            wall[..., NEAR] = 1 / wall[..., NEAR]
            wall[..., SHADE] = (both[..., 2] - BASE) * ((SHADES - 1) / (self.field.scale.block - BASE))
            wall[..., CELL_STATE] = np.where(self.field.state[edge] == MISSING_CELL, MISSING_CELL, THERE)
            mesh(wall, BEHIND, table, self._pens, self.pixels, self.depth)

    def is_visible(self, points: np.ndarray, zoom: float, slack: float) -> np.ndarray:
        """Mask of projected points [P, 3] that the relief does not hide.

        There are `zoom` of its pixels along one of the canvas; points may lie behind it by `slack` of their distance.
        """
        x, y = np.floor(points[:, 0] * zoom), np.floor(points[:, 1] * zoom)
        inside = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
        i, j = np.where(inside, x, 0).astype(int), np.where(inside, y, 0).astype(int)
        with np.errstate(invalid="ignore", divide="ignore"):
            return ~inside | (1 / points[:, 2] > self.depth[j, i].astype(np.float64) * (1 - slack))

    def height_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """World heights of the surface as it is drawn: on the same triangles."""
        h = self.field.height.astype(np.float64)
        ny, nx = h.shape
        fx, fy = np.clip((x + 1) / 2, 0, 1) * (nx - 1), np.clip((y + 1) / 2, 0, 1) * (ny - 1)
        i, j = np.minimum(nx - 2, np.floor(fx)).astype(int), np.minimum(ny - 2, np.floor(fy)).astype(int)
        u, v = fx - i, fy - j
        a, b, c, d = h[j, i], h[j, i + 1], h[j + 1, i], h[j + 1, i + 1]
        odd = np.where(u + v < 1, a + (b - a) * u + (c - a) * v, d + (c - d) * (1 - u) + (b - d) * (1 - v))
        even = np.where(u > v, a + (b - a) * u + (d - b) * v, a + (d - c) * u + (c - a) * v)
        return self.field.scale.block * np.where((i + j) % 2 == 1, odd, even)

    def above(self, x: np.ndarray, y: np.ndarray, lift: float) -> np.ndarray:
        """World points [..., 3] above the surface."""
        return np.stack((x, y, self.height_at(x, y) + lift), axis=-1)

    def edges(self) -> list[np.ndarray]:
        """The four upper edges of the block [n, 3]; z is NaN at holes."""
        z = np.where(self.field.state == MISSING_CELL, math.nan, self._world[..., 2])
        there = np.concatenate((self._world[..., :2], z[..., None]), axis=-1)
        return [there[0], there[-1], there[:, 0], there[:, -1]]

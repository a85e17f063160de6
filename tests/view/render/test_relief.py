"""The relief's parts against slow and obvious ones: camera, vertices, light, contours, what hides what."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from steepest.records.surfaces import Axis, Grid, Projection
from steepest.view.render.camera import LENS, TARGET_HEIGHT, matrix, project
from steepest.view.render.canvas import Canvas, Font, text_width
from steepest.view.render.colours import SHADES, TONES, shade_table
from steepest.view.render.field import DIVERGED_CELL, MISSING_CELL, THERE, Linear, Logarithmic, field_of, refine
from steepest.view.render.frame import Area, Frame, outline_of
from steepest.view.render.map import map_of
from steepest.view.render.paths import LIFT, Trace, View, stretches, trace_of
from steepest.view.render.relief import Block
from steepest.view.render.stage import opening_view
from steepest.view.render.theme import CONSTANTS, THEMES
from tests.page import films

LIGHT = THEMES["light"]
FRAME = Frame(480, 320)


def surface(f, n: int = 41, height: str = "linear", error=None) -> Grid:
    at = np.linspace(-1, 1, n)
    loss = f(at[None, :], at[:, None]) + np.zeros((n, n))
    axis = Axis("x", -1.0, 1.0, n)
    return Grid("terrain", axis, axis._replace(name="y"), loss, error, "", height)


def bump(x, y):
    return np.exp(-8 * (x * x + y * y))


def bowl(x, y):
    return x * x + 0.5 * y * y


def drawn(grid: Grid, azimuth: float = 0.9, elevation: float = 0.5) -> tuple[Block, np.ndarray]:
    block = Block(refine(field_of(grid)), LIGHT)
    block.resize(2 * FRAME.width, 2 * FRAME.height)
    m = FRAME.matrix(outline_of(block.field), azimuth, elevation)
    block.render(m, azimuth)
    return block, m


# -- Frame -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlays", [(), (Area(0, 0, 300, 150),), (Area(0, 0, 260, 120), Area(0, 180, 140, 320))])
@pytest.mark.parametrize("f", [bump, bowl, lambda x, y: 3 * x])
def test_the_block_fits_into_what_is_left(f, overlays):
    frame = Frame(480, 320, overlays)
    block = Block(refine(field_of(surface(f))), LIGHT)
    for azimuth in np.arange(16) * math.pi / 8:
        block.resize(480, 320)
        block.render(frame.matrix(outline_of(block.field), float(azimuth), 0.6), float(azimuth))
        rows, columns = np.nonzero(block.pixels)
        assert len(rows) > 0.07 * 480 * 320  # as near as can be
        assert min(columns.min(), rows.min()) > 0
        assert columns.max() < 479
        assert rows.max() < 319
        for left, top, right, bottom in overlays:
            assert not block.pixels[top:bottom, left:right].any()


# -- Camera ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_point_is_seen_where_a_turned_world_has_it(seed):
    random = np.random.default_rng(seed)
    azimuth, elevation, away_by = random.uniform(0, 6), random.uniform(0.1, 1.5), random.uniform(8, 20)
    shift = tuple(random.uniform(-0.2, 0.2, 2))
    points = random.uniform(-1, 1, (50, 3))
    width, height = 700, 400
    turn = Rotation.from_euler("zy", [-azimuth, elevation])  # the eye comes to lie on the x axis
    away, right, up = (turn.apply(points - (0, 0, TARGET_HEIGHT))).T
    distance = away_by - away
    focal = height / 2 / math.tan(LENS / 2)
    x = width / 2 + focal * right / distance + shift[0] * width / 2
    y = height / 2 - focal * up / distance - shift[1] * height / 2
    seen = project(matrix(azimuth, elevation, away_by, shift, width / height), width, height, points)
    np.testing.assert_allclose(seen, np.column_stack((x, y, distance)), rtol=1e-10)


def test_the_opening_view_hides_nothing_where_it_can():
    """A path on one side of a ridge: from the other side it would be hidden."""
    block = Block(refine(field_of(surface(lambda x, y: np.exp(-20 * x * x)))), LIGHT)
    line = np.column_stack((np.linspace(0.25, 0.3, 60), np.linspace(-0.8, 0.8, 60)))
    at = np.column_stack((line, block.height_at(*line.T) + LIFT))
    trace = Trace(np.arange(60.0), at, np.ones(60), "", np.zeros(60, int))
    outline = outline_of(block.field)
    azimuth, elevation = opening_view(block, outline, [trace], FRAME, LIGHT)
    block.resize(2 * FRAME.width, 2 * FRAME.height)
    m = FRAME.matrix(outline_of(block.field), azimuth, elevation)
    block.render(m, azimuth)
    seen = project(m, FRAME.width, FRAME.height, at)
    assert block.is_visible(seen, 2, 0.008).all()
    behind = FRAME.matrix(outline, math.pi, 0.5)
    block.render(behind, math.pi)
    assert not block.is_visible(project(behind, FRAME.width, FRAME.height, at), 2, 0.008).all()


# -- Vertices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Linear, Logarithmic])
def test_heights_and_losses_are_each_others_inverse(kind):
    scale = kind(0.3, 40.0)
    losses = np.linspace(0.3, 40.0, 50)
    np.testing.assert_allclose(scale.loss(scale.height(losses)), losses, rtol=1e-9)
    assert scale.height(losses)[[0, -1]] == pytest.approx([0, 1])
    step = 1e-4
    lines = (scale.level(losses + step) - scale.level(losses)) / step
    np.testing.assert_allclose(1 / lines[1:], scale.spacing(losses)[1:], rtol=0.02)


def test_a_finer_grid_keeps_the_vertices_and_draws_a_cubic_where_it_can():
    field = field_of(surface(lambda x, y: x * x + 2 * y, 26))
    fine = refine(field)
    assert fine.height.shape == (101, 101)
    np.testing.assert_array_equal(fine.height[::4, ::4], field.height)
    at = np.linspace(-1, 1, 101)
    exact = field.scale.height(at[None, :] ** 2 + 2 * at[:, None])
    np.testing.assert_allclose(
        fine.height[4:-4, 4:-4], exact[4:-4, 4:-4], atol=1e-6
    )  # Catmull and Rom's is exact there


def test_holes_and_plateaus_spread_to_the_next_vertices_and_no_farther():
    grid = surface(bowl, 26)
    grid.loss[10, 12], grid.loss[20, 5] = math.nan, math.inf
    fine = refine(field_of(grid))
    assert set(np.argwhere(fine.state == MISSING_CELL).min(0)) == {37, 45}
    assert set(np.argwhere(fine.state == MISSING_CELL).max(0)) == {43, 51}
    assert fine.state[80, 20] == DIVERGED_CELL
    assert (fine.state == THERE).sum() == 101 * 101 - 2 * 7 * 7
    rows, columns = np.mgrid[36:45, 44:53] / 4
    straight = map_coordinates(field_of(grid).height.astype(float), [rows, columns], order=1)
    np.testing.assert_allclose(fine.height[36:45, 44:53], straight, atol=1e-6)


def test_the_standard_error_takes_contours_away():
    n = 41
    error = np.zeros((n, n))
    error[:, : n // 2] = 10.0
    support = field_of(surface(bowl, n, error=error)).support
    assert support[:, : n // 2].max() == 0
    assert support[:, n // 2 :].min() == 1


# -- Pixels ------------------------------------------------------------------------------------------------------------


def test_a_pixel_shows_the_nearest_surface_on_its_ray():
    """The oracle walks along each ray in small steps until it is below the surface."""
    block, m = drawn(surface(bump))
    eye = -np.linalg.solve(m[:, :3], m[:, 3])
    random = np.random.default_rng(0)
    j, i = np.nonzero(block.depth)
    checked = 0
    for k in random.choice(len(i), 200, replace=False):
        w = 1 / block.depth[j[k], i[k]]
        ndc = ((i[k] + 0.5) / block.width * 2 - 1, 1 - (j[k] + 0.5) / block.height * 2)
        point = np.linalg.solve(m[:, :3], np.array((ndc[0] * w, ndc[1] * w, w)) - m[:, 3])
        if np.abs(point[:2]).max() > 0.98:
            continue  # a wall
        checked += 1
        assert point[2] == pytest.approx(float(block.height_at(point[0], point[1])), abs=2e-3)
        between = eye + (point - eye) * np.linspace(0.8, 0.999, 400)[:, None]
        over = np.abs(between[:, :2]).max(axis=1) < 1
        assert (between[over, 2] > block.height_at(*between[over, :2].T) - 2e-3).all()
    assert checked > 100


def test_light_falls_from_the_sun_and_hollows_are_darker():
    from steepest.view.render.raster import bake

    share, elevation = CONSTANTS["light"]["skyShare"], CONSTANTS["light"]["elevation"]

    flat = bake(np.zeros((61, 61)))
    np.testing.assert_allclose(flat, share + (1 - share) * math.sin(elevation), rtol=1e-6)
    ridge = np.zeros((61, 61))
    ridge[:, 28:32] = 0.3  # the sun stands to the left and above
    light = bake(ridge)
    assert light[30, 35] < 0.6 * flat[30, 30] < light[30, 20]
    pit = np.ones((61, 61))
    pit[25:36, 25:36] = 0.0
    assert bake(pit)[30, 30] < flat[30, 30]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_colours_go_from_the_ramps_first_to_its_last_and_from_shadow_to_sun(theme):
    table = shade_table(theme).view(np.uint8).reshape(SHADES + 1, TONES, 4)
    assert (np.diff(table[..., :3].astype(int), axis=1) >= 0).all()
    assert (table[..., 3] == 255).all()
    sun = np.array(theme.sun)
    for row, stop in ((0, theme.ramp[0]), (SHADES - 1, theme.ramp[-1])):
        linear = ((np.array(to_rgb(stop)) + 0.055) / 1.055) ** 2.4 * sun
        shown = np.minimum(1, 1.055 * np.minimum(1, linear) ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(table[row, -1, :3] / 255, shown, atol=1.5 / 255)


def test_holes_are_not_drawn_and_what_diverged_has_its_own_colour():
    grid = surface(lambda x, y: 0.1 * x)
    grid.loss[15:25, 5:15] = math.nan
    grid.loss[15:25, 28:38] = math.inf
    block, m = drawn(grid, azimuth=-1.2, elevation=1.3)

    def pixel(x, y, z):
        px, py, _ = project(m, block.width, block.height, np.array((x, y, z)))
        return block.pixels.view(np.uint8).reshape(block.height, block.width, 4)[int(py), int(px)]

    assert pixel(-0.5, 0, 0.35)[3] == 0
    red, green, _, alpha = pixel(0.65, 0, 0.7).tolist()
    assert alpha == 255
    assert red > 1.3 * green


@pytest.mark.parametrize("size", [300, 420])
def test_the_map_has_a_line_wherever_a_level_is_whole(size):
    """Loss 0 … 32 from left to right: a line at each whole number."""
    field = refine(field_of(surface(lambda x, y: 16 * (x + 1), 33)))
    plain = replace(field, support=np.zeros_like(field.support))
    drawn, ground = (map_of(f, size, size, LIGHT)[size // 2].astype(float).sum(axis=1) for f in (field, plain))
    inner = slice(2, -2)  # at the margin the slope is told from one side only
    dark = (1 - drawn / ground)[inner]
    level = ((np.arange(size) + 0.5) / size * 32)[inner]
    beside = np.abs(level - np.round(level)) / (32 / size)  # pixels from the nearest whole level
    assert dark[beside < 0.5].min() > 0.06
    assert dark[beside > 1.2].max() < 0.02
    thick = np.round(level) % 5 == 0
    assert dark[(beside < 0.5) & thick].min() > dark[(beside < 0.5) & ~thick].max()


# -- Paths -------------------------------------------------------------------------------------------------------------


def test_a_path_is_dotted_exactly_where_the_relief_hides_it():
    """The oracle looks along the line from each point to the eye."""
    block, m = drawn(surface(bump), azimuth=0.4, elevation=0.3)
    view = View(Canvas(FRAME.width, FRAME.height, LIGHT.paper), block, m, LIGHT)
    n = 300
    turn = np.linspace(0, 2 * math.pi, n)
    x, y = 0.55 * np.cos(turn), 0.55 * np.sin(turn)
    trace = Trace(
        np.arange(float(n)), np.column_stack((x, y, block.height_at(x, y) + LIFT)), np.ones(n), "", np.zeros(n, int)
    )
    parts = stretches(trace, n - 1, view)
    assert {part.visible for part in parts} == {True, False}
    eye = -np.linalg.solve(m[:, :3], m[:, 3])
    seen = view.project(trace.at)
    hidden = np.zeros(n, bool)
    for k in range(n):
        between = trace.at[k] + (eye - trace.at[k]) * np.linspace(0.004, 0.12, 500)[:, None]
        over = np.abs(between[:, :2]).max(axis=1) < 1
        hidden[k] = (between[over, 2] < block.height_at(*between[over, :2].T) - 0.02).any()
    for part in parts:
        for point in part.points[2:-1]:
            k = int(np.argmin(np.hypot(*(seen[:, :2] - point).T)))
            around = hidden[max(0, k - 4) : k + 5]
            if around.all() or not around.any():
                assert part.visible != hidden[k]


def test_dashes_leave_gaps():
    canvas = Canvas(60, 20, "#FFFFFF")
    canvas.stroke(np.array([(5.0, 10.5), (55.0, 10.5)]), 2, "#000000", dash=(1, 9))
    dark = (canvas.pixels[10, :, 0] < 128).astype(int)
    assert (np.diff(dark) == 1).sum() == 5


def test_a_path_outside_the_plot_is_not_drawn_and_fades_off_the_plane():
    on = Projection(np.linspace(0, 3, 50), np.zeros(50), np.linspace(0, 100, 50))
    member = replace(films.a_race(members=1, points=50).members["m0"], on={"principal": on})
    block = Block(refine(field_of(surface(bowl))), LIGHT)
    trace = trace_of(member, "principal", block)
    assert trace is not None
    np.testing.assert_array_equal(np.isnan(trace.at[:, 0]), np.linspace(0, 3, 50, dtype=np.float32) > 1)
    assert trace.near[0] == 1
    assert trace.near[-1] == 0.25


def test_a_line_is_as_wide_as_asked_and_not_drawn_twice_where_it_crosses_itself():
    canvas = Canvas(60, 60, "#FFFFFF")
    canvas.stroke(np.array([(10.0, 30.5), (50.0, 30.5), (30.5, 10.0), (30.5, 50.0)]), 5, "#000000", 0.5)
    ink = 255 - canvas.pixels[..., 0].astype(float)
    assert ink.max() == pytest.approx(127, abs=1.5)
    assert ink[:, 20].sum() == pytest.approx(5 * 127.5, rel=0.35)
    assert ink[20:40, 14].sum() == pytest.approx(5 * 127.5, rel=0.02)


def test_letters_of_a_font_are_there_and_others_are_borrowed():
    canvas = Canvas(200, 40, "#FFFFFF")
    canvas.write("λ ж 10⁻³", 5, 25, Font("serif", 17), "#000000")
    assert (canvas.pixels < 100).any()
    assert text_width("Ж", Font("sans", 12)) > 5
    assert text_width("11", Font("sans", 12)) == text_width("00", Font("sans", 12))

"""Films as PNG, GIF and MP4, drawn without a browser."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from steepest.errors import InputError
from steepest.records.surfaces import Projection
from steepest.view.film.images import still, video
from tests.page import films

pytestmark = pytest.mark.slow

SMALL = (840, 480)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB")).astype(int)


def without_points(film):
    return changed(film, t=np.empty(0), loss=np.empty(0), on={})


def changed(film, **given):
    """The film with the same change in every member."""
    return replace(film, members={key: replace(member, **given) for key, member in film.members.items()})


def with_loss(film, value):
    name, surface = next(iter(film.surfaces.items()))
    return replace(film, surfaces={name: replace(surface, loss=np.full(surface.loss.shape, value), error=None)})


@pytest.mark.parametrize(("kind", "theme"), [("run", "light"), ("race", "dark"), ("play", "light")])
def test_a_film_gives_the_same_picture_every_time(kind, theme, tmp_path):
    film = getattr(films, f"a_{kind}")()
    one, two = (still(film, tmp_path / f"{n}.png", size=SMALL, theme=theme) for n in "ab")
    rows, columns = np.nonzero((pixels(one) != pixels(two)).any(axis=-1))
    assert not len(rows), (
        f"{len(rows)} pixels differ, x {columns.min()} … {columns.max()}, y {rows.min()} … {rows.max()}"
    )
    assert one.read_bytes() == two.read_bytes()
    picture = pixels(tmp_path / "a.png")
    assert picture.shape == (480, 840, 3)
    paper = picture[2, 2]
    assert (picture.mean() > 128) == (theme == "light")
    assert (picture != paper).any(axis=-1).mean() > 0.1


def test_the_first_step_shows_less_than_the_last(tmp_path):
    film = films.a_run()
    begin, end = (pixels(still(film, tmp_path / f"{t}.png", size=SMALL, t=t)) for t in (0, 2400))
    red = np.array([0xB5, 0x34, 0x0C])
    count = [(np.abs(picture - red).max(axis=-1) < 12).sum() for picture in (begin, end)]
    assert count[0] < 0.7 * count[1]


def test_surfaces_are_chosen_by_name(tmp_path):
    film = films.a_run()
    first, same, other = (
        pixels(still(film, tmp_path / f"{n}.png", size=SMALL, surface=n)) for n in (None, "curvature", "random")
    )
    assert (first == same).all()
    assert (first != other).any(axis=-1).mean() > 0.05


@pytest.mark.parametrize("size", [(1400, 900), (960, 620), (360, 600)])
def test_every_size_has_room_for_relief_and_curves(size, tmp_path):
    picture = pixels(still(films.a_run(), tmp_path / "a.png", size=size))
    assert picture.shape == (size[1], size[0], 3)
    teal = (picture[..., 2] - picture[..., 0] > 30).mean()
    assert teal > 0.01


def far_away(film):
    """Members that leave for infinity, by way of NaN and numbers that no picture holds."""
    n = len(film.members["m0"].t)
    away = np.geomspace(1e-3, 1e37, n) * (-1) ** np.arange(n)
    away[n // 2], away[-3:] = math.nan, math.inf
    on = Projection(away, film.members["m0"].on["principal"].y, away)
    curves = {"loss": films.series(np.arange(n), *[np.abs(away)] * 3)}
    return changed(film, on={"principal": on}, curves=curves)


ODD = {
    "far away": lambda: far_away(films.a_race()),
    "no surface": lambda: replace(films.a_run(), surfaces={}),
    "no cell": lambda: with_loss(films.a_run(), math.nan),
    "all diverged": lambda: with_loss(films.a_run(), math.inf),
    "constant": lambda: with_loss(films.a_run(), 0.5),
    "constant, log": lambda: with_loss(films.a_race(), 0.5),
    "no points": lambda: without_points(films.a_race()),
    "no members": lambda: replace(films.a_race(), members={}),
    "many members": lambda: films.a_race(members=14, points=40),
    "no words": lambda: replace(films.a_run(), headline="", title="", subtitle="", advice=""),
    "long words": lambda: replace(films.a_run(), headline="w" * 300, title="t" * 300),
    "letters of no font": lambda: replace(films.a_run(), title="数字", headline="数字 ended best."),
}  # fmt: skip


@pytest.mark.parametrize("film", ODD.values(), ids=ODD)
def test_odd_films_have_pictures_that_make_sense(film, tmp_path):
    picture = pixels(still(film(), tmp_path / "a.png", size=SMALL))
    assert (picture != picture[2, 2]).any(axis=-1).mean() > 0.02


def test_without_a_surface_the_curves_are_larger(tmp_path):
    whole = pixels(still(films.a_run(), tmp_path / "a.png", size=SMALL))
    curves = pixels(still(replace(films.a_run(), surfaces={}), tmp_path / "b.png", size=SMALL))
    band = np.array([0xE8, 0xC1, 0xB7])  # the member's colour at 26 % on paper
    assert (np.abs(curves - band).max(axis=-1) < 12).sum() > 1.5 * (np.abs(whole - band).max(axis=-1) < 12).sum()


REFUSED = {
    r"must end in .png": lambda out: still(films.a_run(), out / "a.jpg"),
    r"must end in .gif or .mp4": lambda out: video(films.a_run(), out / "a.webm"),
    r"'curvatur'.*Did you mean 'curvature'": lambda out: still(films.a_run(), out / "a.png", surface="curvatur"),
    r"'drak'.*Did you mean 'dark'": lambda out: still(films.a_run(), out / "a.png", theme="drak"),
    r"t must be a step from 0 to 2400, got 2401": lambda out: still(films.a_run(), out / "a.png", t=2401),
    r"size must be at least 360 × 600 or 820 × 480 pixels, got 700 × 500": lambda out: still(
        films.a_run(), out / "a.png", size=(700, 500)
    ),
    r"must have a surface or a member with a curve": lambda out: still(films.film("run"), out / "a.png"),
    r"needs a member with a curve or a path": lambda out: video(films.a_play(), out / "a.gif"),
    r"seconds and fps must be positive, got 0 and 25": lambda out: video(films.a_run(), out / "a.gif", seconds=0),
    r"must be even, got 841 × 480": lambda out: video(films.a_run(), out / "a.mp4", size=(841, 480)),
}


@pytest.mark.parametrize(("words", "ask"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused_in_words(words, ask, tmp_path):
    with pytest.raises(InputError, match=words):
        ask(tmp_path)


def test_a_gif_plays_the_whole_film(tmp_path):
    film = films.a_race(points=200)
    one, two = (video(film, tmp_path / f"{n}.gif", seconds=0.6, fps=20, size=SMALL).read_bytes() for n in "ab")
    assert one == two
    with Image.open(tmp_path / "a.gif") as image:
        frames = []
        for k in range(image.n_frames):
            image.seek(k)
            frames.append((image.info["duration"], np.array(image.convert("RGB")).astype(int)))
    assert [duration for duration, _ in frames] == [50] * 11 + [1500]
    end = pixels(still(film, tmp_path / "end.png", size=SMALL))
    apart = [np.abs(frame - end).max(axis=-1) > 24 for _, frame in frames]
    assert apart[-1].mean() < 0.01  # but for the palette the last frame is the still
    assert apart[0].mean() > 3 * apart[-1].mean()


def test_the_camera_turns_when_asked(tmp_path):
    film = films.a_race(points=100)
    ask = {"seconds": 0.2, "fps": 20, "size": SMALL}
    rests, turns = (video(film, tmp_path / f"{turn}.gif", turn=turn, **ask) for turn in (0, 40))
    assert turns.stat().st_size > 1.5 * rests.stat().st_size


def test_an_mp4_has_all_frames(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    out = video(films.a_race(points=100), tmp_path / "a.mp4", seconds=0.5, fps=20, size=SMALL, theme="dark")
    assert out.read_bytes()[4:8] == b"ftyp"
    assert imageio_ffmpeg.count_frames_and_secs(str(out)) == (10, pytest.approx(0.5))
    reader = imageio_ffmpeg.read_frames(str(out))
    assert next(reader)["size"] == SMALL
    first = np.frombuffer(next(reader), np.uint8).reshape(480, 840, 3)
    assert np.abs(first[2, 2].astype(int) - (0x0F, 0x13, 0x17)).max() < 6


def test_without_the_extra_an_mp4_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'steepest\[video\]'"):
        video(films.a_race(points=50), tmp_path / "a.mp4", seconds=0.1, size=SMALL)

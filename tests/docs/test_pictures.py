"""The commands that make the manual's pictures still make them."""

import json
import re

import matplotlib
import pytest

from docs.extension import plays
from docs.figures import descents, drawings, films, paper, playbook, stills
from docs.figures.__main__ import main


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_a_drawing_is_made_again_byte_for_byte(name, tmp_path, monkeypatch):
    """Only those that train nothing, and only with the version of matplotlib that made the committed ones."""
    kept = {path.name: path.read_text(encoding="utf-8") for path in paper.FOLDER.glob(f"{name}*.svg")}
    assert len(kept) == 2
    monkeypatch.setattr(paper, "FOLDER", tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in drawings.DRAWINGS[name]()}
    assert made.keys() == kept.keys()
    if f"Matplotlib v{matplotlib.__version__}," not in next(iter(kept.values())):
        pytest.skip("the pictures were made with another version of matplotlib")
    assert made == kept


def test_every_picture_has_a_command():
    names = {path.stem.removesuffix("-dark") for path in paper.FOLDER.glob("*.svg")}
    makers = drawings.DRAWINGS.keys() | descents.DRAWINGS.keys() | playbook.DRAWINGS.keys()
    assert names == {name.replace("/", "-") for name in makers}


def test_an_unknown_picture_is_said():
    with pytest.raises(SystemExit, match=r"A picture must be one of slope, .*, got slopes"):
        main(["slopes"])


def test_a_still_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(stills, "STILLS", tmp_path)
    [path] = stills.maker("noise")()
    assert 10_000 < path.stat().st_size < 100_000


def test_a_page_to_play_with_has_its_schedules_and_its_noise(tmp_path):
    plays.write("schedule", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"schedule": "warmup(5%) \\u003e\\u003e cosine"' in page or '"schedule": "warmup(5%) >> cosine"' in page
    assert "const noise = 1.0;" in page
    assert len(re.findall(r'id="film"', page)) == 1
    assert len(page) < 350_000


def test_the_film_of_the_first_page_is_made_by_its_code():
    """The code as it stands there, and the film that is kept, have the same network and the same length."""
    source = films.code()
    assert 'run.film("film.html")' in source
    film = json.loads((plays.FILMS / "start.json").read_text(encoding="utf-8"))
    epochs, batch_size = (int(re.search(rf"{name}=(\d+)", source)[1]) for name in ("epochs", "batch_size"))
    assert film["steps"] == epochs * 180 // batch_size  # a tenth of the 200 samples is for validation
    assert len(film["surfaces"]) > 1
    assert next(iter(film["members"].values()))["rule"] == "adam"

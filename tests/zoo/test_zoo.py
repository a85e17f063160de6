"""Kinds of task × verbs: each cell is right or refused in words."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import steepest as sd
from steepest.analysis.landscape import surfaces
from tests.zoo.__main__ import PAGE
from tests.zoo.case import VERBS
from tests.zoo.cells import outcome_of
from tests.zoo.tasks_basic import mse
from tests.zoo.zoo import CASES


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def coarse_surfaces(monkeypatch):
    """Films with as many cells as those of the largest models: no truth is about the cells beside the path."""
    monkeypatch.setattr(surfaces, "SIZES", surfaces.SIZES[-1:])


CELLS = [
    pytest.param(name, verb, id=f"{name}-{verb}".replace(" ", "_"), marks=pytest.mark.xdist_group(name))
    for name in CASES
    for verb in VERBS
]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "verb"), CELLS)
def test_cell(name, verb, record_property):
    if CASES[name].skip:
        pytest.skip(CASES[name].skip)
    outcome = outcome_of(name, verb)
    for key, value in (("case", name), ("verb", verb), ("kind", outcome.kind), ("words", outcome.words)):
        record_property(key, value)
    assert outcome.kind in ("right", "refused"), f"{outcome.kind}: {outcome.words}"


WRONG = replace(CASES["dense network"], name="wrong", loss=lambda model, batch: 1.01 * mse(model, batch))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["descend", "fit", "open", "race", "locate", "film", "command line"])
def test_a_truth_can_fail(verb, monkeypatch):
    monkeypatch.setitem(CASES, "wrong", WRONG)
    outcome = outcome_of("wrong", verb)
    assert outcome.kind == "wrong"
    assert "torch's" in outcome.words or "plain loop" in outcome.words


@pytest.mark.slow
def test_a_bad_rate_is_wrong(monkeypatch):
    monkeypatch.setattr(sd, "find_lr", lambda task, **settings: SimpleNamespace(low=1e-6, high=1e-5, best=1e-6))
    assert outcome_of("dense network", "find_lr").kind == "wrong"


def test_what_is_not_expected_fails(monkeypatch):
    refused = replace(CASES["dense network"], name="refused", refuses={"fit": ("nothing", "it is not")})
    failing = replace(CASES["dense network"], name="failing", make=lambda: 1 / 0)
    sparse = replace(CASES["sparse embedding"], name="unexpected", refuses={})
    for case in (refused, failing, sparse):
        monkeypatch.setitem(CASES, case.name, case)
    assert outcome_of("refused", "descend").kind == "right"
    assert outcome_of("failing", "descend").kind == "traceback"
    assert outcome_of("unexpected", "descend").kind == "traceback"
    assert outcome_of("sparse embedding", "descend").kind == "refused"


def test_the_page_has_every_task():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name, case in CASES.items() if not case.skip and f"| {name} |" not in text] == []


def test_the_zoo_is_large():
    here = [case for case in CASES.values() if not case.skip]
    assert len(here) >= 45
    assert len(here) * len(VERBS) >= 400

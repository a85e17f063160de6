"""Kinds of task × verbs: each cell is right or refused in words."""

import pytest
import torch

from tests.zoo.case import VERBS
from tests.zoo.cells import outcome_of
from tests.zoo.zoo import CASES


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def test_the_zoo_is_large():
    here = [case for case in CASES.values() if not case.skip]
    assert len(here) >= 45
    assert len(here) * len(VERBS) >= 400

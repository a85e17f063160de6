"""No argument of a public function ends in an error that is not ours."""

import inspect

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.errors import SteepestError
from steepest.runs.run import Run

WRONG = (object(), 1j, b"x", [1, None], range(3), torch.tensor([1.0, 2.0]), {"a": 1}, ("a", 1))
"""Of each kind of value, at least one that an argument cannot have."""
X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def make_task():
    return sd.Task(torch.nn.Linear(5, 2), (X[:40], Y[:40]), cross_entropy, validation=(X[40:], Y[40:]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return sd.fit(make_task(), "adam", 0.01, batch_size=20, epochs=1, runs=folder, locate=False)


def steps_of_descend(task, **arguments):
    return list(sd.descend(task, **arguments))


def calls(run, folder):
    """Functions, and arguments with which they work and return soon."""
    common = {"task": make_task(), "rule": "adam", "lr": 0.01, "batch_size": 20, "steps": 2}
    no_rate = {name: value for name, value in common.items() if name != "lr"}
    return {
        sd.fit: {**common, "runs": folder, "locate": False},
        sd.descend: common,
        sd.find_lr: {**no_rate, "steps": 20},
        sd.race: {"task": make_task(), "rules": ["adam", "momentum"], "seeds": 2, "lr": 0.01, "steps": 2},
        sd.locate: {"task": make_task(), "products": 20, "samples": 40},
        sd.diagnose: {"run": run},
        sd.open: {"run": run.id, "runs": run.store.folder},
        sd.resume: {"run": run, "epochs": 2},
        sd.compare: {"one": run, "other": run},
        sd.stage: {"rule": "adam"},
        sd.play: {"terrain": "bowl", "out": folder / "play.html"},
        sd.watch: {
            "runs": folder,
            "model": (model := torch.nn.Linear(5, 2)),
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        },
        sd.Task: {"model": torch.nn.Linear(5, 2), "data": (X, Y), "loss": cross_entropy},
        Run.film: {"self": run, "out": folder / "film.npz"},
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("k", range(14))
def test_a_wrong_value_is_refused_in_words(k, run, tmp_path):
    function, right = list(calls(run, tmp_path).items())[k]
    refused = 0
    for argument in inspect.signature(function).parameters:
        for value in WRONG if argument != "self" else ():
            call = steps_of_descend if function is sd.descend else function
            try:
                call(**{**right, argument: value})
            except SteepestError:
                refused += 1
    assert refused > len(WRONG) / 2  # the function looks at what it is given


def test_numbers_of_arrays_are_numbers(tmp_path):
    """As a loop over an array of rates or lengths gives them; a record holds Python's."""
    numbers = {"lr": np.float32(0.5), "batch_size": np.int64(20), "epochs": torch.tensor(2), "average": np.float32(0.5)}
    run = sd.fit(
        make_task(), "adam", runs=tmp_path, seed=np.int32(3), measure_every=np.int64(1), locate=False, **numbers
    )
    plain = {"lr": 0.5, "batch_size": 20, "epochs": 2, "average": 0.5}
    same = sd.fit(make_task(), "adam", runs=tmp_path, seed=3, measure_every=1, locate=False, **plain)
    assert run.record.config == same.record.config
    assert len(run.losses) == len(same.losses) == 4

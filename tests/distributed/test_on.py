"""What `on` may be, where there is no cluster."""

import pickle
import sys

import pytest
import torch
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.errors import InputError


def task():
    x = torch.linspace(-1, 1, 400)[:, None]
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), torch.nn.functional.mse_loss)


def searches(on):
    return {
        "find_lr": lambda: sd.find_lr(task(), "adam", steps=10, on=on),
        "race": lambda: sd.race(task(), ["adam", "momentum"], seeds=2, steps=10, on=on),
    }


@pytest.mark.parametrize("verb", searches(None))
@pytest.mark.parametrize(
    ("on", "words"),
    [
        ("dask", "on must be 'ray', or None for this process, got 'dask'. Leave it out to run here."),
        (3, "on must be text, got 3"),
    ],
)
def test_another_place_is_an_error(verb, on, words):
    with pytest.raises(InputError) as raised:
        searches(on)[verb]()
    assert str(raised.value) == words


@pytest.mark.parametrize("verb", searches(None))
def test_without_ray_it_is_said_how_to_install_it(verb, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"ray is not installed. Install it: pip install 'steepest\[ray\]'"):
        searches("ray")[verb]()


@pytest.mark.parametrize("command", ["find-lr digits --steps 10", "race digits --rules adam,momentum --steps 10"])
def test_on_the_command_line(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = CliRunner().invoke(app, [*command.split(), "--on", "ray"])
    assert said.exit_code == 1
    assert "steepest: ray is not installed" in said.output


def test_a_rule_of_a_function_is_pickled_by_its_formula():
    @sd.rule
    def own(w, g, *, lr=0.1):
        return w - lr * g

    kind, arguments = own(lr=0.2).__reduce__()
    assert kind(*arguments) == own(lr=0.2)
    assert pickle.loads(pickle.dumps(sd.momentum(beta=0.5))) == sd.momentum(beta=0.5)

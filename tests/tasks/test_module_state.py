"""Parameters, buffers and extra state are read and written as one; a change of what else a module holds is noticed."""

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.tasks import module_state
from steepest.tasks.module_state import ModuleState, PlainAttributes


class Annealed(nn.Module):
    """A layer, a buffer in and one out of the state dict, and a temperature in its extra state."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("cache", torch.zeros(4), persistent=False)
        self.temperature = 1.0

    def forward(self, x):
        self.temperature *= 0.9 if self.training else 1.0
        self.count += 1
        return self.layer(x) / self.temperature

    def get_extra_state(self):
        return {"temperature": self.temperature, "history": [torch.ones(2)]}

    def set_extra_state(self, state):
        self.temperature = state["temperature"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(Annealed(), nn.BatchNorm1d(2))


def spoil(model):
    with torch.no_grad():
        for x in (*model.parameters(), *model.buffers()):
            x.add_(1)
    model[0].temperature = 7.0


def same(model, state):
    now = module_state.read(model)
    tensors = all(torch.equal(now.tensors[name], x) for name, x in state.tensors.items())
    return tensors and now.extra["0"]["temperature"] == state.extra["0"]["temperature"]


def test_what_is_written_is_what_was_read(model):
    state = module_state.read(model)
    spoil(model)
    assert not same(model, state)
    module_state.write(model, state)
    assert same(model, state)
    assert set(state.buffers) - state.transient == {name for name in model.state_dict() if name in state.buffers}
    assert state.transient == {"0.cache"}


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
def test_a_compiled_model_has_the_names_of_its_module(model):
    compiled = torch.compile(model)
    assert set(module_state.read(compiled).tensors) == set(module_state.read(model).tensors)
    assert set(module_state.read(compiled).extra) == {"0"}


@pytest.mark.parametrize("change", ["another shape", "another name"])
def test_a_state_that_does_not_fit_writes_nothing(model, change):
    before = module_state.read(model)
    parameters = {**before.parameters, "0.layer.bias": torch.zeros(5)}
    if change == "another name":
        parameters = {**before.parameters, "head.weight": torch.zeros(5)}
    parameters["0.layer.weight"] = torch.full((2, 3), 9.0)
    with pytest.raises(sd.TaskError, match="head.weight" if change == "another name" else "0.layer.bias"):
        module_state.write(model, ModuleState(parameters))
    assert same(model, before)


def test_a_block_that_fails_changes_nothing(model):
    model[1].eval()
    model[0].layer.bias.requires_grad_(False)
    before, tensors = module_state.read(model), [*model.parameters(), *model.buffers()]

    def fail():
        spoil(model)
        model.train().requires_grad_(True).double()
        raise KeyError

    with pytest.raises(KeyError), module_state.unchanged_on_error(model):
        fail()
    assert same(model, before)
    assert (model[0].training, model[1].training) == (True, False)
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    now = [*model.parameters(), *model.buffers()]
    assert all(a is b for a, b in zip(now, tensors, strict=True))
    assert {x.dtype for x in now} == {torch.float32, torch.int64}


def test_an_extra_state_that_cannot_be_copied_is_named():
    class Holder(nn.Linear):
        def get_extra_state(self):
            return (x for x in range(3))

    state = module_state.read(nn.Sequential(Holder(2, 2)))
    assert (state.extra, state.lost) == ({}, ("0",))
    assert not module_state.is_storable({"a": [object()]})
    assert module_state.is_storable({"a": (1, None, "b", torch.ones(2)), 3: [True, 2.0]})


# -- Plain attributes --------------------------------------------------------------------------------------------------


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 2, batch_first=True)
        self.hidden = None
        self.calls, self.seen, self.scale = 0, [], 2.0

    def forward(self, x):
        out, hidden = self.rnn(x, self.hidden)
        self.hidden = tuple(h.detach() for h in hidden)
        self.calls += 1
        self.seen.append(len(x))
        return out


def test_attributes_that_change_are_named():
    model = nn.Sequential(Counter())
    before = PlainAttributes.of(model)
    model(torch.ones(2, 5, 3)).sum().backward()
    assert sorted(before.changes(model)) == ["0.calls", "0.hidden", "0.seen"]
    again = PlainAttributes.of(model)
    model[0].hidden[0].add_(1)
    assert again.changes(model) == ["0.hidden"]


LAYERS = {
    "LSTM": lambda: nn.LSTM(3, 2),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()),
    "weight norm": lambda: torch.nn.utils.weight_norm(nn.Linear(3, 3)),
    "spectral norm": lambda: torch.nn.utils.spectral_norm(nn.Linear(3, 3)),
    "a parametrization": lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_torch_keep_nothing_in_attributes(layer):
    model = LAYERS[layer]()
    before = PlainAttributes.of(model)
    for _ in range(2):
        out = model(torch.randn(4, 3))
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        torch.optim.Adam(model.parameters()).step()
        model.zero_grad()
    assert before.changes(model) == []


# -- Task --------------------------------------------------------------------------------------------------------------


def test_a_task_resets_extra_state(model):
    task = sd.Task(model, (torch.ones(20, 3), torch.zeros(20, 2)), nn.functional.mse_loss)
    start = module_state.read(model)
    spoil(model)
    assert same(task.copy(0), start)
    assert same(task.build(0), start)
    spoil(model)
    end = module_state.read(model)
    assert same(task.at(end).build(0), end)


def test_a_task_whose_model_was_rebuilt_asks_for_a_new_task(model):
    task = sd.Task(model, (torch.ones(20, 3), torch.zeros(20, 2)), nn.functional.mse_loss)
    model[1] = nn.BatchNorm1d(5)
    with pytest.raises(sd.TaskError, match=r"of another shape: 1\.weight.* Create a new Task"):
        task.build(0)

"""Where a loop stands in its record, as the optimizer's own `state_dict` carries it.

A user's script saves and restores its weights and its optimizer itself. While an optimizer is watched its `state_dict`
has one key more, in its first param group: the run, the step, and what the guard has learned. A script that restores
the optimizer has thereby restored the place, and the record goes on there exactly, whatever was recorded after it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.optim import Optimizer

MARK = "steepest"
"""The key in the first param group."""


@dataclass(frozen=True)
class Place:
    """A place in a record.

    Attributes:
        run: id of the run.
        t, attempt: the last step before it, and that step's attempt.
        events: number of events until then.
        seconds: that the run has taken.
        guards: the state of each optimizer's guard.
        update_ratio: ‖Δw‖ ÷ lr, when it was last measured.
    """

    run: str
    t: int
    attempt: int = 0
    events: int = 0
    seconds: float = 0.0
    guards: list[dict[str, Any] | None] | None = None
    update_ratio: float = math.nan


def take_place(optimizer: Optimizer) -> Place | None:
    """The place that an optimizer's restored state brought; it is taken out of the param group."""
    group = optimizer.param_groups[0]
    values = group.pop(MARK, None)
    names = {field.name for field in fields(Place)}
    if not isinstance(values, dict) or not {"run", "t"} <= values.keys():
        return None
    return Place(**{name: value for name, value in values.items() if name in names})


def steps_of(optimizer: Optimizer) -> int:
    """The steps that an optimizer's state counts; 0 where it is new, or counts none as SGD."""
    counts = [state["step"] for state in optimizer.state.values() if isinstance(state, dict) and "step" in state]
    return int(max((float(torch.as_tensor(count).max()) for count in counts), default=0))


class PlaceMark:
    """Writes the place into the state_dicts of an optimizer.

    Args:
        optimizer: that is watched.
        place: gives the place now; None for none.
        on_load: is called with a place that is loaded.
    """

    def __init__(
        self, optimizer: Optimizer, place: Callable[[], Place | None], on_load: Callable[[Place], None]
    ) -> None:
        self._place, self._on_load = place, on_load
        self._write_handle = optimizer.register_state_dict_post_hook(self._write)
        self._read_handle = optimizer.register_load_state_dict_post_hook(self._read)

    def _write(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        place = self._place()
        if place is not None and state_dict.get("param_groups"):
            state_dict["param_groups"][0][MARK] = dict(vars(place))

    def _read(self, optimizer: Optimizer) -> None:
        place = take_place(optimizer)
        if place is not None:
            self._on_load(place)

    def end(self, place: Place | None) -> None:
        """Loads are no longer seen, and from now on this place is written; None for none."""
        self._read_handle.remove()
        self._place, self._on_load = (lambda: place), (lambda _: None)
        if place is None:
            self._write_handle.remove()

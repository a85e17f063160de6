"""Which steps every parameter has taken.

A parameter without a gradient does not take the step, so its count of steps, on which bias corrections depend, stays
behind. Parameters that have taken the same steps share a `Clock`; in most trainings there is one for each row of
overrides. The values of a formula that do not depend on weights are computed once per clock.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(eq=False)
class Clock:
    """The count of steps of parameters that share a row of overrides and have taken the same steps.

    Attributes:
        row: the row of overrides.
        lag: steps of the update that these parameters have not taken: an int; with members int64 [K].
        scalars: their slots per member: floats, or float64 [K].
    """

    row: int
    lag: Any
    scalars: list[Any]


class Clocks:
    """The clocks of all parameters of a point.

    Attributes:
        of: the clock of each parameter.
        active: the clocks that run in this step: those of the parameters with a gradient.
        are_rows: whether these are just one clock per row, in the order of the rows, none of which is late.

    Args:
        rows: the row of overrides of each parameter.
        scalars: for each row the slots per member.
    """

    def __init__(self, rows: Sequence[int], scalars: Sequence[list[Any]]) -> None:
        self._row_count = len(scalars)
        clocks = [Clock(row, 0, own) for row, own in enumerate(scalars)]
        self.of = [clocks[row] for row in rows]
        self.run(())

    def run(self, absent: Collection[int]) -> list[int]:
        """Runs the clocks of all parameters but the absent ones; returns each parameter's place in `active`."""
        self.active = list(dict.fromkeys(clock for i, clock in enumerate(self.of) if i not in absent))
        self.are_rows = [c.row for c in self.active] == list(range(self._row_count)) and all(
            isinstance(c.lag, int) and c.lag == 0 for c in self.active
        )
        places = {clock: place for place, clock in enumerate(self.active)}
        return [places.get(clock, 0) for clock in self.of]

    def miss(self, absent: Sequence[int], live: Any) -> None:
        """Stops the clocks of the absent parameters for one step.

        Args:
            absent: places of the parameters.
            live: whether the step is taken, a bool; with members one for each.
        """
        places = set(absent)
        active = {clock for i, clock in enumerate(self.of) if i not in places}
        late: dict[Clock, Clock] = {}
        for i in absent:
            clock = self.of[i]
            if clock not in late:
                late[clock] = Clock(clock.row, clock.lag, list(clock.scalars)) if clock in active else clock
                late[clock].lag = clock.lag + live
            self.of[i] = late[clock]

    def state(self, names: Sequence[str]) -> dict[str, Any]:
        """The `scalars` of all clocks; unless there is one clock per row, the clocks and that of each parameter too."""
        clocks = list(dict.fromkeys(self.of))
        state: dict[str, Any] = {"scalars": [[read(x) for x in clock.scalars] for clock in clocks]}
        if len(clocks) != self._row_count or not self.are_rows:
            places = {clock: place for place, clock in enumerate(clocks)}
            state["clocks"] = [{"row": clock.row, "lag": read(clock.lag)} for clock in clocks]
            state["clock_of"] = dict(zip(names, (places[clock] for clock in self.of), strict=True))
        return state

    def load(self, state: Mapping[str, Any], names: Sequence[str], rows: Sequence[int]) -> None:
        """Restores what `state` returned."""
        scalars = [list(own) for own in state["scalars"]]
        entries = state.get("clocks") or [{"row": row, "lag": 0} for row in range(len(scalars))]
        clocks = [Clock(c["row"], c["lag"], own) for c, own in zip(entries, scalars, strict=True)]
        places = [state["clock_of"][name] for name in names] if "clocks" in state else rows
        self.of = [clocks[place] for place in places]


def read(x: Any) -> Any:
    """The number in a tensor; any other value as it is."""
    return x.item() if isinstance(x, Tensor) else x

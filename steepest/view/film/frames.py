"""Differences between encoded films, which a live page is sent as frames (`page/src/film/fold.ts` folds them).

A frame sets a value at a path of keys (`set`), or appends to it (`append`: lists extend, columns concatenate).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

SET, APPEND = "set", "append"


class Frame(NamedTuple):
    """One change of a film.

    Attributes:
        event: "set" or "append".
        path: keys from the film down to the changed value; for a list, the index as text.
        value: that is put there, or appended.
    """

    event: str
    path: tuple[str, ...]
    value: Any

    @property
    def data(self) -> str:
        """Path and value as JSON."""
        return json.dumps({"path": self.path, "value": self.value}, allow_nan=False)


def frames(before: Any, after: Any) -> list[Frame]:
    """Frames that turn one film into another.

    What only grew is appended to. What changed otherwise is set; where several frames below a key would not be shorter
    than its new value, one frame sets it.

    Args:
        before: the page's film; None where it has none.
        after: the new film.

    >>> frames({"steps": 3, "t": [1, 2]}, {"steps": 3, "t": [1, 2, 5]})
    [Frame(event='append', path=('t',), value=[5])]
    """
    return list(_between(before, after, ()))


def _between(old: Any, new: Any, path: tuple[str, ...]) -> Sequence[Frame]:
    if _is_column(old) and _is_column(new):
        return _column_changes(old, new, path)
    if isinstance(old, dict) and isinstance(new, dict) and list(new)[: len(old)] == list(old):
        return _shorter([f for key in new for f in _child(old, new, key, path)], new, path)
    if isinstance(old, list) and isinstance(new, list) and len(old) <= len(new):
        changes = [f for i, pair in enumerate(zip(old, new)) for f in _between(*pair, (*path, str(i)))]
        rest = [Frame(APPEND, path, new[len(old) :])] if len(new) > len(old) else []
        return _shorter([*changes, *rest], new, path)
    return [] if json.dumps(old) == json.dumps(new) else [Frame(SET, path, new)]


def _child(old: Mapping[str, Any], new: Mapping[str, Any], key: str, path: tuple[str, ...]) -> Sequence[Frame]:
    below = (*path, key)
    return _between(old[key], new[key], below) if key in old else [Frame(SET, below, new[key])]


def _shorter(changes: list[Frame], new: Any, path: tuple[str, ...]) -> list[Frame]:
    """These frames, or one in their place where that is not longer."""
    whole = Frame(SET, path, new)
    return [whole] if len(changes) > 1 and len(whole.data) <= sum(len(f.data) for f in changes) else changes


def _column_changes(old: dict[str, Any], new: dict[str, Any], path: tuple[str, ...]) -> list[Frame]:
    """Appends the rest to a column that begins as the old one; sets any other."""
    before, after = _bytes(old), _bytes(new)
    alike = old["dtype"] == new["dtype"] and old["shape"] and old["shape"][1:] == new["shape"][1:]
    if not (alike and len(before) < len(after) and after.startswith(before)):
        return [] if old == new else [Frame(SET, path, new)]
    rest = base64.b64encode(after[len(before) :]).decode()
    rows = new["shape"][0] - old["shape"][0]
    return [Frame(APPEND, path, {"dtype": new["dtype"], "shape": [rows, *new["shape"][1:]], "data": rest})]


def _is_column(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and list(value) == ["dtype", "shape", "data"]


def _bytes(column: Mapping[str, Any]) -> bytes:
    return base64.b64decode(column["data"])

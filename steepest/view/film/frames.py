"""A film in frames: what a live page is sent. A film is its frames folded (`page/src/film/fold.ts` folds them in the
page).

A frame puts a value at a path of keys (`set`), or adds to what is there (`append`: lists extend, columns concatenate).
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

SET, APPEND = "set", "append"


class Frame(NamedTuple):
    """One change of a film.

    Attributes:
        event: "set" or "append".
        path: keys from the film down to what changes; of a list, the index as text.
        value: what is put there, or added.
    """

    event: str
    path: tuple[str, ...]
    value: Any

    @property
    def data(self) -> str:
        """Path and value as JSON."""
        return json.dumps({"path": self.path, "value": self.value}, allow_nan=False)


def fold(film: Any, frame: Frame) -> Any:
    """The film after one more frame; the film that was given stays as it is.

    Args:
        film: None before the first frame.
        frame: to fold in.

    Raises:
        TypeError: something is appended to what is neither a list nor a column of its kind.

    >>> fold({"steps": 3, "events": ["clip"]}, Frame(APPEND, ("events",), ["rewind"]))
    {'steps': 3, 'events': ['clip', 'rewind']}
    """
    return _placed(film, frame.path, frame)


def frames(before: Any, after: Any) -> list[Frame]:
    """The fewest sensible frames that turn one film into another.

    What only grew is appended to. What changed otherwise is set where it is, and where several frames below a place
    would not be shorter than its new value, that is set in one.

    Args:
        before: the film that is there; None where there is none.
        after: the film that is to be.

    >>> frames({"steps": 3, "t": [1, 2]}, {"steps": 3, "t": [1, 2, 5]})
    [Frame(event='append', path=('t',), value=[5])]
    """
    return list(_between(before, after, ()))


# -- Folding -----------------------------------------------------------------------------------------------------------


def _placed(node: Any, path: tuple[str, ...], frame: Frame) -> Any:
    if not path:
        return frame.value if frame.event == SET else _appended(node, frame.value)
    key, *rest = path
    if isinstance(node, list):
        return [_placed(item, tuple(rest), frame) if i == int(key) else item for i, item in enumerate(node)]
    known = {} if node is None else node
    return {**known, key: _placed(known.get(key), tuple(rest), frame)}


def _appended(old: Any, value: Any) -> Any:
    if isinstance(old, list) and isinstance(value, list):
        return [*old, *value]
    if _is_column(old) and _is_column(value) and old["dtype"] == value["dtype"]:
        rows = old["shape"][0] + value["shape"][0]
        data = base64.b64encode(_bytes(old) + _bytes(value)).decode()
        return {"dtype": old["dtype"], "shape": [rows, *old["shape"][1:]], "data": data}
    raise TypeError(f"append to {json.dumps(old)[:60]}: expected two lists or two columns of one dtype")


# -- Telling apart -----------------------------------------------------------------------------------------------------


def _between(old: Any, new: Any, path: tuple[str, ...]) -> Sequence[Frame]:
    if _is_column(old) and _is_column(new):
        return list(_grown(old, new, path))
    if isinstance(old, dict) and isinstance(new, dict) and list(new)[: len(old)] == list(old):
        return _shorter([f for key in new for f in _child(old, new, key, path)], new, path)
    if isinstance(old, list) and isinstance(new, list) and len(old) <= len(new):
        found = [f for i, pair in enumerate(zip(old, new)) for f in _between(*pair, (*path, str(i)))]
        more = [Frame(APPEND, path, new[len(old) :])] if len(new) > len(old) else []
        return _shorter([*found, *more], new, path)
    return [] if json.dumps(old) == json.dumps(new) else [Frame(SET, path, new)]


def _child(old: Mapping[str, Any], new: Mapping[str, Any], key: str, path: tuple[str, ...]) -> Sequence[Frame]:
    below = (*path, key)
    return _between(old[key], new[key], below) if key in old else [Frame(SET, below, new[key])]


def _shorter(found: list[Frame], new: Any, path: tuple[str, ...]) -> list[Frame]:
    """These frames, or one in their place where that is no longer."""
    whole = Frame(SET, path, new)
    return [whole] if len(found) > 1 and len(whole.data) <= sum(len(f.data) for f in found) else found


def _grown(old: dict[str, Any], new: dict[str, Any], path: tuple[str, ...]) -> Iterator[Frame]:
    """A column that begins as the old one did gets the rest; another is set."""
    if old == new:
        return
    before, after = _bytes(old), _bytes(new)
    alike = old["dtype"] == new["dtype"] and old["shape"] and old["shape"][1:] == new["shape"][1:]
    if alike and len(before) < len(after) and after.startswith(before):
        rest = base64.b64encode(after[len(before) :]).decode()
        rows = new["shape"][0] - old["shape"][0]
        yield Frame(APPEND, path, {"dtype": new["dtype"], "shape": [rows, *new["shape"][1:]], "data": rest})
    else:
        yield Frame(SET, path, new)


def _is_column(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and list(value) == ["dtype", "shape", "data"]


def _bytes(column: Mapping[str, Any]) -> bytes:
    return base64.b64decode(column["data"])

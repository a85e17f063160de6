"""Folds frames into a film, as `page/src/film/fold.ts` does in the page."""

import base64
import json
from typing import Any

from steepest.view.film.frames import SET, Frame, _bytes, _is_column


def fold(film: Any, frame: Frame) -> Any:
    """The film after one more frame. The argument is not changed.

    Raises:
        TypeError: something is appended to what is neither a list nor a column of its kind.
    """
    return _put(film, frame.path, frame)


def _put(node: Any, path: tuple[str, ...], frame: Frame) -> Any:
    if not path:
        return frame.value if frame.event == SET else _append(node, frame.value)
    key, *rest = path
    if isinstance(node, list):
        return [_put(item, tuple(rest), frame) if i == int(key) else item for i, item in enumerate(node)]
    known = {} if node is None else node
    return {**known, key: _put(known.get(key), tuple(rest), frame)}


def _append(old: Any, value: Any) -> Any:
    if isinstance(old, list) and isinstance(value, list):
        return [*old, *value]
    if _is_column(old) and _is_column(value) and old["dtype"] == value["dtype"]:
        rows = old["shape"][0] + value["shape"][0]
        data = base64.b64encode(_bytes(old) + _bytes(value)).decode()
        return {"dtype": old["dtype"], "shape": [rows, *old["shape"][1:]], "data": data}
    raise TypeError(f"append to {json.dumps(old)[:60]}: expected two lists or two columns of one dtype")

"""A comparison encoded for the page; its type is `Comparison` in `page/src/compare/comparison.ts`."""

import math
from typing import Any

from steepest.records.comparison import EndComparison, GroupEnd, Pair


def encode_comparison(ends: EndComparison) -> dict[str, Any]:
    """How runs ended, as the page reads it. JSON has no infinity: what is not finite is null."""
    return {
        "metric": ends.metric, "unit": ends.unit, "better": ends.better or None, "samples": ends.samples,
        "basis": ends.basis, "scale": ends.scale, "note": ends.note, "advice": ends.advice, "command": ends.command,
        "groups": [_group(group) for group in ends.groups], "pairs": [_pair(pair) for pair in ends.pairs],
        "tiers": [list(tier) for tier in ends.tiers],
        "differing": [{"name": name, "values": list(values)} for name, values in ends.differing], "same": ends.same,
    }  # fmt: skip


def _group(group: GroupEnd) -> dict[str, Any]:
    numbers = {"value": _finite(group.value), "lo": _finite(group.low), "hi": _finite(group.high)}
    return {"label": group.label, "runs": list(group.runs), **numbers, "text": group.text}


def _pair(pair: Pair) -> dict[str, Any]:
    numbers = {"value": _finite(pair.value), "lo": _finite(pair.low), "hi": _finite(pair.high)}
    words = {"result": pair.result, "text": pair.text, "interval": pair.interval}
    return {"one": pair.one, "other": pair.other, **numbers, **words}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

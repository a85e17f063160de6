"""In which settings runs differ, and in which not; and by which they are told apart."""

from collections.abc import Callable, Sequence

from steepest.records.run import Record
from steepest.view.format import number
from steepest.view.plain_text import shell_word

Groups = Sequence[Sequence[Record]]
Settings = tuple[tuple[str, tuple[str, ...]], ...]
NONE = "–"
MINOR = ("eps", "delta", "power", "dampening")
"""Hyperparameters that hardly anybody sets."""
VERSIONS = ("steepest", "torch", "python", "platform", "processor")


def compare_settings(groups: Groups) -> tuple[Settings, str]:
    """The settings that differ, one text per group; and a sentence with the others.

    Args:
        groups: of runs that differ in their seeds.
    """
    tables = [_settings(group) for group in groups]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    rows = {key: tuple(table.get(key) or NONE for table in tables) for key in keys}
    differing = tuple((key, row) for key, row in rows.items() if len(set(row)) > 1 and not _is_only_named(key, row))
    same = [_in_words(key, row[0]) for key, row in rows.items() if len(set(row)) == 1 and row[0] != NONE]
    how_many = {2: "both", 3: "all three", 4: "all four", 5: "all five", 6: "all six"}.get(len(groups), "all")
    return differing, f"The same in {how_many}: {', '.join(filter(None, same))}." if same else ""


def _is_only_named(key: str, row: Sequence[str]) -> bool:
    """Whether something minor differs only because some rules lack it, or some runs do not say it."""
    return key in (*MINOR, *VERSIONS, "data") and len(set(row) - {NONE}) == 1


def _settings(group: Sequence[Record]) -> dict[str, str]:
    """The settings of a group as text, in the order in which people ask for them."""
    record, config = group[0], group[0].config
    hypers = dict(config.stages[0].hypers or {}) if config.stages else {}
    betas = [number(v) for k, v in hypers.items() if k.startswith("beta") and isinstance(v, int | float)]
    others = {
        k.replace("_", " "): v if isinstance(v, str) else number(v)
        for k, v in hypers.items()
        if k != "lr" and not k.startswith("beta") and isinstance(v, int | float | str) and v not in (0, 0.0, "")
    }
    return {
        "task": config.task, "weights": f"{config.weights:,}" if config.weights else "", "rule": rule_name(record),
        "lr": "" if config.lr is None else number(config.lr), "β": ", ".join(betas), **others,
        "batch": {None: "", "full": "all samples"}.get(config.batch_size, str(config.batch_size)),
        "epochs": str(config.epochs or ""), "steps": f"{config.steps:,}" if config.steps and not config.epochs else "",
        "schedule": config.schedule.replace(">>", "»"), "seed": ", ".join(str(r.config.seed) for r in group),
        "clip": _text(config.clip), "average": _text(config.average), "precision": config.precision or "",
        "accumulate": str(config.accumulate) if config.accumulate > 1 else "",
        "kept point": config.keep if config.keep != "last" else "",
        "guard": "on" if config.guard else "off", "device": config.device,
        "start": config.start if config.start != "the task's" else "", "data": config.data,
        **{name: str(record.versions.get(name, "")) for name in VERSIONS},
    }  # fmt: skip


def _text(value: float | None) -> str:
    return "" if value is None else number(value)


def _in_words(key: str, text: str) -> str:
    """A setting that is the same in all; what nobody asks for is left out."""
    if key in (*VERSIONS, *MINOR, "data"):
        return ""
    if key == "seed" and "," in text:
        return f"seeds {text}"
    if key in ("weights", "epochs", "steps"):
        return f"{text} {key}"
    return text if key in ("rule", "schedule") else f"{key} {text}"


def rule_name(record: Record) -> str:
    """The update rule in words, or those of the stages."""
    return record.config.rules.replace("_", " ")


# -- Names -------------------------------------------------------------------------------------------------------------


def labels(groups: Groups) -> list[str]:
    """What to call groups: by their names, their rules, or the one setting that tells them apart; else by their ids."""
    first = [group[0] for group in groups]
    ways: list[Callable[[Record], str]] = [
        lambda r: "" if r.name == r.config.task else r.name,
        rule_name,
        lambda r: r.name,
        lambda r: "" if r.config.lr is None else f"lr {number(r.config.lr)}",
        lambda r: f"{rule_name(r)}, lr {number(r.config.lr or 0.0)}",
        lambda r: f"batch {r.config.batch_size}",
        lambda r: f"seed {r.config.seed}",
        lambda r: r.config.schedule.replace(">>", "»"),
    ]
    for way in ways:
        names = [way(record) for record in first]
        if all(names) and len(set(names)) == len(names):
            return names
    return [record.id for record in first]


def command(groups: Groups, which: Sequence[int], seeds: int) -> str:
    """A command that compares groups over several seeds; "" where there is none.

    Args:
        groups: of runs.
        which: places of the groups.
        seeds: of each.
    """
    configs = [groups[i][0].config for i in which]
    first = configs[0]
    rules = [config.stages[0].rule if config.stages else config.rule for config in configs]
    sizes = [config.batch_size for config in configs]
    source = shell_word(first.source) if first.source else ""
    if not source or len({config.source for config in configs}) > 1:
        return ""
    tail = f" --epochs {first.epochs}" if first.epochs and len({c.epochs for c in configs}) == 1 else ""
    base = f"steepest race {source}"
    if len(set(rules)) == len(rules) and len(set(sizes)) == 1:
        return f"{base} --rules {shell_word(','.join(rules))} --seeds {seeds}{tail}"
    if len(set(rules)) == 1 and len(set(sizes)) == len(sizes) and None not in sizes:
        batch_sizes = shell_word(",".join(map(str, sizes)))
        return f"{base} --rules {shell_word(rules[0])} --batch-sizes {batch_sizes} --seeds {seeds}{tail}"
    return ""

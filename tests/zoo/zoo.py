"""All cases by name, in the order of the table."""

import importlib

from tests.zoo.case import Case

MODULES = ("basic", "images", "sequences", "losses", "layers", "sources", "numbers")


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name in MODULES:
        for case in importlib.import_module(f"tests.zoo.tasks_{name}").CASES:
            assert case.name not in cases, case.name
            cases[case.name] = case
    return cases


CASES = _cases()
FAMILIES = {
    name: [case.name for case in importlib.import_module(f"tests.zoo.tasks_{name}").CASES] for name in MODULES
}  # fmt: skip

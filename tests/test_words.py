"""Ratchets of the language: names are nouns and verbs, a constant's name has one meaning, errors have one form."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import steepest as sd
from tests.test_house import tree_of

PACKAGE = Path(sd.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


IRREGULAR = words_of(
    """
    beaten become begun bent bitten blown borne bought broken brought built caught chosen done drawn driven eaten
    fallen felt forgotten fought found frozen given gone grown heard held hidden kept known laid leapt lent lost
    made meant met paid put risen said seen sent shown slept sold spent spun stolen struck stuck swept sworn taken
    taught thought thrown told torn understood withdrawn won worn woven written
    """
)
NOUNS = words_of(
    """
    bed bound building ceiling damping embed embedding engineering evening feed finding framing heading king leading
    left lightning mapping morning need nested nothing padding red ring rounding seed setting shading signed
    ending smoothing something spacing speed spring string thing timing training warning wing
    """
)
"""Nouns and adjectives that end as participles do."""
PREDICATES = ("is", "has", "can", "does", "was")
PUBLIC = {"named", "reached", "differing", "lost", "rewinding"}
"""Space.named, Curve.reached, Comparison.differing, and arguments of Guard.rewound and Guard.load_state_dict."""
KINDS = words_of(
    "BATCHED CONVERGED DESCENDING DIVERGED EXPLODING FAILED FORGETTING NOISE_LIMITED OSCILLATING OVERFITTING UNDECIDED"
)
"""Constants that hold a word which people see: kinds of verdicts, diagnoses, results and strategies."""
OTHER = {"why_not_batched", "MUTED", "casing", "dampening", "hooked"} | {"connection_made", "connection_lost"}
"""A question, a colour, the outline of a path, two names of torch, and two of asyncio."""


def words(name: str) -> list[str]:
    parts = (part for part in name.split("_") if part)
    return [w.lower() for part in parts for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]


def is_participle(name: str) -> bool:
    """Whether the head of a name, its last word, is a participle; a predicate (`is_sorted`) may be one.

    >>> [is_participle(n) for n in ("found", "batches_seen", "is_sorted", "seen_batches", "seed", "Descending")]
    [True, True, False, False, False, True]
    """
    parts = words(name)
    if not parts or parts[0] in PREDICATES or parts[-1] in NOUNS:
        return False
    return parts[-1] in IRREGULAR or (len(parts[-1]) > 3 and parts[-1].endswith(("ed", "ing")))


def names_in(tree: ast.Module):
    """Names of functions, classes, parameters, variables and attributes that a file defines."""
    fields = {
        id(part.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_names_are_nouns_and_verbs(path):
    odd = [f"{name} (line {line})" for name, line in names_in(tree_of(path)) if is_participle(name)]
    assert not is_participle(path.stem)
    assert [name for name in odd if name.split()[0] not in PUBLIC | KINDS | OTHER] == []


def test_a_constant_has_one_meaning():
    homes = defaultdict(set)
    for path in FILES:
        for node in tree_of(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in (part for whole in targets for part in ast.walk(whole)):
                if isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_"):
                    homes[target.id].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(where) for name, where in homes.items() if len(where) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_errors_say_must_be_and_got(path):
    assert re.findall(r"is given;|; expected (?:is|are)|expected is", path.read_text()) == []

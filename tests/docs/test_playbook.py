"""The playbook: one page per symptom, each with its test, its neighbours, a cure that is measured, and a picture."""

import ast
import json
import re

import pytest

from docs.extension.plays import FILMS
from docs.figures import films, paper, playbook
from docs.figures.__main__ import main
from steepest.analysis.diagnosis.findings import CANNOT_TELL, DIAGNOSIS_HEADLINES, HEALTHY, PLAYBOOK_TITLES, TOO_SHORT
from tests.docs.test_pages import BLOCK, LINK, PAGES, heading_id
from tests.test_words import words_of

SYMPTOMS = {name.removeprefix("playbook/").removesuffix(".md") for name in PAGES if name.startswith("playbook/")}
INDEX = PAGES["playbook.md"]
FORMER_HEADINGS = words_of(
    """
    the-loss-is-nan-or-infinite-from-the-first-step the-loss-explodes the-loss-falls-too-slowly
    the-loss-does-not-move-at-all the-gradient-is-exactly-zero the-loss-stays-the-same-to-the-last-digit
    the-loss-falls-and-then-stays-above-its-floor
    it-learns-the-training-data-and-nothing-else the-training-loss-falls-the-validation-loss-never-did
    the-loss-gets-better-and-the-metric-worse a-few-samples-ruin-it two-runs-of-the-same-thing-differ
    a-training-cannot-even-begin after-an-interruption-the-run-is-another-one
    nothing-is-wrong-and-the-loss-is-still-high
    """
)
"""Anchors of the page that had all symptoms."""


def page(name):
    return PAGES[f"playbook/{name}.md"]


def title(name):
    return page(name).partition("\n")[0].removeprefix("# ")


@pytest.mark.parametrize("name", sorted(SYMPTOMS))
def test_a_page_has_a_test_neighbours_a_cure_and_a_picture(name):
    text = page(name)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Test", "Cure", "Prevent"]
    assert "|---|---|" in text
    assert f"pictures/playbook-{name}.svg" in text
    assert f"`python -m docs.figures playbook/{name}`" in text
    cure = text.partition("## Cure")[2]
    assert "```python" in cure
    output = re.findall(r"^(?!>>>|\.\.\.|```)\S.*$", "".join(BLOCK.findall(cure)), re.MULTILINE)
    assert re.search(r"\d", "".join(output))


@pytest.mark.parametrize("name", sorted(SYMPTOMS))
def test_a_pages_picture_shows_its_own_runs(name):
    names = {
        node.id
        for example in playbook.code(name)
        for node in ast.walk(ast.parse(example.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert {variable.partition("[")[0] for variable in playbook.PICTURES[name].runs.values()} <= names


def test_the_index_names_each_symptom_once_by_its_title():
    links = re.findall(r"\| \[([^\]]*)\]\(playbook/([\w-]+)\.md\) \|", INDEX)
    assert sorted(links) == sorted((title(name), name) for name in SYMPTOMS)
    assert playbook.PICTURES.keys() == SYMPTOMS
    assert len(SYMPTOMS) >= 15


def test_each_kind_of_diagnosis_has_its_page():
    assert PLAYBOOK_TITLES.keys() == DIAGNOSIS_HEADLINES.keys() - {HEALTHY, TOO_SHORT, CANNOT_TELL}
    for kind, words in PLAYBOOK_TITLES.items():
        assert re.search(rf'\| "{kind}" \| \[{words}\]', INDEX), kind


def test_links_to_the_page_that_had_all_symptoms_still_lead_to_them():
    headings = [heading_id(text) for text in re.findall(r"^#+ (.*)$", INDEX, re.MULTILINE)]
    anchors = re.findall(r'<span id="([\w-]+)"></span>', INDEX)
    assert sorted(anchors) == sorted(FORMER_HEADINGS)
    assert set(anchors).isdisjoint(headings)


def test_pages_lead_to_each_other():
    linked = {target.partition(".md")[0] for name in SYMPTOMS for _, target in LINK.findall(page(name))}
    assert SYMPTOMS - linked <= {"refused", "resume", "seeds", "batch-size", "fine-tuning", "softmax-twice"}


@pytest.mark.slow
def test_a_picture_and_its_film_are_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paper, "FOLDER", tmp_path)
    monkeypatch.setattr(films, "FILMS", tmp_path)
    monkeypatch.setattr("docs.figures.stills.DOCS", tmp_path / "docs")
    main(["playbook/plateau"])
    made = {"playbook-plateau.svg", "playbook-plateau-dark.svg", "playbook-plateau.json"}
    assert {path.name for path in tmp_path.iterdir()} == made
    assert sum(line.endswith("kB") for line in capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("name", sorted(SYMPTOMS))
def test_a_page_has_the_film_of_its_run(name):
    """It has the length that the picture of the same run has."""
    film = json.loads((FILMS / f"playbook-{name}.json").read_text(encoding="utf-8"))
    assert film["headline"]
    assert len(film["members"]) == 1
    steps = re.findall(r"after ([\d,]+) steps", film["headline"])
    assert all(int(n.replace(",", "")) == film["steps"] for n in steps)
    without = {"own-loop", "frozen-rate"}  # of loops of one's own, whose model and data are not recorded
    assert bool(film["surfaces"]) is (name not in without)

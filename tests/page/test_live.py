"""A run that another process trains, watched in a real browser from its first step to its surfaces."""

import re
import subprocess
import sys
import time

import httpx
import pytest

from steepest.analysis.conclusion import run_verdict
from steepest.runs.film import stored_surfaces
from steepest.runs.store import Store
from steepest.view.film import document, film
from steepest.view.film.frames import Frame
from tests.page import boxes
from tests.page.test_page import SERIOUS, at_step, films, headline, says
from tests.runs.server.conftest import ended, serving
from tests.view.film.fold import fold

pytestmark = pytest.mark.slow

TRAINING = """
import sys, time
from pathlib import Path
import torch
import steepest as sd

folder = Path(sys.argv[1])

def gate(output, target):
    '''Waits after the third epoch until it may go on; the first time is before the first step.'''
    gate.count += 1
    while gate.count == 4 and not (folder / "go").exists():
        time.sleep(0.01)
    return -torch.nn.functional.mse_loss(output, target)

gate.count = 0
torch.manual_seed(0)
x = torch.linspace(-1, 1, 80)[:, None]
net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
task = sd.Task(net, (x, x**2), torch.nn.functional.mse_loss, validation=(x, x**2), metrics={"closeness": gate})
run = sd.fit(task, "adam", 0.01, batch_size=20, epochs=12, runs=folder / "runs", name="live", live=True)
run.film(folder / "film.html", planes=["principal"])
sys.stdin.read()
"""
RECORD = """
window.frames_seen = [];
window.EventSource = class extends EventSource {
  constructor(url) {
    super(url);
    for (const event of ['set', 'append']) this.addEventListener(event, m => frames_seen.push([event, m.data]));
  }
};
"""


@pytest.fixture
def training(tmp_path):
    """A process that trains, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()
        yield process, re.search(r"http://\S+", line)[0]
    finally:
        (tmp_path / "go").touch()
        process.stdin.close()
        process.wait(60)
        process.stderr.close()


def measured(page):
    """Rows of the hidden table, which has the curves in numbers."""
    return page.locator("table tbody tr").all_inner_texts()


def test_a_run_is_watched_while_it_trains(opened, training, tmp_path):
    process, url = training
    context = opened.browser.new_context(viewport={"width": 1180, "height": 720}, reduced_motion="reduce")
    opened.contexts.append(context)
    context.add_init_script(RECORD)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.goto(url)
    says(page, "step 12 of 48")
    at_step(page, 12)
    assert page.locator(".clock").inner_text().split() == ["12", "of", "48", "steps,", "live"]
    before = measured(page)
    (tmp_path / "go").touch()
    at_step(page, 48)
    page.wait_for_selector(".stage")  # the surfaces, once they are made
    page.wait_for_function("!document.querySelector('.clock').innerText.includes('live')")
    after = measured(page)
    assert before != after
    store = Store(tmp_path / "runs")
    (run,) = store.names()
    history = store.history(run)
    verdict = run_verdict(history.record)
    expected = document.encode(film.of_run(history, stored_surfaces(store, run), verdict))
    assert list(expected["surfaces"]) == ["principal"]
    state = None
    for event, data in page.evaluate("frames_seen"):
        data = films.json.loads(data)
        state = fold(state, Frame(event, tuple(data["path"]), data["value"]))
    assert films.json.dumps(state) == films.json.dumps(expected)
    assert headline(page).split() == expected["headline"].split()
    assert page.evaluate("performance.getEntriesByType('resource').length") <= 1  # the stream
    process.stdin.close()
    assert ends(url), "the server goes on without the process that it was begun by"


def test_a_film_in_a_file_leads_nowhere(opened):
    page = opened(films.run())
    assert page.get_by_role("link", name="All runs").count() == 0


def ends(url, within=30.0):
    """Whether a server stops answering."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            httpx.get(url)
        except httpx.TransportError:
            return True
        time.sleep(0.1)
    return False


# -- The list ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1180, "light"), (420, "dark")])
def test_runs_are_chosen_from_a_list_and_compared(browser, axe, tmp_path, width, scheme):
    store = Store(tmp_path)
    runs = [ended(store, "one", 40), ended(store, "two", 30)]
    with serving(store) as served:
        size = {"width": width, "height": 720}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        said = []
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"http://127.0.0.1:{served.port}/")
        found = boxes.violations(page, axe)
        assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found if v["impact"] in SERIOUS] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        dark = scheme == "dark"
        paper = "rgb(15, 19, 23)" if dark else "rgb(250, 248, 243)"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        assert page.evaluate("document.fonts.check('20px \"Steepest Serif\"')")
        for run in runs:
            page.get_by_label(f"compare {run}").check()
        page.get_by_role("button", name="Compare").click()
        page.wait_for_selector("html[data-ready]")
        assert headline(page).replace("\u00a0", " ") == "Validation accuracy: one 97.5 %, two 96.7 %."
        assert page.locator(".pair").count() == 1
        page.get_by_role("link", name="All runs").click()
        page.get_by_role("link", name=runs[0], exact=True).click()
        page.wait_for_selector("html[data-ready]")
        assert headline(page).startswith("97.5 % validation accuracy")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = boxes.violations(page, axe)
        assert [v["id"] for v in found if v["impact"] in SERIOUS] == []
        page.get_by_role("link", name="All runs").click()
        page.wait_for_url(f"http://127.0.0.1:{served.port}/")
        context.close()
    assert said == []

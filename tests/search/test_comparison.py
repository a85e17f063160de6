"""Comparisons of how runs ended: a winner only where an interval excludes no difference, ties without an order."""

import math
from itertools import permutations

import numpy as np
import pytest

from steepest.records.comparison import ENDS_HIGHER, ENDS_LOWER, NO_INTERVAL, TIE
from steepest.records.config import Config, StageConfig
from steepest.records.run import Measurement, Record, Steps
from steepest.records.shares import difference_of_shares, wilson
from steepest.search.comparison import by_settings, compare_ends


def a_run(value, rule="adam", metric="accuracy", samples=144, better="higher", seed=0, status="done", **settings):
    """A run that ended at a value, after a measurement of a share in between."""
    config = Config(
        **{
            "task": "digits", "source": "digits", "rule": rule, "stages": (StageConfig(rule),), "lr": 0.1,
            "metric": metric, "better": better, "seed": seed, "validation_samples": samples, "steps": 20,
        } | settings
    )  # fmt: skip
    between = [Measurement(10, 1.0, "validation", metric, 0.5)]
    end = [] if value is None else [*between, Measurement(20, 2.0, "validation", metric, value)]
    steps = Steps.of([])
    name = settings.get("name", "digits")
    return Record(f"{rule}-{seed}", name, status, "2026-01-01", 1.0, config, {}, steps, tuple(end))


def compared(*values, rules=("momentum", "adam", "gradient_descent", "lion"), **settings):
    return compare_ends([[a_run(v, rule, **settings)] for v, rule in zip(values, rules)])


# -- Single runs -------------------------------------------------------------------------------------------------------


def test_two_that_tie_and_one_below():
    ends = compared(141 / 144, 140 / 144, 125 / 144)
    assert ends.headline == "Momentum and adam tie at 97.2–97.9 %; gradient descent ends 10 points lower."
    assert [p.result for p in ends.pairs] == [TIE, ENDS_HIGHER, ENDS_HIGHER]
    assert (ends.pairs[0].text, ends.pairs[0].interval) == ("+0.7", "−4.8 to 6.4")
    assert ends.tiers == ((0, 1), (2,))
    assert ends.command == "steepest race digits --rules momentum,adam --seeds 8"
    assert "leave out" in ends.note
    assert "144 validation samples" in ends.note


@pytest.mark.parametrize(
    ("source", "word"),
    [("my task.py", "'my task.py'"), ("x.py; rm -rf ~", "'x.py; rm -rf ~'"), ("$(id).py", "'$(id).py'"),
     ("a`b`.py", "'a`b`.py'"), ("it's.py", "'it'\"'\"'s.py'"), ("a\nb.py", ""), ("\u202eyp.x", "")],
)  # fmt: skip
def test_a_command_that_is_copied_runs_nothing_else(source, word):
    ends = compared(141 / 144, 140 / 144, source=source)
    assert ends.command == (f"steepest race {word} --rules momentum,adam --seeds 8" if word else "")
    hostile = compared(141 / 144, 140 / 144, rules=("a;id", "b"))
    assert hostile.command == "steepest race digits --rules 'a;id,b' --seeds 8"


def test_the_intervals_of_all_pairs_hold_together():
    three, two = compared(141 / 144, 140 / 144, 125 / 144), compared(141 / 144, 140 / 144)
    assert three.pairs[0].low < two.pairs[0].low
    low, high = difference_of_shares(140 / 144, 141 / 144, 144, 0.05 / 3)
    assert (three.pairs[0].low, three.pairs[0].high) == (low, high)
    assert (three.groups[0].low, three.groups[0].high) == wilson(141, 144)


@pytest.mark.parametrize("values", list(permutations([0.97, 0.96, 0.75])))
def test_ties_have_no_order_in_words(values):
    """Whatever the values, those that tie are named in the order in which they were given."""
    counts = [round(v * 100) / 100 for v in values]
    ends = compared(*counts, samples=100)
    below = counts.index(0.75)
    names = ["momentum", "adam", "gradient descent"]
    ties = [name for i, name in enumerate(names) if i != below]
    words = f"{ties[0]} and {ties[1]} tie at 96.0–97.0 %; {names[below]} ends 21 points lower."
    assert ends.headline.lower() == words


@pytest.mark.parametrize(
    ("values", "better", "words"),
    [
        ((0.9, 0.7), "higher", "Momentum ends 20.0 points of accuracy above adam (95 % interval 9.0 to 30.6)."),
        ((0.7, 0.9), "higher", "Adam ends 20.0 points of accuracy above momentum (95 % interval 9.0 to 30.6)."),
        ((0.9, 0.7), "lower", "Adam ends 20.0 points of accuracy below momentum (95 % interval 9.0 to 30.6)."),
        ((0.9, 0.89), "higher", "Momentum and adam tie at 89.0–90.0 %."),
        ((0.9, 0.9), "higher", "Momentum and adam tie at 90.0 %."),
        ((1.0, 1.0), "higher", "Momentum and adam tie at 100 %."),
        (
            (0.9, 0.7, 0.4), "higher",
            "Momentum ends best, at 90.0 %; adam ends next, at 70.0 %; gradient descent ends 30 points lower.",
        ),
        ((0.9, 0.7, 0.71), "higher", "Momentum ends best, at 90.0 %; adam and gradient descent tie at 70.0–71.0 %."),
        ((0.9, 0.8, 0.7), "higher", "Momentum ends higher than gradient descent; the other pairs tie."),
        ((0.9, 0.89, 0.91, 0.88), "higher", "All four tie at 88.0–91.0 %."),
    ],
)  # fmt: skip
def test_headlines(values, better, words):
    assert compared(*values, samples=100, better=better).headline == words


def test_with_many_pairs_the_headline_counts():
    rules = ("a", "b", "c", "d", "e", "f")
    ends = compared(*(k / 144 for k in (141, 140, 125, 16, 137, 141)), rules=rules)
    assert sum(p.result != TIE for p in ends.pairs) == 8
    assert ends.headline == "None ends higher than all others: 8 of 15 pairs differ; d ends lowest."


def test_a_metric_that_is_no_share_has_no_winner():
    ends = compared(0.0807, 0.0782, 0.646, metric="rmse", better="lower", samples=None)
    assert ends.headline == "Validation rmse: momentum 0.0807, adam 0.0782, gradient descent 0.646."
    assert {p.result for p in ends.pairs} == {NO_INTERVAL}
    assert ends.pairs[0].text == "+0.0025"
    assert ends.tiers == ()
    assert "One run each cannot separate this from seed-to-seed variation" in ends.sentence
    assert "ends best" not in ends.sentence


def test_equal_values_without_an_interval():
    ends = compared(0.25, 0.25, metric="rmse", samples=None)
    assert ends.headline == "Both runs end at the same validation rmse, 0.25."


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((math.nan, 0.9), "Momentum diverged; adam at 90.0 %."),
        ((0.9, math.inf), "Adam diverged; momentum at 90.0 %."),
        ((math.nan, math.nan), "Both runs diverged: momentum and adam."),
        ((math.nan, -math.inf, math.nan), "All three runs diverged: momentum, adam and gradient descent."),
    ],
)
def test_who_diverged_is_named_and_nobody_wins(values, words):
    ends = compared(*values)
    assert ends.headline == words
    assert not {p.result for p in ends.pairs} & {ENDS_HIGHER, ENDS_LOWER}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"metric": "f1"}, "The runs have different metrics"), ({"better": "lower"}, "The runs have different metrics"),
        ({"task": "ball"}, "The runs are of different tasks"), ({"data": "other"}, "trained on different data"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_not(changed, words):
    one = a_run(0.9, "adam", data="1,293 samples")
    ends = compare_ends([[one], [a_run(0.8, "lion", **changed)]])
    assert words in ends.headline
    assert {p.result for p in ends.pairs} == {NO_INTERVAL}
    assert (ends.metric, ends.command) == ("", "")


def test_a_run_that_goes_on_is_ahead_of_nobody_for_good():
    ends = compare_ends([[a_run(0.9, "adam", status="running")], [a_run(0.5, "lion")]])
    assert "so far" in ends.headline
    assert ends.is_live
    nothing = compare_ends([[a_run(None, "adam", status="running")], [a_run(None, "lion", status="running")]])
    assert nothing.headline == "No run has measured the validation accuracy yet."


# -- Groups of several seeds -------------------------------------------------------------------------------------------


def seeds(rule, values, **settings):
    return [a_run(v, rule, seed=i, **settings) for i, v in enumerate(values)]


def test_groups_have_students_intervals_over_seeds():
    ends = compare_ends([seeds("momentum", [0.97, 0.98, 0.99]), seeds("adam", [0.86, 0.87, 0.88])])
    assert ends.basis == "seeds"
    assert ends.groups[0].value == pytest.approx(0.98)
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # Student's quantile with 2 degrees of freedom
    assert ends.groups[0].low == pytest.approx(0.98 - half)
    assert ends.headline == "Momentum ends 11.0 points of accuracy above adam (95 % interval 8.7 to 13.3)."
    assert ends.command == ""
    assert "3 seeds each" in ends.note


def test_losses_of_groups_are_compared_as_ratios():
    groups = [seeds("adam", [0.1, 0.11, 0.09], metric="loss", better="lower", samples=None),
              seeds("lion", [0.2, 0.21, 0.19], metric="loss", better="lower", samples=None)]  # fmt: skip
    ends = compare_ends(groups)
    assert ends.scale == "log"
    assert ends.pairs[0].value == pytest.approx(0.5, rel=0.05)
    assert ends.pairs[0].result == ENDS_LOWER
    assert ends.headline.startswith("Adam ends at 0.5× the loss of lion (95 % interval 0.4")


def test_seeds_that_overlap_tie():
    ends = compare_ends([seeds("adam", [0.9, 0.92, 0.94]), seeds("lion", [0.91, 0.93, 0.92])])
    assert ends.headline.startswith("Adam and lion tie at 92.0 %")
    assert ends.pairs[0].result == TIE
    assert ends.advice == "More seeds narrow the intervals."


def test_diverging_seeds_are_ranked_worst():
    worse = seeds("lion", [math.nan, math.inf, math.nan, math.nan, math.nan])
    ends = compare_ends([seeds("adam", [0.9, 0.91, 0.92, 0.93, 0.94]), worse])
    assert ends.pairs[0].result == ENDS_HIGHER
    assert ends.pairs[0].low is None
    assert ends.headline.startswith("Lion diverged")


def test_runs_are_grouped_by_all_but_their_seeds():
    runs = [*seeds("adam", [0.9, 0.8]), *seeds("lion", [0.7, 0.6])]
    assert [len(group) for group in by_settings(runs)] == [2, 2]
    assert [len(group) for group in by_settings(runs[:3])] == [1, 1, 1]
    twice = [a_run(0.9, "adam"), a_run(0.9, "adam"), *seeds("lion", [0.7, 0.6])]
    assert [len(group) for group in by_settings(twice)] == [1, 1, 1, 1]
    assert [len(group) for group in by_settings(runs[:2])] == [1, 1]


# -- What differs ------------------------------------------------------------------------------------------------------


def test_settings_that_differ_and_those_that_do_not():
    ends = compare_ends([[a_run(0.9, "adam", lr=0.01)], [a_run(0.8, "adam", lr=0.1, batch_size="full")]])
    assert dict(ends.differing) == {"lr": ("0.01", "0.1"), "batch": ("–", "all samples")}
    assert ends.same.startswith("The same in both: task digits, adam, 20 steps, ")
    assert [g.label for g in ends.groups] == ["lr 0.01", "lr 0.1"]


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ({"rule": "adam"}, {"rule": "gradient_descent"}, ["adam", "gradient descent"]),
        ({"name": "base"}, {"name": "wide"}, ["base", "wide"]),
        ({"lr": 0.1}, {"lr": 0.2}, ["lr 0.1", "lr 0.2"]),
        ({"batch_size": 8}, {"batch_size": 16}, ["batch 8", "batch 16"]),
        ({"seed": 1}, {"seed": 2}, ["seed 1", "seed 2"]),
    ],
)
def test_groups_are_called_by_what_tells_them_apart(one, other, labels):
    records = []
    for given in (one, other):
        name = given.get("name", "digits")
        record = a_run(0.9, **{k: v for k, v in given.items() if k != "name"})
        records.append(record.__class__(**{**vars(record), "name": name}))
    assert [g.label for g in compare_ends([[record] for record in records]).groups] == labels


# -- Intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "samples"), [(0.5, 40), (0.95, 40), (0.99, 144)])
def test_intervals_of_shares_cover(share, samples):
    """Over what the samples may have been, Wilson's and Newcombe's intervals cover in about 95 %."""
    counts = np.arange(samples + 1)
    weights = np.array([math.comb(samples, k) * share**k * (1 - share) ** (samples - k) for k in counts.tolist()])
    cover = [low <= share <= high for low, high in (wilson(k, samples) for k in counts.tolist())]
    assert 0.90 < weights @ cover < 0.99
    few = [k for k in counts.tolist() if weights[k] > 1e-4]
    both = sum(
        weights[a] * weights[b]
        for a in few
        for b in few
        if (ends := difference_of_shares(a / samples, b / samples, samples))[0] <= 0 <= ends[1]
    )
    assert 0.93 < both <= 1.0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_intervals_stay_within_shares(share):
    low, high = wilson(share * 10, 10)
    assert 0 <= low < high <= 1

"""Claims that may not stand together: read off the words, and none is said of many trainings."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.diagnosis import contradictions as trainings
from steepest.analysis import contradictions as said
from steepest.analysis.conclusion import conclude, diagnose
from steepest.analysis.contradictions import PAIRS, Claim, contradictions, finding_claims, text_claims, verdict_claims
from steepest.analysis.diagnosis.diagnose import diagnose_record
from steepest.analysis.location.verdict import VERDICT_ADVICE
from steepest.records import verdict as kinds
from steepest.records.config import Config
from steepest.records.path import Path
from steepest.records.run import Event, History, Record, Steps
from steepest.records.verdict import VERDICT_HEADLINES, Ending, Estimate, Number, Verdict
from steepest.view.film import summary

T = 400
t = np.arange(1.0, T + 1)
SHAPES = {
    "fell": 0.05 + 1.95 * np.exp(-t / 40),
    "falls slowly": 2 - 4e-4 * t,
    "halves late": 2 / np.sqrt(1 + t / 40),
    "never changed": 2 + 0 * t,
    "swings": 1.2 + 0.8 * np.cos(t) * np.exp(-t / 900),
    "rose": 1 + 4 * np.minimum(1, t / 200),
}
GRADIENTS = {"small steps": 0.01, "steps": 1.0, "large steps": 30.0}
GAINS = {"none": None, "a lower rate helps": (0.2, 0.18, 0.22), "it does not": (0.0, -1e-4, 1e-4)}


def record(loss, g, batch, noise, events=()):
    noise = noise * np.random.default_rng(0).standard_normal(T)
    g = np.full(T, g)
    steps = Steps(t, t, np.full(T, 0.1), loss + noise, g, 0.1 * g)
    stage = Config(lr=0.1, batch_size=batch, samples=1000, steps=T, weights=100)
    return Record("digits-28b7", "digits", "done", "", 0.0, stage, {}, steps, (), tuple(events))


def verdict_of(kind, gain):
    ending = None if gain is None else Ending("", Estimate(*gain))
    advice = VERDICT_ADVICE.get(kind, "")
    return Verdict(
        kind, f"{VERDICT_HEADLINES[kind]}: …", advice, (Number("training loss", 1.0, 0.9, 1.1),), 9, (), ending
    )


def every_end():
    rewind = Event(50, "rewind", "the loss doubled", "rewound to step 40")
    records = [
        record(loss, g, batch, noise, events)
        for loss, g, batch, noise, events in itertools.product(
            SHAPES.values(), GRADIENTS.values(), (4, "full"), (0.001, 0.3), ((), (rewind,))
        )
    ]
    can_end = [kind for kind in VERDICT_HEADLINES if kind != kinds.DIVERGED]
    for one, kind, gain in itertools.product(records, can_end, GAINS.values()):
        yield one, verdict_of(kind, gain)


def claims_of(one, verdict, diagnosis):
    history = History(one, {}, Path("run", np.empty((0, 0), np.float32)))
    claims = verdict_claims(verdict)
    claims += itertools.chain.from_iterable(map(finding_claims, diagnosis.findings))
    claims += text_claims("film", summary.headline(history, verdict, live=False))
    return claims + text_claims("film", summary.advice(history, verdict))


def test_no_contradiction_is_said_at_any_end():
    before = 0
    for one, stored in itertools.islice(every_end(), 0, None, 61):
        before += bool(contradictions(claims_of(one, stored, diagnose_record(one))))
        verdict, told = conclude(stored, one), diagnose(replace(one, verdict=stored))
        assert contradictions(claims_of(one, verdict, told)) == [], (stored.kind, verdict, told)
    assert before > 10  # what is said apart does contradict


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 60, 3))
def test_no_contradiction_is_said_of_a_training(number):
    assert contradictions(trainings.claims_of(number)[0]) == []


def test_every_pair_has_a_reason_and_is_recognised():
    for one, other, why in PAIRS:
        assert why
        assert contradictions([Claim("verdict", one), Claim("film", other)])[0][2] == why
    assert len({frozenset(pair[:2]) for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Raise lr, or use a rule that rescales each weight (`adam`).", {said.HIGHER_RATE}),
        ("Try lr = 0.3 to 1 (now 0.1), or measure: `steepest find-lr`.", {said.HIGHER_RATE}),
        ("Try lr = 0.033 to 0.01 (now 0.1), or add a warmup.", {said.LOWER_RATE}),
        ("Restart with a lower lr; `steepest find-lr TASK` measures one.", {said.RESTART}),
        ("Train longer: `--start digits-28b7`, or more `--epochs`.", {said.LONGER}),
        ('Train longer, and let the learning rate decay to 0 at the end (`schedule="cosine"`).', {said.DECAY}),
        ("Next time: `--lr 0.05`, or let it be measured: `--lr auto`.", {said.RESTART}),
        ("97.2 % validation accuracy, and training has converged.", {said.NOTHING_LEFT}),
        ("To test for a minimum run `steepest locate digits-28b7`.", set()),
    ],
)
def test_what_words_say(text, says):
    assert {claim.says for claim in text_claims("film", text)} == says

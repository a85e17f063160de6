"""What is said of one run in several places, as claims, and which claims may not stand together.

The verdict, what a lower rate and longer training would gain, the diagnosis, the search for a rate and the film's words
each say something about one run. `claims` reads it off their kinds, and off the words of their advice; `PAIRS` has the
claims that contradict each other, each with its reason. `conclusion` decides who gives way.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from steepest.analysis.diagnosis import findings
from steepest.analysis.diagnosis.findings import Finding
from steepest.records import verdict as kinds
from steepest.records.search import Search
from steepest.records.verdict import CONVERGED, Verdict

NOTHING_LEFT, DESCENT, STATIONARY = "nothing is left to gain here", "the loss still falls", "no step lowers the loss"
NO_CHANGE, RUIN, NO_FAULT = "the loss never changed", "the run was ruined", "there is no problem"
RATE_WORKS, NOT_THE_RATE = "this rate works", "the rate is not the cause"
HIGHER_RATE, LOWER_RATE, DECAY, LONGER = (
    "raise the rate",
    "lower the rate",
    "decay the rate",
    "train longer at this rate",
)
RESTART = "begin again at a lower rate"
LOWER_GAINS, LOWER_GAINS_NOTHING = "a lower rate gains", "a lower rate gains nothing"
LONGER_GAINS, LONGER_GAINS_NOTHING = "longer training gains", "longer training gains nothing"


class Claim(NamedTuple):
    """What is said somewhere.

    Attributes:
        source: verdict, outlook, diagnosis, rate or film.
        says: one of the constants above.
    """

    source: str
    says: str


class Pair(NamedTuple):
    """Two claims that may not stand together.

    Attributes:
        one, other: what they say.
        why: not.
    """

    one: str
    other: str
    why: str


NOWHERE_TO_GO = "where nothing is left to gain, nothing can be gained by a change"
PAIRS = (
    *(Pair(NOTHING_LEFT, change, NOWHERE_TO_GO) for change in (HIGHER_RATE, LOWER_RATE, DECAY, LONGER)),
    *(Pair(NOTHING_LEFT, gain, NOWHERE_TO_GO) for gain in (LOWER_GAINS, LONGER_GAINS)),
    Pair(NOTHING_LEFT, DESCENT, "a loss that still falls has not arrived"),
    Pair(NOTHING_LEFT, NO_CHANGE, "a run that never moved has arrived nowhere"),
    Pair(STATIONARY, LONGER, "steps that lower nothing lower nothing in greater number"),
    Pair(DESCENT, NO_CHANGE, "a loss that never changed does not fall"),
    Pair(HIGHER_RATE, LOWER_RATE, "the two remedies exclude each other"),
    Pair(HIGHER_RATE, RESTART, "the two remedies exclude each other"),
    Pair(LONGER, RESTART, "a run whose rate was too high is begun again, not continued"),
    Pair(HIGHER_RATE, DECAY, "a rate is not both too low and too high at the end"),
    Pair(HIGHER_RATE, LOWER_GAINS, "where a lower rate gains, a higher one loses"),
    Pair(LOWER_RATE, LOWER_GAINS_NOTHING, "a remedy was tried here and did not help"),
    Pair(DECAY, LOWER_GAINS_NOTHING, "a remedy was tried here and did not help"),
    Pair(LONGER, LONGER_GAINS_NOTHING, "the trend says that more steps do not help"),
    Pair(LONGER, LOWER_RATE, "more steps at a rate that is too high keep the loss where it is"),
    Pair(LONGER, DECAY, "more steps at a rate that noise limits keep the loss where it is"),
    Pair(LONGER, LOWER_GAINS, "what noise costs at this rate it costs however long the run is"),
    Pair(LONGER, HIGHER_RATE, "more steps at a rate that is too low waste most of them"),
    Pair(LONGER, NO_CHANGE, "more steps do not leave a plateau that no step left"),
    Pair(LONGER, RUIN, "a run that was ruined is begun again, not continued"),
    Pair(LONGER, NOT_THE_RATE, "a fault of the data or the start is not mended by more steps"),
    Pair(NO_FAULT, RUIN, "a ruined run has a problem"),
    Pair(NO_FAULT, NO_CHANGE, "a loss that never changed is a problem"),
    Pair(RATE_WORKS, HIGHER_RATE, "the search tried higher rates, and chose this one"),
    Pair(RATE_WORKS, LOWER_RATE, "the search tried lower rates, and chose this one"),
    Pair(NOT_THE_RATE, HIGHER_RATE, "the cause is sought elsewhere"),
    Pair(NOT_THE_RATE, LOWER_RATE, "the cause is sought elsewhere"),
)  # fmt: skip
"""Claims that contradict each other."""

VERDICT_CLAIMS = {
    kinds.DESCENDING: DESCENT, kinds.MINIMUM: NOTHING_LEFT, kinds.DIVERGED: RUIN, kinds.GRADIENT_FLAT: STATIONARY,
}  # fmt: skip
FINDING_CLAIMS = {
    findings.TOO_SLOW: HIGHER_RATE, findings.PLATEAU: NO_CHANGE, findings.OSCILLATING: LOWER_RATE,
    findings.NOISE_LIMITED: DECAY, findings.HEALTHY: NO_FAULT, findings.NO_GRADIENT: NO_CHANGE,
    findings.NEVER_FINITE: RUIN,
}  # fmt: skip
"""What kinds say; an explosion that the guard undid has not ruined the run."""
PHRASES = (
    (re.compile(r"\bRaise (?:the )?(?:lr|learning rate)|larger (?:lr|learning rate)"), HIGHER_RATE),
    (re.compile(r"\b(?:with a |a )?(?<!steps at )lower lr\b(?! at the end)|lr ÷"), LOWER_RATE),
    (re.compile(r"Next time: `--lr"), RESTART),
    (
        re.compile(
            r"(?i)decay the learning rate|let the learning rate decay|lower lr at the end|schedule that ends at 0"
        ),
        DECAY,
    ),
    (re.compile(r"\bTrain longer\b(?!, and)"), LONGER),
    (re.compile(r"before lr\b|not the learning rate|Look for |Check the data"), NOT_THE_RATE),
    (re.compile(r"\bconverged\b|at a (?:strict )?minimum", re.IGNORECASE), NOTHING_LEFT),
    (re.compile(r"still descending", re.IGNORECASE), DESCENT),
    (re.compile(r"Training diverged|ruined the run"), RUIN),
)
"""Words of advice and headlines, and what they say."""
AFTER_EXPLOSION = re.compile(r"Restart with|`clip=`")
NEW_RATES = re.compile(r"lr = ([\d.e+-]+)(?: to ([\d.e+-]+))? \(now ([\d.e+-]+)\)")
"""The advised learning rate, the last one of a range, and the present one."""


def text_claims(source: str, text: str) -> list[Claim]:
    """What words say."""
    says = [what for pattern, what in PHRASES if pattern.search(text)]
    says += [HIGHER_RATE if float(new) > float(now) else LOWER_RATE for new, _, now in NEW_RATES.findall(text)]
    if AFTER_EXPLOSION.search(text):  # about the way to the end, and not about the end
        says = [RESTART if what == LOWER_RATE else what for what in says]
    return [Claim(source, what) for what in dict.fromkeys(says)]


def verdict_claims(verdict: Verdict) -> list[Claim]:
    """What a verdict, its advice and its outlook say."""
    says = NOTHING_LEFT if verdict.headline == CONVERGED else VERDICT_CLAIMS.get(verdict.kind)
    claims = [Claim("verdict", says)] if says else []
    claims += text_claims("verdict", verdict.advice)
    ending = verdict.ending
    if ending is None:
        return claims
    gains = (
        (ending.lower_lr_helps, LOWER_GAINS, LOWER_GAINS_NOTHING),
        (ending.longer_helps, LONGER_GAINS, LONGER_GAINS_NOTHING),
    )
    return claims + [Claim("outlook", yes if helps else no) for helps, yes, no in gains if helps is not None]


def finding_claims(finding: Finding) -> list[Claim]:
    """What a finding and its advice say."""
    says = FINDING_CLAIMS.get(finding.kind)
    if finding.kind == findings.EXPLODING and "The guard rewound" not in finding.sentence:
        says = RUIN
    return [*([Claim("diagnosis", says)] if says else []), *text_claims("diagnosis", finding.advice)]


def search_claims(search: Search | None, lr: float | None) -> list[Claim]:
    """What the search before a run says about its rate."""
    works = search is not None and isinstance(lr, int | float) and search.low <= lr <= search.high
    return [Claim("rate", RATE_WORKS)] if works else []


def contradictions(claims: Sequence[Claim]) -> list[tuple[Claim, Claim, str]]:
    """The claims that may not stand together, each pair with its reason."""
    by_says = {claim.says: claim for claim in claims}
    return [(by_says[p.one], by_says[p.other], p.why) for p in PAIRS if p.one in by_says and p.other in by_says]


def contradict(some: Iterable[Claim], others: Iterable[Claim]) -> bool:
    """Whether a claim of the first contradicts one of the second."""
    pairs = {frozenset(pair[:2]) for pair in PAIRS}
    others = list(others)
    return any(frozenset((a.says, b.says)) in pairs for a in some for b in others)

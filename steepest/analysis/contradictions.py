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

ARRIVED, FALLING, STATIONARY = "nothing is left to gain here", "the loss still falls", "no step lowers the loss"
STUCK, RUINED, NO_FAULT = "the loss never changed", "the run was ruined", "there is no problem"
RATE_WORKS, NOT_THE_RATE = "this rate works", "the rate is not the cause"
RAISE, LOWER, DECAY, LONGER = "raise the rate", "lower the rate", "decay the rate", "train longer at this rate"
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
    *(Pair(ARRIVED, x, NOWHERE_TO_GO) for x in (RAISE, LOWER, DECAY, LONGER, LOWER_GAINS, LONGER_GAINS)),
    Pair(ARRIVED, FALLING, "a loss that still falls has not arrived"),
    Pair(ARRIVED, STUCK, "a run that never moved has arrived nowhere"),
    Pair(ARRIVED, RUINED, "a loss that ends above its start is no place to be content with"),
    Pair(STATIONARY, LONGER, "steps that lower nothing lower nothing in greater number"),
    Pair(FALLING, STUCK, "a loss that never changed does not fall"),
    Pair(RAISE, LOWER, "the two remedies exclude each other"),
    Pair(RAISE, DECAY, "a rate is not both too low and too high at the end"),
    Pair(RAISE, LOWER_GAINS, "where a lower rate gains, a higher one loses"),
    Pair(LOWER, LOWER_GAINS_NOTHING, "a remedy was tried here and did not help"),
    Pair(DECAY, LOWER_GAINS_NOTHING, "a remedy was tried here and did not help"),
    Pair(LONGER, LONGER_GAINS_NOTHING, "the trend says that more steps do not help"),
    Pair(LONGER, LOWER, "more steps at a rate that is too high keep the loss where it is"),
    Pair(LONGER, DECAY, "more steps at a rate that noise limits keep the loss where it is"),
    Pair(LONGER, LOWER_GAINS, "what noise costs at this rate it costs however long the run is"),
    Pair(LONGER, RAISE, "more steps at a rate that is too low waste most of them"),
    Pair(LONGER, STUCK, "more steps do not leave a plateau that no step left"),
    Pair(LONGER, RUINED, "a run that was ruined is begun again, not continued"),
    Pair(LONGER, NOT_THE_RATE, "a fault of the data or the start is not mended by more steps"),
    Pair(NO_FAULT, RUINED, "a ruined run has a problem"),
    Pair(NO_FAULT, STUCK, "a loss that never changed is a problem"),
    Pair(RATE_WORKS, RAISE, "the search tried higher rates, and chose this one"),
    Pair(RATE_WORKS, LOWER, "the search tried lower rates, and chose this one"),
    Pair(NOT_THE_RATE, RAISE, "the cause is sought elsewhere"),
    Pair(NOT_THE_RATE, LOWER, "the cause is sought elsewhere"),
)  # fmt: skip
"""Claims that contradict each other."""

VERDICT_CLAIMS = {
    kinds.DESCENDING: FALLING, kinds.MINIMUM: ARRIVED, kinds.DIVERGED: RUINED, kinds.GRADIENT_FLAT: STATIONARY,
}  # fmt: skip
FINDING_CLAIMS = {
    findings.TOO_SLOW: RAISE, findings.PLATEAU: STUCK, findings.OSCILLATING: LOWER, findings.NOISE_LIMITED: DECAY,
    findings.HEALTHY: NO_FAULT, findings.NO_GRADIENT: STUCK, findings.NEVER_FINITE: RUINED,
}  # fmt: skip
"""What kinds say; an explosion that the guard undid has not ruined the run."""
PHRASES = (
    (re.compile(r"\bRaise (?:the )?(?:lr|learning rate)|larger (?:lr|learning rate)"), RAISE),
    (re.compile(r"\b(?:with a |a )?(?<!steps at )lower lr\b(?! at the end)|lr ÷|Next time: `--lr"), LOWER),
    (
        re.compile(r"Decay the learning rate|let the learning rate decay|Lower lr at the end|schedule that ends at 0"),
        DECAY,
    ),
    (re.compile(r"\bTrain longer\b(?!, and)"), LONGER),
    (re.compile(r"before lr\b|not the learning rate|Look for |Check the data"), NOT_THE_RATE),
    (re.compile(r"\bconverged\b|at a (?:strict )?minimum", re.IGNORECASE), ARRIVED),
    (re.compile(r"still descending", re.IGNORECASE), FALLING),
    (re.compile(r"Training diverged|ruined the run"), RUINED),
)
"""Words of advice and headlines, and what they say."""
NEW_RATES = re.compile(r"lr = ([\d.e+-]+) to [\d.e+-]+ \(now ([\d.e+-]+)\)")


def text_claims(source: str, text: str) -> list[Claim]:
    """What words say."""
    says = [what for pattern, what in PHRASES if pattern.search(text)]
    says += [RAISE if float(new) > float(now) else LOWER for new, now in NEW_RATES.findall(text)]
    return [Claim(source, what) for what in dict.fromkeys(says)]


def verdict_claims(verdict: Verdict) -> list[Claim]:
    """What a verdict, its advice and its outlook say."""
    says = ARRIVED if verdict.headline == CONVERGED else VERDICT_CLAIMS.get(verdict.kind)
    claims = [Claim("verdict", says)] if says else []
    claims += text_claims("verdict", verdict.advice)
    ending = verdict.ending
    if ending is None:
        return claims
    told = (
        (ending.lower_lr_helps, LOWER_GAINS, LOWER_GAINS_NOTHING),
        (ending.longer_helps, LONGER_GAINS, LONGER_GAINS_NOTHING),
    )
    return claims + [Claim("outlook", yes if helps else no) for helps, yes, no in told if helps is not None]


def finding_claims(finding: Finding) -> list[Claim]:
    """What a finding and its advice say."""
    says = FINDING_CLAIMS.get(finding.kind)
    if finding.kind == findings.EXPLODING and "The guard rewound" not in finding.sentence:
        says = RUINED
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

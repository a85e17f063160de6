"""A cell of the table: one task, one verb, and how it ended."""

import re
import traceback
from collections.abc import Callable

from steepest.errors import SteepestError
from tests.zoo import verbs
from tests.zoo.bench import Bench, Outcome, bench_of, expected_refusal, is_as_made
from tests.zoo.case import VERBS
from tests.zoo.command_line import command_line

FUNCTIONS: dict[str, Callable[[Bench], None]] = dict(
    zip(
        VERBS,
        (
            verbs.descend, verbs.fit, verbs.resume, verbs.open_run, verbs.find_lr, verbs.auto, verbs.race,
            verbs.locate, verbs.diagnose, verbs.film, command_line,
        ),
        strict=True,
    )
)  # fmt: skip


def outcome_of(case_name: str, verb: str) -> Outcome:
    """Runs a cell."""
    bench = bench_of(case_name)
    refusal = expected_refusal(bench.case, verb)
    try:
        FUNCTIONS[verb](bench)
    except AssertionError as error:
        return Outcome("wrong", " ".join(str(error).split())[:400] or last_frames(error))
    except SteepestError as error:
        words = f"{type(error).__name__}: {error}"[:400]
        if refusal is None:
            return Outcome("traceback", f"refused, which is not expected: {words}")
        if not re.search(refusal[0], words):
            return Outcome("traceback", f"refused in other words than {refusal[0]!r}: {words}")
        if not is_as_made(bench):
            return Outcome("wrong", f"refused, but the model was changed: {words}")
        return Outcome("refused", words)
    except (Exception, KeyboardInterrupt) as error:
        return Outcome("traceback", f"{type(error).__name__}: {str(error)[:300]} {last_frames(error)}")
    if refusal is not None:
        return Outcome("wrong", "it is right, but a refusal is expected: drop it from the case")
    return Outcome("right")


def last_frames(error: BaseException, count: int = 3) -> str:
    """The last frames of a traceback in a line."""
    frames = traceback.extract_tb(error.__traceback__)[-count:]
    return "[" + " < ".join(f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno} {f.name}" for f in frames[::-1]) + "]"

"""The guard alone: two numbers in, an action out."""

import itertools
import json
import math
import random
import re
import statistics

import pytest

from steepest.descent.guard.guard import BY_DATA, BY_RATE, Guard
from steepest.descent.guard.levels import RateLevels
from steepest.descent.guard.running_stats import MAD, NORMAL_90, RunningStats
from steepest.descent.guard.thresholds import MAX_OVERFLOWS, OLD_NAMES
from steepest.errors import InputError
from steepest.records.run import ASIDE, CLIP, GO, LOWER, REWIND, SKIP, STOP, Call

NAN, INF = float("nan"), float("inf")


def healthy(n, seed=0, start=2.0):
    """Falling losses with noise, and gradient norms around 1."""
    draw = random.Random(seed)
    for t in range(n):
        yield start * math.exp(-t / 200 + 0.1 * draw.gauss(0, 1)) + 0.05, math.exp(0.2 * draw.gauss(0, 1))


def feed(guard, pairs):
    """The kinds of all calls that are not go, with their steps."""
    calls = [guard.judge(*pair) for pair in pairs]
    return [(n, c.kind) for n, c in enumerate(calls, 1) if c.kind != GO]


def trained(n=200, **thresholds):
    guard = Guard(**thresholds)
    assert feed(guard, healthy(n)) == []
    return guard


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_is_left_alone(seed):
    assert [k for _, k in feed(Guard(), healthy(3000, seed)) if k != CLIP] == []


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (1.0, NAN), (1.0, INF), (-INF, 1.0)])
def test_what_is_not_finite_is_skipped(loss, norm):
    call = trained().judge(loss, norm)
    assert call.kind == SKIP
    assert "non-finite gradient" in call.seen


def test_three_bad_gradients_in_a_row_are_a_divergence():
    for loss in (NAN, 30.0):
        guard = trained()
        assert [guard.judge(loss, NAN).kind for _ in range(3)] == [SKIP, SKIP, REWIND]


def test_overflows_at_a_loss_as_usual_are_skipped_for_a_while():
    """Skipped steps leave good weights as they are; going back would not help."""
    guard = trained()
    assert {guard.judge(0.9, INF).kind for _ in range(MAX_OVERFLOWS - 1)} == {SKIP}
    assert guard.judge(0.9, INF).kind == REWIND
    assert guard.judge(0.9, 1.0).kind == GO


def test_an_alarm_does_not_end_where_much_of_a_large_rise_is_left():
    guard = trained()
    kinds = [guard.judge(1e12, 1.0).kind for _ in range(8)]
    kinds += [guard.judge(1e4, 1.0).kind for _ in range(60)]
    assert kinds.index(LOWER) < kinds.index(REWIND)


def test_three_bad_batches_among_calm_losses_are_not():
    guard = trained()
    pairs = [(0.9, NAN if n % 4 == 0 else 1.0) for n in range(40)]
    assert {k for _, k in feed(guard, pairs)} == {SKIP}


def test_an_outlying_gradient_is_clipped_to_its_usual_bound():
    guard = trained()
    norms = [math.log(norm) for _, norm in healthy(200)][-128:]
    median = statistics.median_high(norms)
    deviation = MAD * statistics.median_high(abs(x - median) for x in norms)
    bound = math.exp(median + max(6 * deviation, math.log(30)))
    call = guard.judge(0.9, 1.5 * bound)
    assert call.kind == CLIP
    assert call.limit == pytest.approx(bound, rel=1e-9)


def test_one_far_out_is_skipped_but_not_for_ever():
    guard = trained()
    assert [guard.judge(0.9, 1e6).kind for _ in range(10)] == [SKIP] * 8 + [CLIP] * 2


def test_a_gradient_within_thirty_times_the_usual_is_borne():
    guard = trained()
    assert guard.judge(0.9, 27.0).kind == GO


def test_a_diverging_loss_lowers_the_rate_and_then_rewinds():
    guard = trained()
    calls = feed(guard, [(0.9 * 1.5**n, 1.0) for n in range(40)])
    kinds = [k for _, k in calls]
    assert kinds[:2] == [LOWER, REWIND]
    assert calls[0][0] <= 8


def test_a_loss_that_comes_down_at_the_lowered_rate_is_not_rewound():
    guard = trained()
    losses = [8.0] * 4 + [0.85] * 100
    assert [k for _, k in feed(guard, [(x, 1.0) for x in losses])] == [LOWER]
    assert guard.rate == 1.0


def test_the_rate_is_lowered_for_a_while():
    guard = trained()
    rates = []
    for loss in [8.0] * 4 + [1.6] * 20:
        guard.judge(loss, 1.0)
        rates.append(guard.rate)
    assert rates[0] == 1.0
    assert 0.25 in rates


def test_a_loss_that_stays_up_is_rewound():
    """A dead network sits at a constant loss."""
    guard = trained()
    calls = feed(guard, [(2.3, 1.0)] * 80)
    assert [k for _, k in calls] == [LOWER, REWIND]
    assert calls[1][0] - calls[0][0] == 50


def test_at_a_rate_on_trial_twice_the_loss_is_enough():
    """Once something has failed twice there is no waiting."""
    guard = trained(lr_factor=1.0)
    state = json.loads(json.dumps(guard.state_dict()))
    for _ in range(2):
        explode(guard)
        rewind(guard, state)
    calls = [guard.judge(1.9, 1.0) for _ in range(30)]
    first = next(c for c in calls if c.kind != GO)
    assert first.kind == REWIND
    assert "at an lr that has not been stable yet" in first.seen


def test_one_terrible_batch_is_no_alarm():
    guard = trained()
    assert feed(guard, [(1e6, 1.0)] + [(0.85, 1.0)] * 50) == []


def test_nothing_alarms_before_it_is_armed():
    assert [k for _, k in feed(Guard(), [(2.0 * 1.3**n, 1.0) for n in range(29)])] == []


@pytest.mark.parametrize("shift", [0.0, -5.0, -1e4])
def test_losses_below_zero(shift):
    """The same noise around a falling line that crosses zero, and the same explosion."""
    draw = random.Random(1)
    guard = Guard()
    falling = [(3.0 - t / 100 + shift + 0.1 * draw.gauss(0, 1), 1.0) for t in range(500)]
    assert feed(guard, falling) == []
    exploding = [(falling[-1][0] + (abs(shift) + 5) * 2.0**n, 1.0) for n in range(30)]
    assert REWIND in [k for _, k in feed(guard, exploding)]


def test_an_expected_change_is_no_alarm():
    guard = trained()
    guard.reset_statistics(100)
    assert feed(guard, [(8.0, 5.0)] * 100) == []
    kinds = [k for _, k in feed(guard, [(8.0 * 1.5**n, 5.0) for n in range(12)])]
    assert kinds[:2] == [LOWER, REWIND]


def test_watching_reports_and_does_nothing():
    guard = trained(report=True)
    kinds = [k for _, k in feed(guard, [(0.9 * 1.5**n, 1.0) for n in range(40)] + [(1.0, NAN)] * 5)]
    assert LOWER in kinds
    assert not {REWIND, STOP, CLIP} & set(kinds)
    assert guard.rate == 1.0


# -- Afterwards --------------------------------------------------------------------------------------------------------


def explode(guard, lr=1.0):
    """Fed until it calls for a rewind or a stop."""
    for n in range(300):
        call = guard.judge(0.9 * 1.5 ** min(n, 60), 1.0, lr)
        if call.kind in (REWIND, ASIDE, STOP):
            return call
    raise AssertionError("never rewound")


def rewind(guard, state, cause=BY_RATE, repeated=0):
    guard.load_state_dict(state, rewinding=True)
    return guard.on_rewind(cause, repeated)


def test_successive_rewinds_cut_the_rate_to_an_eighth_and_a_128th():
    guard = trained(lr_factor=1.0)
    state = json.loads(json.dumps(guard.state_dict()))
    explode(guard)
    rewind(guard, state)
    rates = []
    for _ in range(2):
        assert explode(guard).kind == REWIND
        rewind(guard, state)
        pairs = list(healthy(30, 3, 0.9))
        for loss, norm in pairs:
            guard.judge(loss, norm)
        rates.append(guard.rate)
        state = {**guard.state_dict(), "_best": state["_best"] - 1}  # it has gained, and fails again
    assert rates == pytest.approx([1 / 8, 1 / 128])


def test_the_rate_warms_up_again_and_doubles_back():
    guard = trained()
    state = guard.state_dict()
    words = ""
    for _ in range(2):
        explode(guard)
        words = rewind(guard, state)
    assert "with warmup" in words
    guard.judge(0.9, 1.0)
    assert guard.rate < 0.1
    for _ in range(400):
        guard.judge(0.85, 1.0)
    assert guard.rate == 1.0


def test_a_rate_that_jumped_goes_back_to_what_had_worked():
    guard = Guard()
    for loss, norm in healthy(200):
        guard.judge(loss, norm, 0.01)
    state = guard.state_dict()
    explode(guard, lr=1.0)
    rewind(guard, state)
    for _ in range(60):
        guard.judge(0.85, 1.0, 1.0)
    assert guard.rate == pytest.approx(0.01, rel=0.02)
    guard.judge(0.85, 1.0, 0.01)
    assert guard.rate == 1.0  # the jump is over: what had worked is not held down


def jumped(loss, steps=60, before=0.01, after=0.1):
    """What a guard calls when the schedule jumps after 200 healthy steps, and the losses are then around this."""
    guard, draw = Guard(), random.Random(5)
    for value, norm in healthy(200):
        guard.judge(value, norm, before)
    calls = [guard.judge(loss * math.exp(0.1 * draw.gauss(0, 1)), 1.0, after) for _ in range(steps)]
    return [(n, c.kind) for n, c in enumerate(calls, 1) if c.kind != GO], calls


def test_a_rate_above_all_before_has_failed_where_the_loss_is_no_lower_after_a_while():
    """A fifth more loss: far from an explosion, and more than chance."""
    events, calls = jumped(0.95)
    assert events == [(51, REWIND)]
    assert "at an lr that has not been stable yet" in calls[50].seen


def test_a_rate_above_all_before_is_kept_where_the_loss_falls():
    assert jumped(0.75, steps=200)[0] == []


def test_a_rate_that_was_there_before_is_not_on_trial():
    """A cosine with restarts: its loss rises for a while."""
    guard, draw = Guard(), random.Random(5)
    for n, (value, norm) in enumerate(healthy(200)):
        guard.judge(value, norm, 0.1 if n < 100 else 0.01)
    calls = [guard.judge(0.95 * math.exp(0.1 * draw.gauss(0, 1)), 1.0, 0.1) for _ in range(60)]
    assert {c.kind for c in calls} == {GO}


def test_a_rate_that_jumps_back_is_judged_then():
    guard, draw = Guard(), random.Random(5)
    for value, norm in healthy(200):
        guard.judge(value, norm, 0.01)
    for _ in range(20):
        assert guard.judge(1.1 * math.exp(0.1 * draw.gauss(0, 1)), 1.0, 0.1).kind == GO
    assert guard.judge(1.1, 1.0, 0.01).kind == REWIND


def test_where_the_guard_only_watches_a_trial_that_fails_is_reported():
    guard, draw = Guard(report=True), random.Random(5)
    for value, norm in healthy(200):
        guard.judge(value, norm, 0.01)
    calls = [guard.judge(0.95 * math.exp(0.1 * draw.gauss(0, 1)), 1.0, 0.1) for _ in range(60)]
    assert [c.done for c in calls if c.kind != GO] == ["report only"]


def test_the_rate_stays_where_it_was_the_data():
    guard = trained()
    state = guard.state_dict()
    explode(guard)
    assert rewind(guard, state, BY_DATA) == "cause: bad data; lr unchanged"
    guard.judge(0.85, 1.0)
    assert guard.rate == 1.0


def test_the_first_explosion_is_forgiven():
    guard = trained()
    state = guard.state_dict()
    explode(guard)
    assert rewind(guard, state) == "retrying unchanged"
    guard.judge(0.85, 1.0)
    assert guard.rate == 1.0


def without_success(guard):
    """Explodes until the guard no longer rewinds; the kinds of its calls."""
    state, kinds = guard.state_dict(), []
    while len(kinds) < 9:
        kinds.append(explode(guard).kind)
        if kinds[-1] != REWIND:
            return kinds
        rewind(guard, state)
    return kinds


def test_four_rewinds_without_a_gain_and_it_steps_aside():
    guard = trained()
    assert without_success(guard) == [REWIND] * 5 + [ASIDE]
    assert guard.is_passive
    assert guard.rate == 1
    for loss, norm in [(1e9, 1e9)] * 300:
        assert guard.judge(loss, norm) == Call(GO)
    assert guard.judge(1.0, math.nan).kind == SKIP
    twin = Guard()
    twin.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert twin.is_passive


def test_it_stops_where_nothing_is_finite_any_more():
    guard = trained()
    without_success(guard)
    assert [guard.judge(math.nan, math.nan).kind for _ in range(3)] == [SKIP, SKIP, STOP]


def test_a_changed_world_is_accepted():
    guard = trained()
    for _ in range(3):  # as often as it changes
        assert explode(guard).kind in (LOWER, REWIND)
        guard.accept()
        assert guard.rate == 1
        assert guard.rewinds == 0
        level = 1e3
        for loss, norm in healthy(200, 3, level):
            assert guard.judge(loss, norm).kind == GO


def test_a_rise_to_what_the_loss_was_at_this_learning_rate_is_usual():
    def run(first):
        guard, kinds = Guard(), set()
        for lr, loss in [(first, 1.0), (0.01, 0.05), (1.0, 0.9)]:
            for k in range(150):
                kinds.add(guard.judge(loss * (1 + 0.01 * (k % 3)), 1.0, lr).kind)
        return kinds

    assert run(1.0) == {GO}
    assert run(0.1) != {GO}  # a learning rate that is new


def test_a_gradient_as_large_as_earlier_ones_is_no_outlier():
    guard = Guard()
    for k in range(600):
        guard.judge(1.0, (1.0 if k < 300 else 1e-6) * (1 + 0.1 * (k % 5)))
    assert guard.judge(1.0, 5.0).kind == GO
    assert guard.judge(1.0, 50.0).kind in (CLIP, SKIP)


# -- State -------------------------------------------------------------------------------------------------------------


def test_state_goes_through_json_and_the_twin_judges_alike():
    guard = trained()
    explode(guard)
    state = json.loads(json.dumps(guard.state_dict()))
    twin = Guard()
    twin.load_state_dict(state)
    for loss, norm in healthy(300, 7, 0.9):
        assert guard.judge(loss, norm) == twin.judge(loss, norm)
        assert guard.rate == twin.rate
    assert json.dumps(guard.state_dict()) == json.dumps(twin.state_dict())


def test_another_state_is_refused():
    with pytest.raises(InputError, match="must be from a guard of this version"):
        Guard().load_state_dict({"mean": 1.0})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outliers": 3}, "Guard has no threshold 'outliers'. Known: clip_deviations, alarm_threshold"),
        ({"alarm_threshold": 0}, "Guard: alarm_threshold must be positive, got 0"),
        ({"snapshot_every": 0}, "Guard: snapshot_every must be an integer ≥ 1, got 0"),
    ],
)
def test_thresholds_are_checked(arguments, words):
    with pytest.raises(InputError, match=words):
        Guard(**arguments)


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_old_names_of_thresholds_warn_and_are_those_of_the_stored_configuration(old, new):
    with pytest.warns(DeprecationWarning, match=f"Guard.{old}=. is deprecated. Use {new}"):
        guard = Guard(**{old: 7})
    assert getattr(guard.thresholds, new) == 7
    assert guard.describe()[old] == 7
    assert Guard.of(guard.describe()).thresholds == Guard(**{new: 7}).thresholds


def test_old_names_of_arguments_and_methods_warn():
    with pytest.warns(DeprecationWarning, match="Use report"):
        guard = Guard(watch=True)
    assert guard.report
    assert guard.describe()["watch"] is True
    assert Guard.of(guard.describe()).report
    with pytest.warns(DeprecationWarning, match="Use on_rewind"):
        guard.rewound(BY_DATA)
    with pytest.warns(DeprecationWarning, match="Use reset_statistics"):
        guard.expect_change()


def test_after_a_loss_below_zero_the_rise_is_no_ratio():
    guard = Guard()
    for n in range(200):
        guard.judge(-5.0 + 0.01 * (n % 3), 1.0)
    calls = [guard.judge(2.7, 1.0) for _ in range(10)]
    reason = next(c.seen for c in calls if c.kind == LOWER)
    assert re.fullmatch(r"loss rising \(2.7; running mean rose from -4.99 to -[0-9.]+\)", reason), reason


def test_a_window_forgets_the_oldest():
    window = RunningStats(5)
    window.values.extend([100.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    window.refresh()
    assert window.median == 3.0
    assert window.deviation == MAD


@pytest.mark.parametrize("n", range(1, 60))
def test_the_deviation_is_that_of_all_distances_or_of_the_steps_from_one_to_the_next(n):
    draw, window = random.Random(n), RunningStats(n)
    for _ in range(20):
        window.values.extend(draw.choice([draw.gauss(0, 1), float(draw.randint(-2, 2)), 5.0]) for _ in range(n))
        window.refresh()
        distances = sorted(abs(x - window.median) for x in window.values)
        steps = sorted(b - a for a, b in itertools.pairwise(window.values))
        upper = steps[int(0.9 * len(steps))] / (math.sqrt(2) * NORMAL_90) if steps else 0.0
        if distances[n // 2] > 0:
            assert window.deviation == pytest.approx(max(MAD * distances[n // 2], upper), rel=1e-12)


def test_a_trend_does_not_widen_the_deviation():
    draw, flat, falling = random.Random(0), RunningStats(200), RunningStats(200)
    noise = [draw.gauss(0, 1) for _ in range(200)]
    flat.values.extend(noise)
    falling.values.extend(x - 0.01 * k for k, x in enumerate(noise))
    for window in (flat, falling):
        window.refresh()
        assert 0.8 < window.deviation < 1.4


def test_no_rise_is_meant_below_the_learning_rate_of_the_best_loss():
    """After a warmup a cosine passes the learning rates of the warmup, whose losses were those of the start."""
    levels = RateLevels()
    for lr, level in [(0.1, 3.0), (0.5, 2.0), (1.0, 1.0), (0.5, 0.5), (0.1, 0.1)]:
        levels.add(lr, level, level)
        assert levels.before(lr) == -math.inf
    levels.add(1.0, 0.4, 0.1)
    assert levels.before(1.0) == 1.0


def test_skewed_losses_vary_as_their_upper_tail_does():
    """Now and then a large one, as with rare informative samples: by the median deviation each is a fault."""
    window = RunningStats(200)
    window.values.extend([0.01 * (k % 5) + (3.0 if k % 8 == 0 else 0.0) for k in range(200)])
    window.refresh()
    assert window.deviation > 1.5


@pytest.mark.parametrize(
    ("values", "deviation"),
    [([0.0] * 30, 0.0), ([0.0] * 20 + [1.0, 2.0, 3.0], 2 * MAD), ([0.0] * 20 + [-3.0], 3 * MAD), ([1.0], 0.0)],
)
def test_a_scale_comes_from_what_varies(values, deviation):
    """Where most losses are exactly 0, the others are no outliers; where nothing varies, everything else is."""
    window = RunningStats(len(values))
    window.values.extend(values)
    window.refresh()
    assert window.deviation == pytest.approx(deviation)


def test_gradients_of_zero_say_nothing_about_the_others():
    """A hinge loss of single samples: seven of ten gradients are exactly 0, and the others must not be clipped."""
    draw, guard = random.Random(0), Guard()
    for _ in range(2000):
        is_inside = draw.random() < 0.7
        numbers = (0.0, 0.0) if is_inside else (draw.uniform(0, 2), draw.uniform(1, 3))
        assert guard.judge(*numbers).kind == "go"
    assert guard.judge(1.0, 1e6).kind == "skip"  # what is far from the others still is

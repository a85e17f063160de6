"""Differences of sides: against scipy, and by how often they are claimed where there are none."""

import inspect
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steepest.errors import InputError
from steepest.search import statistics
from steepest.search.statistics import MAX_EXACT, differences, holm, ranks

INF = math.inf


def lognormal(rng, n=8, center=0.0, deviation=0.5):
    return np.exp(rng.normal(center, deviation, n))


def heavy_tailed(rng, n=8):
    return np.exp(rng.standard_t(3, n))


def censored_at(q):
    """Draws of a standard normal, in logarithms, and a budget that the share q of them keeps within."""
    budget = math.exp(stats.norm.ppf(q))

    def draw(rng, n=8):
        x = lognormal(rng, n, deviation=1.0)
        return np.where(x > budget, INF, x)

    return draw


def claims(draw, sides, repetitions, seed=0):
    """The share of families of equal sides in which any difference is claimed."""
    rng = np.random.default_rng(seed)
    families = (differences("loss", {str(k): draw(rng) for k in range(sides)}) for _ in range(repetitions))
    return sum(any(d.claimed for d in family) for family in families) / repetitions


def only(values, **options):
    (difference,) = differences("loss", values, **options)
    return difference


@pytest.mark.parametrize("draw", [lognormal, heavy_tailed])
def test_a_side_is_seldom_claimed_to_differ_from_itself(draw):
    assert claims(draw, 2, 2000) <= 0.065


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])  # of the last, half of the pairs are censored, half are not
def test_a_censored_side_is_seldom_claimed_to_differ_from_itself(share):
    assert claims(censored_at(share), 2, 1000) <= 0.065


@pytest.mark.parametrize("draw", [lognormal, censored_at(0.7)])
def test_among_equal_sides_any_difference_is_seldom_claimed(draw):
    assert claims(draw, 4, 600) <= 0.065


def test_by_ranks_the_level_holds_exactly_however_values_are_tied():
    values = np.array([1, 1, 2, 3, 3, 3, 4, INF, INF, INF])
    splits = [list(s) for s in itertools.combinations(range(10), 5)]
    found = np.array([ranks(values[s], np.delete(values, s))[0] for s in splits])
    for level in (0.01, 0.05, 0.2):
        assert (found <= level).mean() <= level


def test_a_factor_of_two_is_found():
    rng = np.random.default_rng(1)
    sides = [{"a": lognormal(rng, 8, 0, 0.2), "b": lognormal(rng, 8, math.log(2), 0.2)} for _ in range(300)]
    assert np.mean([only(s).claimed for s in sides]) >= 0.99


def test_an_interval_holds_as_often_as_it_says():
    rng, truth = np.random.default_rng(2), 1.5
    held = 0
    for _ in range(1500):
        d = only({"a": lognormal(rng, 8, 0, 0.2), "b": lognormal(rng, 10, math.log(truth), 0.6)})
        held += d.low <= truth <= d.high
    assert 0.93 <= held / 1500 <= 0.97


def test_intervals_of_several_pairs_hold_at_once():
    rng, centers = np.random.default_rng(3), {"a": 0.0, "b": 0.3, "c": -1.0}
    held = 0
    for _ in range(1000):
        family = differences("loss", {k: lognormal(rng, 8, c) for k, c in centers.items()})
        held += all(d.low <= math.exp(centers[d.other] - centers[d.one]) <= d.high for d in family)
    assert held / 1000 >= 0.94


def test_a_linear_interval_holds_as_often_as_it_says():
    rng = np.random.default_rng(4)
    pairs = [{"a": rng.normal(0.9, 0.01, 8), "b": rng.normal(0.93, 0.02, 8)} for _ in range(1000)]
    found = [only(p, scale="linear", better="higher") for p in pairs]
    assert 0.93 <= np.mean([d.low <= 0.03 <= d.high for d in found]) <= 0.97


@pytest.mark.parametrize("sizes", [(2, 2), (3, 8), (8, 8), (40, 5)])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_welch_is_that_of_scipy(sizes, scale):
    rng = np.random.default_rng(sum(sizes))
    a, b = lognormal(rng, sizes[0]), lognormal(rng, sizes[1], 0.4, 1.0)
    d = only({"a": a, "b": b}, scale=scale, level=0.02)
    forward, back = (np.log, np.exp) if scale == "log" else (np.asarray, float)
    truth = stats.ttest_ind(forward(b), forward(a), equal_var=False)
    low, high = truth.confidence_interval(0.98)
    assert d.p == pytest.approx(truth.pvalue, rel=1e-9)
    assert [d.low, d.high] == pytest.approx([back(low), back(high)], rel=1e-8)
    assert d.ratio == pytest.approx(stats.gmean(b) / stats.gmean(a) if scale == "log" else b.mean() - a.mean())


@pytest.mark.parametrize("sizes", [(2, 3), (5, 5), (8, 8), (4, 20)])
def test_ranks_without_ties_are_those_of_scipy(sizes):
    rng = np.random.default_rng(sum(sizes))
    for _ in range(20):
        a, b = rng.normal(0, 1, sizes[0]), rng.normal(0.7, 1, sizes[1])
        truth = stats.mannwhitneyu(a, b, method="exact").pvalue
        assert ranks(a, b)[0] == pytest.approx(truth, rel=1e-9)


def test_ranks_with_ties_are_those_of_all_ways_to_choose():
    rng = np.random.default_rng(5)
    for _ in range(5):
        a, b = rng.integers(0, 4, 5), rng.integers(0, 5, 6)
        truth = stats.mannwhitneyu(a, b, method=stats.PermutationMethod(n_resamples=1000)).pvalue
        assert ranks(a, b)[0] == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("digits", [0, 9])
def test_many_ranks_are_those_of_scipy_and_near_the_exact_ones(digits):
    rng = np.random.default_rng(6)
    a, b = rng.normal(0, 1, MAX_EXACT // 2 + 1).round(digits), rng.normal(0.4, 1, MAX_EXACT // 2).round(digits)
    for x, error in ((a, 1e-9), (a[1:], 0.02)):
        assert ranks(x, b)[0] == pytest.approx(stats.mannwhitneyu(x, b, method="asymptotic").pvalue, rel=error)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_going_down_step_by_step_rejects(p, level):
    left, rejected = dict(enumerate(p)), set()
    while left:
        i = min(left, key=left.get)
        if len(left) * left.pop(i) > level:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= level} == rejected


def test_a_family_is_adjusted_by_holm_and_its_intervals_by_the_number_of_pairs():
    rng = np.random.default_rng(7)
    sides = {k: lognormal(rng, 8, c) for k, c in {"a": 0.0, "b": 0.5, "c": 0.6}.items()}
    family = differences("loss", sides)
    assert [(d.one, d.other) for d in family] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [d.adjusted for d in family] == holm([d.p for d in family])
    alone = only({"a": sides["a"], "b": sides["b"]}, level=0.05 / 3)
    assert (family[0].p, family[0].low, family[0].high) == (alone.p, alone.low, alone.high)


def test_an_interval_that_leaves_one_out_is_claimed():
    rng = np.random.default_rng(8)
    for _ in range(100):
        for d in differences("loss", {k: lognormal(rng, 8, 0.4 * k) for k in range(4)}):
            assert d.claimed or d.low <= 1 <= d.high


def test_what_is_censored_is_judged_by_ranks():
    d = only({"a": [1, 2, 3, 4, 5, 6, 7, 8], "b": [9, 9, 9, 9, INF, INF, INF, INF]})
    assert (d.method, d.ratio, d.low, d.high, d.claimed) == ("ranks", None, None, None, True)
    assert d.p == pytest.approx(2 / math.comb(16, 8))
    assert d.sentence == "a is lower than b in loss (rank test; 8 seeds each; p = 0.00016; 4 of 8 b runs diverged)"


def test_two_sides_that_never_reach_the_target_do_not_differ():
    d = only({"a": [INF] * 8, "b": [INF] * 8})
    assert (d.p, d.claimed, d.method, d.ratio) == (1.0, False, "ranks", None)
    assert d.sentence == (
        "No difference detected in loss between a and b "
        "(rank test; 8 seeds each; p = 1; 8 of 8 a runs diverged; 8 of 8 b runs diverged)"
    )


@pytest.mark.parametrize("n", [2, 7, 8, MAX_EXACT])
def test_sides_without_variance(n):
    equal, different = only({"a": [0.1] * n, "b": [0.1] * n}), only({"a": [0.1] * n, "b": [0.2] * n})
    assert (equal.method, equal.p, equal.claimed) == ("ranks", 1.0, False)
    assert (different.method, different.claimed) == ("ranks", n > 2)
    assert only({"a": [0.1] * 8, "b": [0.2, 0.3] * 4}).method == "Welch t on logarithms"


def test_losses_however_far_apart():
    d = only({"a": [1e-300, 1.0], "b": [1e300, 1.0]})
    assert (d.low, d.high, d.claimed) == (0.0, INF, False)
    assert only({"a": [1e300, -1e300], "b": [1e308, 1e308]}, scale="linear").method == "ranks"


def test_sentences():
    steps = {"adam": [100, 110, 120], "momentum": [200, 210, 230], "sign": [205, 215, 225]}
    found = [d.sentence for d in differences("steps to target", steps)]
    assert found == [
        "adam reaches the target in 0.52× the steps of momentum "
        "(95 % interval 0.39 to 0.68; 3 seeds each; p = 0.0023, Holm-corrected for 3 pairs)",
        "adam reaches the target in 0.51× the steps of sign "
        "(95 % interval 0.38 to 0.68; 3 seeds each; p = 0.003, Holm-corrected for 3 pairs)",
        "No difference detected in steps to target between momentum and sign "
        "(momentum vs sign: 0.99×; 95 % interval 0.80 to 1.23; 3 seeds each; p = 0.87, Holm-corrected for 3 pairs)",
    ]
    shares = {"a": [0.90, 0.91, 0.92], "b": [0.95, 0.96, 0.97]}
    assert only(shares, scale="linear", better="higher").sentence == (
        "b is 0.05 above a in loss (95 % interval 0.0273 to 0.0727; 3 seeds each; p = 0.0036)"
    )
    (accuracy,) = differences("final accuracy", shares, scale="linear", better="higher", level=0.05 / 3)
    assert accuracy.sentence == (
        "b ends 5.0 points of accuracy above a (98.3 % interval 1.8 to 8.2; 3 seeds each; p = 0.0036)"
    )
    assert "b: 0; 95 % interval -" in only({"a": [-1, 1], "b": [1, -1]}, scale="linear").sentence
    (steps,) = differences("steps to target", {"a": [INF] * 8, "b": [9, 8, 7, 6, 5, 4, 3]})
    assert steps.sentence == (
        "b reaches the target in fewer steps than a "
        "(rank test; 8 and 7 seeds; p = 0.00031; 8 of 8 a runs did not reach it)"
    )
    assert (
        "b's loss is 0.01× that of a (95 % interval 0.0"
        in only({"a": [1.0, 1.1, 1.2], "b": [0.010, 0.011, 0.012]}).sentence
    )


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, {}, "loss of a: at least 2 seeds are needed (8 recommended), got 1"),
        ({"a": [], "b": [1.0, 2.0]}, {}, "loss of a: at least 2 seeds are needed (8 recommended), got 0"),
        (
            {"a": [1.0, 2.0], "b": [1.0, math.nan]},
            {},
            "loss of b: values must be numbers, got NaN. Use inf for a run that failed.",
        ),
        ({"a": [1.0, 2.0], "b": [1.0, 0.0]}, {}, "loss of b: values must be positive, got 0. Use scale='linear'."),
        (
            {"a": [1.0, 2.0], "b": [1.0, -INF]},
            {},
            "loss of b: -inf is the best value where lower is better. Use inf for a failed",
        ),
        (
            {"a": [1.0, INF], "b": [1.0, 2.0]},
            {"better": "higher"},
            "inf is the best value where higher is better. Use -inf",
        ),
        ({}, {"scale": "logarithmic"}, "scale must be 'log' or 'linear', got 'logarithmic'"),
        ({}, {"better": "more"}, "better must be 'lower' or 'higher', got 'more'"),
        ({}, {"level": 5}, "level must be between 0 and 1, such as 0.05, got 5"),
    ],
)
def test_what_cannot_be_meant(values, options, said):
    with pytest.raises(InputError) as raised:
        differences("loss", values, **options)
    assert said in str(raised.value)


def test_where_higher_is_better_minus_infinity_is_the_worst():
    for scale in ("log", "linear"):
        d = only({"a": [0.9, 0.91, 0.92, 0.93], "b": [0.1, -INF, -INF, -INF]}, scale=scale, better="higher")
        assert "a is higher than b in loss (rank test" in d.sentence


def test_a_family_of_one_side_has_no_pairs():
    assert differences("loss", {"a": [1.0, 2.0]}) == []


def test_scipy_is_imported_where_it_is_used():
    imports = [line for line in inspect.getsource(statistics).splitlines() if "import" in line.split()]
    assert [line for line in imports if "scipy" in line and not line.startswith(" ")] == []

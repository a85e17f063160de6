"""One function per verb, each with its truth; it raises AssertionError where the verb is wrong."""

import base64
import contextlib
import itertools
import json
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import steepest as sd
from steepest.tasks import data as sources
from steepest.tasks.batches import Batches
from tests.zoo import plain
from tests.zoo.bench import Bench, heard, same
from tests.zoo.case import Case

VALUE = 1e-6
"""Of a value on a split against torch's, relative."""
NEAR = 1.2
"""The grid's best gain ÷ a measured rate's gain, at most."""
FACTOR = 4.0
"""Between a good rate of the grid and the range that is said to work, at most: the grid's step."""
NOISE = 0.25
"""Of the gain, between ends of trainings that drew other random numbers."""
VERDICT = 1e-4
"""Of a verdict's and a film's loss against torch's, relative: a film is float32, a verdict float64 where it can be."""
FIRST_BATCHES = (8, 16, 32, 64, 128)
"""That may be looked at, of data that bring their own batches."""
SAID_INEXACT = re.compile(r"not (?:be )?exact|inexact|not bit|may differ|other (?:order|batches)", re.I)


def relative(a: float, b: float) -> float:
    """The distance of two numbers, relative; 0 where both are NaN."""
    if (math.isnan(a) and math.isnan(b)) or a == b:
        return 0.0
    return abs(a - b) / max(abs(b), 1e-12)


def check_losses(ours: Any, theirs: list[float], tolerance: float) -> None:
    """Losses of the same steps, each against the plain loop's; relative to the largest in sight where they pass 0."""
    assert len(ours) == len(theirs), f"{len(ours)} steps, the plain loop takes {len(theirs)}"
    scale = max(map(abs, theirs)) * 1e-3
    for t, (a, b) in enumerate(zip(ours, theirs), 1):
        assert abs(a - b) <= tolerance * max(abs(b), scale), f"loss of step {t}: {a:.9g}, plain loop {b:.9g}"


def check_end(bench: Bench, system: nn.Module, twin: plain.Training, tolerance: float) -> None:
    """The end against the plain loop's, by what it makes of the validation split.

    Not weight by weight: a bias before a norm has a gradient of rounding errors, which Adam makes steps of.
    """
    split = bench.case.make().validation
    ours, theirs = plain.value(bench.case, system, split), plain.value(bench.case, twin.system, split)
    assert relative(ours, theirs) <= 10 * tolerance, f"the end's validation loss is {ours:.9g}, plain loop {theirs:.9g}"
    a, b = plain.state(system), plain.state(twin.system)
    assert a.keys() == b.keys(), f"other tensors than the plain loop's: {sorted(a.keys() ^ b.keys())[:3]}"


def check_order(bench: Bench) -> None:
    """An epoch of tensors has each sample once."""
    case, task = bench.case, bench.case.make()
    if not sources.is_tensors(task.data):
        return
    batches = Batches(task.data, case.batch_size, 0)
    target = sources.as_tuple(task.data)[-1]
    seen = torch.cat([batches(t)[0][-1] for t in range(1, batches.steps_per_epoch + 1)])
    assert len(seen) == len(target)
    assert torch.equal(seen.flatten().sort().values, target.flatten().sort().values), "an epoch misses samples"


# -- training ----------------------------------------------------------------------------------------------------------


def descend(bench: Bench) -> None:
    """Losses of all steps and the end as the plain loop's."""
    case = bench.case
    check_order(bench)
    task = bench.make()
    losses = [step.loss for step in sd.descend(task, schedule="constant", **case.settings)]
    twin = plain.train(case, schedule=plain.constant)
    check_losses(losses, twin.losses, case.tolerance)
    if isinstance(task.model, nn.Module):
        check_end(bench, case.system(task.model, task.loss), twin, case.tolerance)


def fit(bench: Bench) -> None:
    """Losses as the plain loop's; the metric is torch's at the model that is left."""
    case, run = bench.case, bench.run
    assert run.status == "done", run.status
    happened = "".join(f"; event at step {e.t}: {e.seen}, {e.done}" for e in run.events)
    try:
        check_losses(run.losses, bench.twin.losses, case.tolerance)
    except AssertionError as error:
        raise AssertionError(f"{error}{happened}") from None
    system = bench.system_of(run)
    check_end(bench, system, bench.twin, case.tolerance)
    check_metric(bench, run, system)
    check_loss(run)


def check_loss(run: sd.Run) -> None:
    """A loss with parameters is trained too, and is `run.loss`."""
    loss = run.task.loss
    if isinstance(loss, nn.Module) and list(loss.parameters()):
        assert isinstance(getattr(run, "loss", None), nn.Module), "there is no run.loss, the loss that was trained"


def check_metric(bench: Bench, run: sd.Run, system: nn.Module) -> None:
    """`run.metric` and the validation loss against torch's values."""
    case, split = bench.case, run.task.validation if run.task else bench.task.validation
    if split is None:
        split = bench.task.data
    truth, loss = plain.value(case, system, split), run.record.last("validation", "loss")
    assert loss is not None, "no validation loss was measured"
    assert relative(loss, truth) <= VALUE * exactness(system), f"validation loss {loss:.9g}, torch's {truth:.9g}"
    if case.metric is not None:
        with plain.evaluating(system), torch.no_grad(), plain.autocast(case):
            truth = case.metric(system, case.batches(split))
    assert run.metric is not None
    assert relative(run.metric, truth) <= VALUE * exactness(system), f"metric {run.metric:.9g}, torch's {truth:.9g}"


def exactness(system: nn.Module) -> float:
    """1 for float64 and float32, whose values differ by the order of a sum; bfloat16 keeps 8 bits."""
    return 1e4 if any(p.dtype is torch.bfloat16 for p in system.parameters()) else 5.0


def resume(bench: Bench) -> None:
    """Bit-equal to the run never stopped, or it was said that it is not."""
    whole = bench.fit(name="whole", locate=False)
    steps, task = len(whole.losses), bench.make()
    calls = interrupt_at(task, max(2, steps // 2))
    with heard() as words:
        settings = {"schedule": "cosine", **bench.case.settings}
        part = sd.fit(task, name="part", runs=bench.runs, locate=False, **settings)
        assert calls(), "the loss was not called as often as there are steps"
        assert part.status == "interrupted", part.status
        assert len(part.losses) < steps
        given = {} if isinstance(bench.case.rule, str) else {"rule": bench.case.rule}
        run = sd.resume(part.id, task=bench.make(), runs=bench.runs, **given)
    assert run.status == "done"
    if SAID_INEXACT.search(words()):
        return
    other = np.flatnonzero(run.losses != whole.losses) + 1 if len(run.losses) == steps else ["number of steps"]
    assert not len(other), f"losses differ from the run never stopped, first at {other[0]}, and nothing was said"
    assert same(run.point, whole.point), "the point differs from that of the run never stopped"
    ours, theirs = plain.state(run.model), plain.state(whole.model)
    assert all(same(ours[n], theirs[n]) for n in theirs), "the model differs from that of the run never stopped"


def interrupt_at(task: sd.Task, call: int) -> Callable[[], bool]:
    """Ctrl-C when the loss is computed with gradient for the n-th time; says whether it was."""
    count = [0]

    def tick(*_: Any) -> None:
        count[0] += torch.is_grad_enabled()
        if count[0] == call and torch.is_grad_enabled():
            count[0] += 1
            signal.raise_signal(signal.SIGINT)

    def after(function: Callable) -> Callable:
        def call_and_tick(*args: Any) -> Any:
            value = function(*args)
            tick()
            return value

        return call_and_tick

    if isinstance(task.loss, nn.Module):
        task.loss.register_forward_hook(tick)
    elif task.loss is not None:
        task.loss = after(task.loss)
    else:
        task.objective = after(task.objective)
    return lambda: count[0] > call


def open_run(bench: Bench) -> None:
    """A stored run with a fresh task has the model of the run's end: weights, buffers, and the metric by torch."""
    run, task = bench.run, bench.make()
    stored = sd.open(run.id, runs=bench.runs, task=task)
    ours, theirs = plain.state(stored.model), plain.state(run.model)
    assert ours.keys() == theirs.keys()
    other = [name for name in theirs if not same(ours[name], theirs[name])]
    assert not other, f"the opened model differs in {', '.join(other[:3])}"
    assert stored.metric == run.metric
    check_metric(bench, stored, bench.case.system(stored.model, getattr(stored, "loss", None) or task.loss))


# -- rates and races ---------------------------------------------------------------------------------------------------


def find_lr(bench: Bench) -> None:
    """The range has a rate that a small grid finds as good as its best, and the choice is nearly as good."""
    case = bench.case
    rates = sd.find_lr(bench.make(), **case.without("lr"))
    assert 0 < rates.low <= rates.high < math.inf
    good = [t.lr for t in bench.grid if bench.gain(t.end) * NEAR >= bench.best_gain]
    there = any(rates.low / FACTOR <= lr <= rates.high * FACTOR for lr in good)
    assert there, f"range {rates.low:.3g} to {rates.high:.3g}; the grid's good rates are {good}"
    check_rate(bench, rates.best)


def check_rate(bench: Bench, lr: float) -> None:
    """A plain training at the rate gains nearly as much as the grid's best."""
    gain, best = bench.gain(bench.trial(lr).end), bench.best_gain
    assert gain * NEAR >= best, f"at {lr:.3g} a plain training gains {gain:.4g}, at the grid's best {best:.4g}"


def auto(bench: Bench) -> None:
    """`fit(lr="auto")` records its rate and ends nearly as low as the grid's best."""
    run = bench.fit(lr="auto", schedule="warmup(5%) >> cosine", locate=False, name="auto")
    search = run.record.search
    assert run.status == "done"
    assert search is not None
    assert run.record.config.lr == search.best
    assert np.isfinite(run.losses).all()
    system = bench.system_of(run)
    check_metric(bench, run, system)
    end = plain.value(bench.case, system, run.task.validation if run.task.validation is not None else run.task.data)
    gain, best = bench.gain(end), bench.best_gain
    assert gain * NEAR >= best, f"at {search.best:.3g} it gains {gain:.4g}, the grid's best {best:.4g}"


def race(bench: Bench) -> None:
    """Each contender's end is that of its plain training; a claimed winner is the plain one."""
    case = bench.case
    names = [rule if isinstance(rule, str) else rule.__name__ for rule in case.races]
    given = {name: value for name, value in case.without("rule", "lr").items() if name != "accumulate"}
    lrs = {names[0]: case.lr, names[1]: case.lr}
    result = sd.race(bench.make(), list(case.races), seeds=2, lr=lrs, schedule="cosine", **given)
    ends: dict[str, list[float]] = {name: [] for name in names}
    for curve in result.curves:
        rule = case.races[names.index(curve.side)]
        end = bench.end(plain.train(case, case.lr, plain.cosine, rule=rule, seed=curve.seed))
        ends[curve.side].append(end)
        if math.isfinite(end) and not curve.failed:
            off, scale = abs(curve.final - end), abs(end) * 1e-3
            scale = max(scale, NOISE * abs(bench.start - end)) if case.has_own_noise else scale + 1e-7
            assert off <= scale, f"{curve.side}, seed {curve.seed}: ends at {curve.final:.6g}, plain loop {end:.6g}"
    assert all(math.isfinite(curve.final) for curve in result.curves if not curve.failed)
    assert result.verdict
    for sentence in result.words:
        if "validation loss" in sentence and not sentence.startswith("No difference"):
            winner = next(name for name in names if re.match(rf"{name}\b", sentence))
            assert sum(ends[winner]) == min(map(sum, ends.values())), f"{sentence} Plain loops end at {ends}"


# -- looking -----------------------------------------------------------------------------------------------------------


def locate(bench: Bench) -> None:
    """The verdict's loss and gradient norm are torch's at the point."""
    run = bench.run
    verdict = sd.locate(run.task, run, products=60)
    check_verdict(bench, verdict, run)


def check_verdict(bench: Bench, verdict: sd.Verdict, run: sd.Run) -> None:
    case, system, task = bench.case, bench.system_of(run), run.task
    everything = case.batches(task.data)
    truths = looked_at(bench, system, task)
    assert verdict.kind != "DIVERGED" or not math.isfinite(truths[0]), f"DIVERGED, torch's loss is {truths[0]:.6g}"
    loss = verdict.number("training loss")
    assert loss is not None, f"no training loss among the numbers of {verdict.kind}"
    check_among("the verdict's loss", loss.value, truths, case, system)
    norm = verdict.number("‖∇L‖², noise removed")
    if norm is not None and sources.is_tensors(task.data):
        truth = squared_norm(bench, system, task.data)
        slack = (norm.high - norm.low) / 2
        inside = norm.low - slack <= truth <= norm.high + slack
        assert inside, f"‖∇L‖² {norm.value:.4g} ({norm.low:.4g} to {norm.high:.4g}), torch's {truth:.4g}"
    if verdict.kind == "DESCENDING":
        assert can_descend(bench, system, everything), "DESCENDING, but no gradient step of torch lowers the loss"


def check_among(what: str, value: float, truths: list[float], case: Case, system: nn.Module) -> None:
    """Whether a loss in evaluation mode is torch's on the samples that were looked at."""
    off, allowed = min(relative(value, truth) for truth in truths), VERDICT * exactness(system) + case.evaluation_noise
    shown = " or ".join(f"{truth:.7g}" for truth in truths[:2])
    assert off <= allowed, f"{what} is {value:.7g}, torch's {shown}"


def looked_at(bench: Bench, system: nn.Module, task: sd.Task, count: int | None = None) -> list[float]:
    """torch's loss on all training samples, then on those that Steepest may look at: a half, or the first batches.

    Where it says on how many samples a number is, the first batches of so many are meant.
    """
    case = bench.case
    samples = [case.batches(task.data)]
    if sources.is_iterable(task.data):
        with plain.seeds.ours(0, "sample"):
            batches = list(itertools.islice(map(sources.from_loader, task.data), FIRST_BATCHES[-1]))
        samples += [batches, *([part[:k] for k in FIRST_BATCHES for part in (batches, batches[::2], batches[1::2])])]
        with contextlib.suppress(sd.SteepestError):  # batches of this kind cannot be counted
            totals = list(itertools.accumulate(map(sources.count, batches)))
            samples += [batches[: k + 1] for k, total in enumerate(totals) if total == count]
    elif task.data is not None:
        half = min(4096, sources.length(task.data)) // 2
        with contextlib.suppress(sd.SteepestError):  # data of this kind cannot be drawn from
            samples += sources.disjoint_samples(task.data, (half, half), 512, 0)
    losses = []
    for batches in samples:
        with plain.evaluating(system), plain.seeds.ours(0, "surface"):
            losses.append(plain.total(case, system, batches))
    return losses


def squared_norm(bench: Bench, system: nn.Module, data: Any, blocks: int = 16) -> float:
    """‖∇L‖² without noise, by torch: the mean product of the gradients of two different blocks of the data."""
    tensors = sources.as_tuple(data)
    order = torch.randperm(len(tensors[0]), generator=torch.Generator().manual_seed(1))
    rows = order[: len(order) // blocks * blocks].view(blocks, -1)
    g = torch.stack([plain.gradient(bench.case, system, [tuple(x[row] for x in tensors)]) for row in rows])
    products = g @ g.T
    return float((products.sum() - products.trace()) / (blocks * (blocks - 1)))


def can_descend(bench: Bench, system: nn.Module, batches: list[Any]) -> bool:
    """Whether a gradient step lowers torch's loss by 1/2,000: half of what a verdict asks for, on other samples."""
    case, g = bench.case, plain.gradient(bench.case, system, batches)
    parameters = [p for p in system.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    with plain.evaluating(system):
        loss = plain.total(case, system, batches)
        for k in range(-18, 8):
            step(parameters, before, g, 2.0**k)
            lower = plain.total(case, system, batches)
            step(parameters, before, g, 0.0)
            if lower < loss - 5e-4 * abs(loss):
                return True
    return False


@torch.no_grad()
def step(parameters: list[Tensor], before: list[Tensor], g: Tensor, length: float) -> None:
    """Parameters at `before − length · g`."""
    for p, w, part in zip(parameters, before, g.split([p.numel() for p in parameters])):
        p.copy_(w - length * part.view(p.shape).to(p.dtype))


def diagnose(bench: Bench) -> None:
    """The problem is one that plain trainings confirm."""
    case, run = bench.case, bench.run
    kind = sd.diagnose(run).kind
    if kind in case.healthy:
        return
    grid = bench.grid
    at_lr, larger, smaller = grid[2], grid[3:], grid[:2]
    fell = bench.gain(at_lr.end) > 0.1 * abs(bench.start)
    bad = ("exploding", "diverged", "oscillating", "not finite", "no gradient")
    assert kind not in bad or not fell, f"{kind}, but the plain training is healthy"
    if kind == "too slow":
        larger = [*larger, bench.trial(2 * case.lr)]
        better = any(bench.gain(t.end) > bench.gain(at_lr.end) or t.losses[-1] < at_lr.losses[-1] for t in larger)
        assert better, "too slow, but no larger rate of the plain grid ends lower"
    elif kind == "oscillating":
        better = any(bench.gain(t.end) > bench.gain(at_lr.end) or t.losses[-1] < at_lr.losses[-1] for t in smaller)
        assert better, "oscillating, but no smaller rate of the plain grid ends lower"
    elif kind == "overfitting":
        curve = [m.value for m in run.record.series("validation", "loss")]
        assert curve[-1] > min(curve), f"overfitting, but the validation loss ends at its least, {curve[-1]:.4g}"
    elif kind == "plateau":
        assert not fell, "plateau, but the plain training's loss fell"
    elif kind == "healthy":
        assert bench.gain(at_lr.end) > 0 or at_lr.losses[-1] < at_lr.losses[0], "healthy, but nothing was gained"
    else:
        assert kind in ("noise floor", "undecided", "cannot tell"), f"unknown kind {kind}"


def film(bench: Bench) -> None:
    """One page whose curves and path end at the run's losses."""
    run, file = bench.run, bench.home / "film.html"
    with heard() as words:
        run.film(file, planes=("curvature", "random"))
    check_film(bench, file, run, words())


def check_film(bench: Bench, file: Path, run: sd.Run, words: str) -> None:
    case, document = bench.case, read_film(file)
    (member,) = document["members"].values()
    curve = member["curves"]["loss"]
    last = float(run.losses[-1]) / (case.batch_size if run.record.config.reduction == "sum" else 1)  # then per sample
    assert relative(float(numbers(curve["hi"])[-1]), float(np.float32(last))) <= VALUE or len(run.losses) > 4096
    assert len(numbers(member["curves"]["lr"]["mid"])) == len(numbers(curve["mid"]))
    if not document["surfaces"]:
        said = words + document["headline"]
        assert case.curves_only, f"the film has no surface: {words.strip()[-300:]}"
        assert re.search(case.curves_only, said), f"no surface, and not for {case.curves_only!r}: {said[-300:]}"
        return
    assert not case.curves_only, "the film has a surface: drop curves_only"
    surface = next(iter(document["surfaces"].values()))
    assert np.isfinite(numbers(surface["loss"])).any()
    system = bench.system_of(run)
    end = float(numbers(member["path"]["loss"])[-1])
    shown = re.search(r"Loss on ([\d,]+)", surface["caption"])
    count = None if shown is None else int(shown[1].replace(",", ""))
    check_among("the end of the film's path", end, looked_at(bench, system, run.task, count), case, system)


def read_film(file: Path) -> dict[str, Any]:
    """The document in a film's page, which is one file."""
    text = file.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html")
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", text), "the page needs the network"
    found = re.search(r'id="film"[^>]*>(.*?)</script>', text, re.S)
    assert found is not None, "no film in the page"
    return json.loads(found[1])


def numbers(column: dict[str, Any]) -> np.ndarray:
    """A column of a film."""
    return np.frombuffer(base64.b64decode(column["data"]), "<" + column["dtype"]).reshape(column["shape"])

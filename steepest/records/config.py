"""A run's configuration: every choice that was made for it."""

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from steepest.records.search import Search
from steepest.records.verdict import Verdict

OPTIONAL = (
    "epochs", "clip", "average", "precision", "groups", "stretched", "end_step", "reduction", "validation_samples",
    "test_samples", "source_hash", "last_checkpoint",
)  # fmt: skip
"""Fields that the stored JSON has only where they are set."""
NORMS_AND_BIASES = "norms and biases"
FEWER_DIMENSIONS = "fewer than two dimensions"
"""Values of `no_decay`. In Steepest 0.1 the first one meant what is now the second."""
RECORDED_NORMS_AND_BIASES = "norms and biases by module"
"""The first one in the stored JSON. A run of Steepest 0.1 is so read as what it was, and resumed with its groups."""

WITH_CORRECTION = {"average_formula": "corrected"}
"""In the stored JSON of a run with an average, since the average starts without bias."""


class UncorrectedAverage(float):
    """β of a run of Steepest 0.1, whose average started at the weights: a ← β a + (1 − β) w."""


@dataclass(frozen=True)
class StageConfig:
    """One stage's update rule.

    Attributes:
        rule: name of the rule; module and name of a function that makes a torch optimizer.
        hypers: the rule's hyperparameters; a schedule as text. None for a torch optimizer.
        formula: the rule's source; None for a torch optimizer.
        length: of the stage, as text; None takes the rest.
        lr: base learning rate that was given for this stage; the first stage's is `Config.lr`.
    """

    rule: str = ""
    hypers: Mapping[str, Any] | None = None
    formula: str | None = None
    length: str | None = None
    lr: float | None = None


@dataclass(frozen=True)
class Config:
    """Every choice of a run. A default means that the run does not say.

    Attributes:
        task, source: the task's name; the built-in name or the file that it was loaded from.
        rule: name of the update rule, or the stages as text.
        lr: base learning rate of the first stage.
        schedule: factor of the learning rate over the run, as text.
        batch_size: samples per step, "full", or None for data that brings its own batches.
        epochs, steps: length of the run; epochs only where the length was given so.
        clip: largest gradient norm that is not scaled down.
        average: β of the running average of the weights.
        precision: of the forward pass and the loss under autocast.
        groups: hyperparameters by glob on parameter names.
        accumulate: micro-batches per step.
        no_decay: parameters without weight decay.
        guard: the guard's settings; None without a guard.
        seed: of the order of data, the randomness in a step, and the start where the model is a function.
        stages: the update rules in their order.
        keep: "last" or "best".
        stop_after: measurements without improvement after which the run stops.
        checkpoint_every: steps, or seconds as text.
        measure_every: steps, or a length as text, from one measurement to the next; None is every epoch.
        locate: whether a quick check of the end follows.
        device: on which it ran.
        steps_per_epoch, samples, weights: sizes of an epoch, the training data and the model.
        metric, better: the validation metric, and which direction of it is better: "higher" or "lower"; None if nobody
            said.
        start: id of the run at whose end this one started, or "the task's".
        model, data: fingerprints of the model's shapes and of the data.
        parameters: names of the trained parameters, in the order of the point.
        stretched: each change of the length by a resumed run, in words.
        end_step: step whose weights the run left, where these are not the last ones.
        reduction: "sum" where the loss of a batch is a sum over its samples; else None.
        validation_samples, test_samples: of these splits; None where a split is missing or has no known length.
        source_hash: SHA-256 of the task's file when the run began.
        last_checkpoint: step of the last checkpoint; 0 before the first, None where that was not recorded.
    """

    task: str = ""
    source: str | None = None
    rule: str = ""
    lr: float | None = None
    schedule: str = ""
    batch_size: int | str | None = None
    epochs: int | None = None
    clip: float | None = None
    average: float | None = None
    precision: str | None = None
    groups: Mapping[str, Mapping[str, float]] | None = None
    accumulate: int = 1
    no_decay: Any = None
    guard: Mapping[str, Any] | None = None
    seed: int = 0
    stages: tuple[StageConfig, ...] = ()
    keep: str = "last"
    stop_after: int | None = None
    checkpoint_every: int | str = "30 s"
    measure_every: int | str | None = None
    locate: bool = True
    device: str = "cpu"
    steps: int = 0
    steps_per_epoch: int = 0
    samples: int | None = None
    weights: int = 0
    metric: str = "loss"
    better: Literal["higher", "lower"] | None = "lower"
    start: str = "the task's"
    model: str = ""
    data: str = ""
    parameters: tuple[str, ...] = ()
    stretched: tuple[str, ...] = ()
    end_step: int | None = None
    reduction: str | None = None
    validation_samples: int | None = None
    test_samples: int | None = None
    source_hash: str | None = None
    last_checkpoint: int | None = None

    @property
    def rules(self) -> str:
        """The update rules of the stages, in their order, as text."""
        return " → ".join(stage.rule for stage in self.stages) or self.rule

    @property
    def is_watched(self) -> bool:
        """Whether the loop was the user's own: of its schedule and its data nothing is recorded."""
        return bool(self.model) and not self.data and not self.schedule

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Config":
        """The configuration that `to_json` wrote; unknown keys are ignored."""
        fields = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data}
        for name in ("stages", "parameters", "stretched"):
            fields[name] = tuple(fields.get(name, ()))
        no_decay = fields.get("no_decay")
        if no_decay in (NORMS_AND_BIASES, RECORDED_NORMS_AND_BIASES):
            fields["no_decay"] = FEWER_DIMENSIONS if no_decay == NORMS_AND_BIASES else NORMS_AND_BIASES
        if fields.get("average") is not None and not WITH_CORRECTION.items() <= data.items():
            fields["average"] = UncorrectedAverage(fields["average"])
        if "measure_every" not in data and fields.get("batch_size") is None and "epochs" not in data:
            fields["measure_every"] = data.get("steps_per_epoch") or None  # data without a length was one epoch
        stages = tuple(StageConfig(**stage) for stage in fields["stages"])
        if stages and stages[0].lr is not None:  # as it was recorded before; it was used in place of the run's `lr`
            fields["lr"], stages = stages[0].lr, (dataclasses.replace(stages[0], lr=None), *stages[1:])
        return cls(**{**fields, "stages": stages})

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        stages = [{k: v for k, v in vars(stage).items() if v is not None} for stage in self.stages]
        data = {**vars(self), "stages": stages, "parameters": list(self.parameters)}
        data["stretched"] = list(self.stretched) or None
        if self.no_decay == NORMS_AND_BIASES:
            data["no_decay"] = RECORDED_NORMS_AND_BIASES
        if self.average is not None and not isinstance(self.average, UncorrectedAverage):
            data |= WITH_CORRECTION
        return {k: v for k, v in data.items() if v is not None or k not in OPTIONAL}

    def __getitem__(self, name: str) -> Any:
        """`config["lr"]`, as before `Config` was a class. Deprecated: write `config.lr`."""
        warnings.warn(f"config[{name!r}] is deprecated. Use config.{name}.", DeprecationWarning, stacklevel=2)
        return self.to_json()[name]


def to_json(config: Config, search: Search | None, verdict: Verdict | None) -> dict[str, Any]:
    """What the database's config column holds: the configuration, and what was measured before and after the run."""
    answers = {"search": search and search.describe(), "verdict": verdict and verdict.describe()}
    return config.to_json() | {name: answer for name, answer in answers.items() if answer is not None}


def from_json(data: Mapping[str, Any]) -> tuple[Config, Search | None, Verdict | None]:
    """What `to_json` wrote."""
    search, verdict = data.get("search"), data.get("verdict")
    return Config.from_json(data), search and Search.of(search), verdict and Verdict.of(verdict)

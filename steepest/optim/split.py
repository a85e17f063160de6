"""Hidden matrices to one optimizer, all other parameters to another."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steepest.errors import InputError
from steepest.optim.optimizer import apply_hooks
from steepest.tasks.space import Space, is_norm_or_bias

Make = Callable[..., torch.optim.Optimizer]
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
HEAD_NAMES = ("head", "classifier", "output", "logits", "decoder", "score", "unembed")
"""Words in the names of output layers."""


class SplitOptimizer(torch.optim.Optimizer):
    """Two optimizers as one: one list of param groups for schedulers, one `state_dict`.

    Attributes:
        optimizers: the optimizer of the hidden matrices, and that of the rest.
        names: for each of them the names of its parameters.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer], names: list[list[str]]) -> None:
        self.optimizers, self.names = optimizers, names
        super().__init__([p for o in optimizers for g in o.param_groups for p in g["params"]], {})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The param groups of both optimizers themselves."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass  # torch's constructor begins with an empty list

    @property
    def state(self) -> dict[Tensor, Any]:
        """The state of both optimizers."""
        return {p: state for optimizer in self.optimizers for p, state in optimizer.state.items()}

    @state.setter
    def state(self, state: Mapping[Tensor, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuses a param group: add it to one of `optimizers`."""
        if all(any(p is q for g in self.param_groups for q in g["params"]) for p in param_group["params"]):
            return  # torch's constructor adds what both optimizers have
        raise InputError("add_param_group needs one of the two optimizers. Call it on optimizer.optimizers[0] or [1].")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both optimizers.

        Args:
            closure: recomputes the loss; optional. It is called once.

        Returns:
            The closure's loss, or None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restores what `state_dict` returned.

        Raises:
            InputError: it has another number of param groups, or one of the optimizers refuses it; nothing is changed.
        """
        state_dict = apply_hooks(self, state_dict)
        groups = list(state_dict["param_groups"])
        if len(groups) != len(self.param_groups):
            raise InputError(f"state_dict must have {len(self.param_groups)} param groups, got {len(groups)}")
        before = [(o.state, o.param_groups) for o in self.optimizers]
        try:
            for optimizer in self.optimizers:
                own = [groups.pop(0) for _ in optimizer.param_groups]
                places = {place for group in own for place in group["params"]}
                state = {place: x for place, x in state_dict["state"].items() if place in places}
                optimizer.load_state_dict({"state": state, "param_groups": own})
        except Exception:
            for optimizer, (state, own) in zip(self.optimizers, before, strict=True):
                optimizer.state, optimizer.param_groups = state, own
            raise
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"optimizers": self.optimizers, "names": self.names, "defaults": self.defaults}

    def __repr__(self) -> str:
        lines = [
            f"  {part} by {type(optimizer).__name__} ({len(names)}): {_shorten(names)}"
            for part, optimizer, names in zip(("matrices", "rest"), self.optimizers, self.names, strict=True)
        ]
        return "\n".join(["SplitOptimizer(", *lines, ")"])


class Split:
    """A rule for `fit` and `descend`: `split(matrices=..., rest=...)` without a model."""

    def __init__(self, matrices: Make, rest: Make) -> None:
        self.matrices, self.rest = matrices, rest
        self.__qualname__ = f"split(matrices={_name(matrices)}, rest={_name(rest)})"

    def __call__(self, model: nn.Module) -> SplitOptimizer:
        """The optimizer of a model."""
        space, output = Space(model), _output_layer(model)
        parameters = list(zip(space.names, space.tensors(), space.modules, strict=True))
        optimizers, names = [], []
        for make, is_rest in ((self.matrices, False), (self.rest, True)):
            own = [(name, p) for name, p, module in parameters if _is_rest(name, p, module, output) is is_rest]
            if not own:
                part = "rest" if is_rest else "matrices"
                raise InputError(f"{part} must get at least one parameter, got none. Use one optimizer for this model.")
            optimizers.append(make([p for _, p in own]))
            names.append([name for name, _ in own])
        return SplitOptimizer(optimizers, names)


def split(model: nn.Module | None = None, *, matrices: Make, rest: Make) -> Any:
    """An optimizer that gives the hidden matrices of a model to one optimizer, and the rest to another.

    The rest is: embeddings, output layers (the last linear layer, tied weights, and layers named head, classifier, …),
    norms, biases, convolutions and all else that has not two dimensions. Print the optimizer to see what went where.

    Args:
        model: the model; None for a rule for `fit` and `descend`, whose `lr=` scales all learning rates alike.
        matrices: makes the optimizer of the matrices from their list: a class or a partial, with its own learning rate.
        rest: makes the optimizer of the rest.

    Raises:
        InputError: one of the two has no parameters.

    >>> from functools import partial
    >>> import steepest as sd
    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 9))
    >>> sd.optim.split(model, matrices=partial(torch.optim.Muon, lr=0.02), rest=partial(sd.optim.AdamW, lr=3e-4))
    SplitOptimizer(
      matrices by Muon (1): 1.weight
      rest by AdamW (6): 0.weight, 1.bias, 2.weight, 2.bias, 3.weight, …
    )

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """
    rule = Split(matrices, rest)
    if model is None:
        return rule
    return rule(model)


def _output_layer(model: nn.Module) -> nn.Module | None:
    """The last linear layer, whose weight may be that of an embedding."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def _is_rest(name: str, p: Tensor, module: nn.Module, output: nn.Module | None) -> bool:
    """Whether a parameter is no hidden matrix."""
    if p.ndim != 2 or module is output or is_norm_or_bias(name, module) or isinstance(module, EMBEDDINGS):
        return True
    words = name.lower().split(".")
    return any(word.endswith(HEAD_NAMES) or "embed" in word for word in words[-2:-1])


def _shorten(names: list[str], most: int = 5) -> str:
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def _name(make: Any) -> str:
    return getattr(getattr(make, "func", make), "__name__", type(make).__name__)

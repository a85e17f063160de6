"""A model with a loss that has parameters or buffers, as one module: the loss's names begin with `loss.`."""

import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any

from torch import nn
from torch.nn.modules import loss as torch_losses

from steepest.errors import TaskError

LOSS = "loss"
"""Name of the loss beside the model's own modules."""


class ModelWithLoss(nn.Module):
    """A model and its loss: parameters, buffers and modules have the model's names; the loss's are `loss.<name>`.

    It has no tensors of its own: it looks the model's up each time. A tensor that both share counts once.

    Attributes:
        model: maps inputs to an output; so does this module.
        loss: the module in the loss.
        function: `(output, target) -> loss`; the module, or a method or partial of it.

    Raises:
        TaskError: the model has something named `loss`.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, function: Callable[[Any, Any], Any] | None = None) -> None:
        state = nn.Module().__dict__
        names = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training")
        self.__dict__.update({name: value for name, value in state.items() if name not in names})
        self.__dict__.update(model=model, loss=loss, function=loss if function is None else function)
        tensors = (*model.named_parameters(), *model.named_buffers(), *model.named_modules())
        if any(name.partition(".")[0] == LOSS for name, _ in tensors):
            raise TaskError(
                f"{type(model).__name__} must have no parameter or module named '{LOSS}', which is the name of the "
                f"loss ({type(loss).__name__}) that is trained with it. Rename it."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __getattr__(self, name: str) -> Any:
        if name in ("model", "loss"):
            raise AttributeError(name)  # while it is being copied
        return getattr(self.model, name)

    @property
    def _parameters(self) -> dict[str, Any]:  # type: ignore[override]
        return self.model._parameters

    @property
    def _buffers(self) -> dict[str, Any]:  # type: ignore[override]
        return self.model._buffers

    @property
    def _non_persistent_buffers_set(self) -> set[str]:  # type: ignore[override]
        return self.model._non_persistent_buffers_set

    @property
    def _modules(self) -> dict[str, Any]:  # type: ignore[override]
        return {**self.model._modules, LOSS: self.loss}

    @property
    def training(self) -> bool:
        return self.model.training

    @training.setter
    def training(self, mode: bool) -> None:  # type: ignore[override]
        self.model.training = mode

    @property
    def _orig_mod(self) -> nn.Module:
        """The same with the model that torch.compile was given; an AttributeError where it was given none."""
        return ModelWithLoss(self.model._orig_mod, self.loss, self.function)  # type: ignore[arg-type]

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The model's output."""
        return self.model(*inputs, **options)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Generator[tuple[str, nn.Module], None, None]:
        """The model's modules, then the loss's."""
        memo = set() if memo is None else memo
        yield from self.model.named_modules(memo, prefix, remove_duplicate)
        yield from self.loss.named_modules(memo, f"{prefix}.{LOSS}" if prefix else LOSS, remove_duplicate)

    def get_submodule(self, target: str) -> nn.Module:
        """The model itself for "", else the module of that name."""
        if target == LOSS or target.startswith(f"{LOSS}."):
            return self.loss.get_submodule(target[len(LOSS) + 1 :])
        return self.model.get_submodule(target)

    def train(self, mode: bool = True) -> "ModelWithLoss":
        """Sets the mode of both."""
        self.model.train(mode)
        self.loss.train(mode)
        return self


def with_loss(model: nn.Module, loss: Any) -> nn.Module:
    """The model with its loss where the loss has state, else the model."""
    module = stateful_module(loss)
    if module is None or isinstance(model, ModelWithLoss):
        return model
    return ModelWithLoss(model, module, loss)


def parts(module: nn.Module) -> tuple[nn.Module, Any]:
    """(the user's model, the loss's function with its parameters); None for the loss where it has no state."""
    return (module.model, module.function) if isinstance(module, ModelWithLoss) else (module, None)


def stateful_module(loss: Any) -> nn.Module | None:
    """The module with parameters or buffers in a loss; None if there is none.

    It is the loss itself, what it is a method of, or what it is a partial of. torch's own losses (with class weights in
    a buffer that never changes) are none.
    """
    modules = {id(m): m for m in _modules_of(loss) if _has_state(m)}
    if len(modules) > 1:
        return _Several({f"_{i}": m for i, m in enumerate(modules.values())})
    return next(iter(modules.values()), None)


class _Several(nn.ModuleDict):
    """Several modules in one partial."""


def _modules_of(loss: Any) -> Iterator[nn.Module]:
    if isinstance(loss, nn.Module):
        yield loss
    elif isinstance(loss, functools.partial):
        for part in (loss.func, *loss.args, *loss.keywords.values()):
            yield from _modules_of(part)
    elif hasattr(loss, "__self__"):
        yield from _modules_of(loss.__self__)


def _has_state(module: nn.Module) -> bool:
    is_torchs = type(module).__module__ == torch_losses.__name__
    return any(True for _ in module.parameters()) or (not is_torchs and any(True for _ in module.buffers()))

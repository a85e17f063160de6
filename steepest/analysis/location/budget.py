"""How an analysis divides its Hessian-vector products and samples."""

from typing import NamedTuple

from steepest.errors import InputError
from steepest.tasks import data
from steepest.tasks.task import Task

MIN_PRODUCTS, QUICK_PRODUCTS, FULL_PRODUCTS = 10, 60, 400
"""Hessian-vector products: fewest, most of a quick check, and of a full analysis by default."""
SHARPNESS_PRODUCTS = 15
"""Products for the sharpness as the rule sees it."""


class Budget(NamedTuple):
    """How an analysis divides its Hessian-vector products.

    |                     | quick check   | full analysis  |
    |---------------------|---------------|----------------|
    | extreme eigenvalues | the rest      | a quarter      |
    | sharpness           | 15            | 15             |
    | bound on λ_min      |               | half           |
    | sharpest layer      |               | what is left   |

    The critical batch size (one product for each block of gradients) and the batch sharpness (one for each batch) come
    out of what is left, too.

    Attributes:
        products: in all; more than 60 are a full analysis, which may report a minimum.
        samples: of the training data; half of them are for evaluation.
        length: of the training data; None if there are none, or they bring their own batches.
        has_all_data: whether all data may be used: nothing less bounds a curvature.
    """

    products: int
    samples: int
    length: int | None
    has_all_data: bool

    @classmethod
    def of(cls, task: Task, products: int, samples: int) -> "Budget":
        """For a task's data.

        Raises:
            InputError: too few products.
        """
        if products < MIN_PRODUCTS:
            raise InputError(f"products must be at least {MIN_PRODUCTS}, got {products}")
        length = None if data.is_iterable(task.data) else data.length(task.data)
        return cls(products, samples, length, task.data is None or (length is not None and length <= samples))

    @property
    def is_full(self) -> bool:
        return self.products > QUICK_PRODUCTS

    @property
    def eigenvalues(self) -> int:
        """For the extreme eigenvalues."""
        return self.products // 4 if self.is_full else self.products - SHARPNESS_PRODUCTS

"""How an analysis divides its Hessian-vector products and samples."""

from typing import NamedTuple

from steepest.curvature.work import Work
from steepest.errors import InputError
from steepest.tasks import data
from steepest.tasks.task import Task

MIN_PRODUCTS, QUICK_PRODUCTS, FULL_PRODUCTS = 10, 60, 400
"""Hessian-vector products: fewest, most of a quick check, and of a full analysis by default."""
QUICK_SHARE, QUICK_MIN_S = 0.1, 0.5
"""Share of a run's work that the quick check at its end takes at most, and the work that it may take in any case, in
seconds of one core (`curvature.work`)."""
QUICK_MIN_SAMPLES, QUICK_MAX_SAMPLES = 64, 1024
OTHER_GRADIENTS, PRODUCT_GRADIENTS = 40, 1.0
"""A quick check takes so many gradients of its samples beside its products, and a product takes as long as so many: it
is over half of the samples, in float64."""
SHARPNESS_PRODUCTS = 15
"""Products for the sharpness as the rule sees it."""


class Budget(NamedTuple):
    """How an analysis divides its Hessian-vector products.

    |                     | quick check             | full analysis  |
    |---------------------|-------------------------|----------------|
    | extreme eigenvalues | the rest, at least half | a quarter      |
    | sharpness           | 15                      | 15             |
    | bound on λ_min      |                         | half           |
    | sharpest layer      |                         | what is left   |

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
        return self.products // 4 if self.is_full else max(self.products // 2, self.products - SHARPNESS_PRODUCTS)


def quick_budget(work: Work, steps: int, batch_size: float, length: int) -> tuple[int, int] | None:
    """Products and samples of the quick check at the end of a run; None where fewer than the least are affordable.

    It follows from sizes alone, so that the same run has the same verdict on a busy machine too.

    Args:
        work: of a pass of the model.
        steps: of the run.
        batch_size: of a step.
        length: of the training data.
    """
    seconds = max(QUICK_SHARE * steps * work.gradient_seconds(batch_size), QUICK_MIN_S)
    least = min(QUICK_MIN_SAMPLES, length)

    def affordable_products(samples: int) -> int:
        return int((seconds / work.gradient_seconds(samples) - OTHER_GRADIENTS) / PRODUCT_GRADIENTS)

    if affordable_products(least) < MIN_PRODUCTS:
        return None
    samples = least
    while samples < min(length, QUICK_MAX_SAMPLES) and affordable_products(2 * samples) >= QUICK_PRODUCTS:
        samples *= 2
    return min(QUICK_PRODUCTS, affordable_products(samples)), min(samples, length, QUICK_MAX_SAMPLES)

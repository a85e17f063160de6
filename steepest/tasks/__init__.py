"""What is trained and on which data: a task is a built-in one, or defined in a Python file."""

from steepest.tasks.batches import Batches
from steepest.tasks.buffers import Buffers
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.registry import BUILT_IN, load
from steepest.tasks.space import NORMS_AND_BIASES, Space
from steepest.tasks.task import Task

__all__ = ["BUILT_IN", "NORMS_AND_BIASES", "Batches", "Buffers", "Loss", "Objective", "Space", "Task", "load"]

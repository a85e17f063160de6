"""What is trained and on which data: a task is a built-in one, or defined in a Python file."""

from steepest.tasks.registry import BUILT_IN, load

__all__ = ["BUILT_IN", "load"]

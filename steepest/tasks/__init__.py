"""Tasks by name: the built-in ones, and a user's own file."""

from steepest.tasks.loading import BUILT_IN, load

__all__ = ["BUILT_IN", "load"]

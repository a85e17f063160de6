"""The command line: each command parses flags, makes one call of the library, and prints the result."""

from steepest.cli import runs, search, serve, show, train
from steepest.cli.base import app

__all__ = ["app", "runs", "search", "serve", "show", "train"]

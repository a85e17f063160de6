"""The command line: flags in, one call of the library, words out."""

from steepest.cli import runs, search, serve, show, train
from steepest.cli.base import app

__all__ = ["app", "runs", "search", "serve", "show", "train"]

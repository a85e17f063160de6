"""The command line: flags in, one call of the library, words out."""

from steepest.cli import looking, reading, searching, serving, training
from steepest.cli.base import app

__all__ = ["app", "looking", "reading", "searching", "serving", "training"]

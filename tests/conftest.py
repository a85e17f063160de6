"""How property tests run: the same examples every time, and however slow the machine is."""

from hypothesis import settings

settings.register_profile("steepest", deadline=None, derandomize=True)
settings.load_profile("steepest")

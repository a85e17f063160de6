"""How tests run: property tests with the same examples every time, and all tests however slow or small the machine."""

from hypothesis import settings

settings.register_profile("steepest", deadline=None, derandomize=True)
settings.load_profile("steepest")


def pytest_configure(config):
    """A DataLoader's warning that a machine of one processor has fewer than the workers that are tested."""
    config.addinivalue_line("filterwarnings", "ignore:.*worker processes in total:UserWarning")

"""The browser and axe-core of the film page's tests."""

from tests.page.conftest import axe, browser

__all__ = ["axe", "browser"]

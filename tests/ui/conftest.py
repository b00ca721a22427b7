"""The browser, for every module of pages."""

from tests.ui.test_page import browser

__all__ = ["browser"]

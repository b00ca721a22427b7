"""The browser, for every module of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.ui.driving import forget, started


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A browser that remembers nothing of earlier tests, in a new tab."""
    yield chromium
    forget(chromium)

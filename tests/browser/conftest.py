"""One browser for all tests, and the four looks of the page: wide and narrow, light and dark."""

import pytest

from tests.helpers.browser import Tab, tensorboard

LOOKS = [(1440, "light"), (900, "light"), (1440, "dark"), (900, "dark")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    tab = Tab(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.driver.quit()


@pytest.fixture(scope="module")
def url(folder):
    """TensorBoard over the module's own ``folder``."""
    with tensorboard(folder, "--load_fast=true") as url:
        yield url


@pytest.fixture(scope="module", params=LOOKS, ids=[f"{width}-{mode}" for width, mode in LOOKS])
def look(request, browser, url):
    """Opens the tab at ``url`` (a fixture of the module) once a look; yields the width and whether it is dark."""
    width, mode = request.param
    browser.size(width)
    browser.open(url)
    if mode == "dark" and "dark" not in browser.driver.execute_script("return document.body.className"):
        browser.dark()
    yield width, mode == "dark"
    browser.driver.execute_script("localStorage.clear()")

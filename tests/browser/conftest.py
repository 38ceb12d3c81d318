"""One browser for all tests: starting it takes longer than most of them."""

import pytest

from tests.helpers.browser import Tab


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    tab = Tab(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.driver.quit()

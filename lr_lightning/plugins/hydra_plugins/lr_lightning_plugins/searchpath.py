"""Makes our callbacks visible in any Hydra app, by files whose names begin with ``lr_``: nothing else of ours is."""

from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.plugins.search_path_plugin import SearchPathPlugin

OURS = "pkg://hydra_plugins.lr_lightning_plugins.conf"


class LRLightningSearchPath(SearchPathPlugin):
    """Puts our callbacks last: the app's own configs come first and win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our folder once; an app may name it in its own ``hydra.searchpath``."""
        if any(element.path == OURS for element in search_path.get_path()):
            return
        search_path.append(provider="lr-lightning", path=OURS)
        if hasattr(search_path, "config_search_path"):
            search_path.config_search_path = _OursLast(search_path.get_path())


class _OursLast(list[SearchPathElement]):
    """Hydra appends an app's ``hydra.searchpath`` after the plugins have spoken: it goes in front of ours.

    Hydra's own last element, the schema, stays last.
    """

    def append(self, element: SearchPathElement) -> None:
        ours = next((i for i, present in enumerate(self) if present.path == OURS), len(self))
        self.insert(len(self) if element.provider == "schema" else ours, element)

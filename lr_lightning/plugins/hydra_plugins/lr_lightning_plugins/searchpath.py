"""Makes the config groups of lr_lightning visible in any Hydra app."""

from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.plugins.search_path_plugin import SearchPathPlugin

OURS = "pkg://lr_lightning.conf"


class LRLightningSearchPath(SearchPathPlugin):
    """Puts ``pkg://lr_lightning.conf`` last: the app's own configs come first and win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our configs once; the ``lr-lightning`` app has them already."""
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

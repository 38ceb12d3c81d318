"""Makes the config groups of lr_lightning visible in any Hydra app."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LRLightningSearchPath(SearchPathPlugin):
    """Appends ``pkg://lr_lightning.conf``: the app's own configs come first and win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our configs once; the ``lr-lightning`` app has them already."""
        ours = "pkg://lr_lightning.conf"
        if all(element.path != ours for element in search_path.get_path()):
            search_path.append(provider="lr-lightning", path=ours)

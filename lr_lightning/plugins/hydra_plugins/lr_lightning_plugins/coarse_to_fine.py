"""``hydra/sweeper=lr_coarse_to_fine``: coarse-to-fine search on a log scale, with any launcher.

Hydra executes this module in every app of the environment: it imports little and must never raise. No
``from __future__ import annotations``: Hydra runs plugins before they are in ``sys.modules``, where a dataclass with
string annotations breaks.
"""

from dataclasses import dataclass
from typing import Any, List, Optional  # noqa: UP035  (OmegaConf reads these annotations on every Python)

from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class CoarseToFineConf:
    """Settings of the sweeper.

    Attributes:
        param: Key of the LR, for example ``model.lr``.
        low: Lower end of its range; its scale is logarithmic.
        high: Upper end.
        params: Further parameters by key: ``{low, high, scale: log|linear, integer, widen}``, ``{choices: […]}``, or as
            text what the command line takes (``interval(0, 0.5)``, ``choice(8, 16)``; ``0,1,2`` are repeats).
        mode: ``min`` or ``max`` the score that the app returns.
        budget: Most different points; repeats (``seed=0,1,2``) come on top.
        first: Points of the first round.
        later: Points of each later round.
        tolerance: Done when the interval of the best LR is narrower than this, in decades.
        widen: Whether a minimum at a border of the LR's range moves that border.
        widen_by: By how much, in decades.
        confidence: Mass of the interval.
        seed: Of the search's own random numbers.
        score: Key of the score if the app returns a mapping.
        max_batch_size: Most jobs handed to the launcher at once; None: a whole round.
        range_test: Whether one range test first gives the bracket; needs a mapping ``callbacks`` in the app's config or
            ``range_test_overrides``.
        range_test_overrides: What makes a job a range test in another app; it leaves ``bracket.json``, see
            :class:`lr_lightning.callbacks.search_bracket.SearchBracket`.
        prune: Metric by which clearly worse trials stop early, see :class:`lr_lightning.TrialPruner`, which is added to
            each trial's ``callbacks``; ``auto``: the config's ``score``, if it is a name; None: all run to their end.
        resume: Folder of an interrupted search to go on with.
    """

    _target_: str = "hydra_plugins.lr_lightning_plugins.coarse_to_fine.CoarseToFineSweeper"
    param: Optional[str] = None  # noqa: UP045  (checked by the search, which says what it is)
    low: float = 1e-6
    high: float = 1.0
    params: Any = None
    mode: str = "min"
    budget: int = 15
    first: int = 5
    later: int = 5
    tolerance: float = 0.1
    widen: bool = True
    widen_by: float = 1.0
    confidence: float = 0.8
    seed: int = 0
    score: Optional[str] = None  # noqa: UP045
    max_batch_size: Optional[int] = None  # noqa: UP045
    range_test: bool = True
    range_test_overrides: Optional[List[str]] = None  # noqa: UP006, UP045
    prune: Optional[str] = "auto"  # noqa: UP045
    resume: Optional[str] = None  # noqa: UP045


ConfigStore.instance().store(
    group="hydra/sweeper", name="lr_coarse_to_fine", node=CoarseToFineConf, provider="lr-lightning"
)


class CoarseToFineSweeper(Sweeper):
    """Hands the search to :mod:`lr_lightning.sweeper.sweep`, which is imported when a search starts.

    Args:
        settings: The fields of :class:`CoarseToFineConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: Optional[DictConfig] = None  # noqa: UP045
        self.hydra_context: Optional[HydraContext] = None  # noqa: UP045
        self.search: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings and make the launcher."""
        from lr_lightning.sweeper.sweep import Sweep

        try:
            self.search = Sweep(self.settings, hydra_context, task_function, config)
        except (ValueError, FileNotFoundError) as error:
            raise ConfigCompositionException(f"lr_coarse_to_fine: {error}") from error
        self.config, self.hydra_context = config, hydra_context

    def sweep(self, arguments: List[str]) -> Any:  # noqa: UP006
        """Run the search, or the rest of it.

        Returns:
            The best values by parameter.

        Raises:
            ConfigCompositionException: If it can't be searched, in words; Hydra prints it without a traceback.
        """
        from lr_lightning.sweeper.errors import SearchFailed, SearchRefused

        try:
            return self.search.run(list(arguments), self.validate_batch_is_legal)
        except (SearchFailed, SearchRefused) as error:
            raise ConfigCompositionException(f"lr_coarse_to_fine: {error}") from error

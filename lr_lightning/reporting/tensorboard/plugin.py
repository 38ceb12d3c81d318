"""The TensorBoard plugin. TensorBoard imports it at start: it loads neither torch nor lightning, and never raises."""

import functools
import gzip
import logging
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from lr_lightning.reporting.records import PLUGIN

_log = logging.getLogger(__name__)
_HERE = "lr_lightning.reporting.tensorboard"
_STATIC = {
    **dict.fromkeys(
        ("index.js", "page.js", "plot.js", "preview.js", "sidebar.js", "state.js", "table.js"), "text/javascript"
    ),
    "style.css": "text/css",
}
_PLOTLY = "plotly.min.js"
_KEPT_SECONDS = 30.0
"""How long a reader's click may be answered from what was read before; polls read anew."""
_MOST_BYTES = 64 * 2**20
"""Of a request's form: the names of 100,000 runs. Werkzeug's own limit of 500 kB is 700 long ones."""


class LRPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard has no types
    """Serves the tab's page, plotly.js from the installed plotly package, and the figures.

    Every route answers GET (and HEAD); ``view`` takes the same fields by POST as well, because the names of many runs
    don't fit into an address. Data comes from TensorBoard's data provider and static files from a fixed list, so no
    request can name a path.
    """

    plugin_name = PLUGIN

    def __init__(self, context: Any) -> None:
        self._data = context.data_provider
        self._books: dict[str, Any] = {}
        self._stores: dict[str, tuple[float, Any]] = {}

    def get_plugin_apps(self) -> dict[str, Any]:
        """The routes under ``data/plugin/lr_lightning``."""
        apps = {f"/{name}": _route(self._static) for name in (*_STATIC, _PLOTLY)}
        return {**apps, "/overview": _route(self._overview), "/view": _route(self._view, posts=True)}

    def is_active(self) -> bool:
        """False: TensorBoard's core shows the tab as soon as an event file names this plugin."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab's name and its module."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Learning rate")

    def _static(self, request: Any) -> Any:
        name = request.path.rsplit("/", 1)[-1]
        if name == _PLOTLY:
            return http_util.Respond(request, plotly_js(), "text/javascript", expires=86400, content_encoding="gzip")
        if name not in _STATIC:
            raise errors.NotFoundError(f"no file {name!r}")
        data = resources.files(_HERE).joinpath("static").joinpath(name).read_bytes()
        return http_util.Respond(request, data, _STATIC[name])

    def _overview(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard import views

        store, book = self._store(request)
        found = views.overview(store, book, request.args.get("dark") == "1")
        return http_util.Respond(request, found, "application/json")

    def _view(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard import views

        given = request.form if request.method == "POST" else request.args
        store, book = self._store(request, given.get("cached") == "1")
        view, chosen, hidden = given.get("view", ""), set(given.getlist("run")), set(given.getlist("not"))
        if view not in views.VIEWS:
            raise errors.InvalidArgumentError(f"view must be one of {', '.join(views.VIEWS)}, got {view!r}")
        runs = [run for run in store.views() if (run in chosen if chosen else run not in hidden)]
        options = views.options_of(given, given.getlist("metric"))
        result = views.payload(store, view, [] if given.get("none") else runs, options, book)
        return http_util.Respond(request, views.to_json(result), "application/json")

    def _store(self, request: Any, kept: bool = False) -> tuple[Any, Any]:
        """The experiment's store, on request the one of a moment ago, and the book of its colours."""
        from lr_lightning.reporting.tensorboard.names import ColorBook
        from lr_lightning.reporting.tensorboard.store import Store

        experiment = plugin_util.experiment_id(request.environ)
        read, store = self._stores.get(experiment, (0.0, None))
        if store is None or not kept or time.monotonic() - read > _KEPT_SECONDS:
            older, store = store, Store(self._data, plugin_util.context(request.environ), experiment)
            if older is not None:
                store.take_over(older)
            self._stores = {
                experiment: (time.monotonic(), store)
            }  # one at a time: it may hold a hundred thousand points
        return store, self._books.setdefault(experiment, ColorBook())


@functools.cache
def plotly_js() -> bytes:
    """plotly.min.js of the installed plotly package, gzipped once."""
    raw = resources.files("plotly").joinpath("package_data").joinpath(_PLOTLY).read_bytes()
    return gzip.compress(raw, compresslevel=3, mtime=0)


class _Request(wrappers.Request):
    max_form_memory_size = _MOST_BYTES


def _route(handler: Callable[[Any], Any], posts: bool = False) -> Any:
    """A WSGI application that answers with ``handler``, and a failure with words for the page."""
    methods = ("GET", "HEAD", "POST") if posts else ("GET", "HEAD")

    def answer(request: Any) -> Any:
        if request.method not in methods:
            told, headers = f"{', '.join(methods)} only", [("Allow", ", ".join(methods))]
            return http_util.Respond(request, {"error": told}, "application/json", code=405, headers=headers)
        try:
            return handler(request)
        except errors.PublicError:
            raise
        except Exception as error:  # any event file, any provider: the page says what is wrong instead of staying blank
            _log.exception("the learning-rate tab failed")
            text = f"{type(error).__name__}: {error}"
            return http_util.Respond(request, {"error": text}, "application/json", code=500)

    return _Request.application(answer)

"""The TensorBoard plugin. TensorBoard imports it at start: it loads neither torch nor lightning, and never raises."""

import functools
import gzip
import logging
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
_STATIC = {"index.js": "text/javascript", "style.css": "text/css"}
_PLOTLY = "plotly.min.js"


class LRPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard has no types
    """Serves the tab's page, plotly.js from the installed plotly package, and the figures.

    Every route answers GET (and HEAD) only. Data comes from TensorBoard's data provider and static files from a fixed
    list, so no request can name a path.
    """

    plugin_name = PLUGIN

    def __init__(self, context: Any) -> None:
        self._data = context.data_provider

    def get_plugin_apps(self) -> dict[str, Any]:
        """The routes under ``data/plugin/lr_lightning``."""
        apps = {f"/{name}": _route(self._static) for name in (*_STATIC, _PLOTLY)}
        return {**apps, "/overview": _route(self._overview), "/view": _route(self._view)}

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

        return http_util.Respond(request, views.overview(self._store(request)), "application/json")

    def _view(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard import views

        store, given = self._store(request), request.args
        view, chosen, hidden = given.get("view", ""), set(given.getlist("run")), set(given.getlist("not"))
        if view not in views.VIEWS:
            raise errors.InvalidArgumentError(f"view must be one of {', '.join(views.VIEWS)}, got {view!r}")
        runs = [run for run in store.views() if (run in chosen if chosen else run not in hidden)]
        options = {
            "dark": given.get("dark") == "1",
            "peers": given.get("peers") == "1",
            "x": given.get("x", "step"),
            "metrics": given.getlist("metric"),
        }
        result = views.payload(store, view, [] if given.get("none") else runs, options)
        return http_util.Respond(request, views.to_json(result), "application/json")

    def _store(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard.store import Store

        environ = request.environ
        return Store(self._data, plugin_util.context(environ), plugin_util.experiment_id(environ))


@functools.cache
def plotly_js() -> bytes:
    """plotly.min.js of the installed plotly package, gzipped once."""
    raw = resources.files("plotly").joinpath("package_data").joinpath(_PLOTLY).read_bytes()
    return gzip.compress(raw, compresslevel=3, mtime=0)


def _route(handler: Callable[[Any], Any]) -> Any:
    """A WSGI application that answers GET (and HEAD) with ``handler``, and a failure with words for the page."""

    def answer(request: Any) -> Any:
        if request.method not in ("GET", "HEAD"):
            headers = [("Allow", "GET, HEAD")]
            return http_util.Respond(request, {"error": "GET only"}, "application/json", code=405, headers=headers)
        try:
            return handler(request)
        except errors.PublicError:
            raise
        except Exception as error:  # any event file, any provider: the page says what is wrong instead of staying blank
            _log.exception("the learning-rate tab failed")
            text = f"{type(error).__name__}: {error}"
            return http_util.Respond(request, {"error": text}, "application/json", code=500)

    return wrappers.Request.application(answer)

"""The TensorBoard plugin. TensorBoard imports it at start: it loads neither torch nor lightning, and never raises."""

import functools
import gzip
import logging
from importlib import resources
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from lr_lightning.reporting.records import PLUGIN

_log = logging.getLogger(__name__)
_application: Any = wrappers.Request.application
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
        apps = {f"/{name}": self._static for name in (*_STATIC, _PLOTLY)}
        return {**apps, "/overview": self._overview, "/view": self._view}

    def is_active(self) -> bool:
        """False: TensorBoard's core shows the tab as soon as an event file names this plugin."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab's name and its module."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Learning rate")

    @_application
    def _static(self, request: Any) -> Any:
        name = request.path.rsplit("/", 1)[-1]
        if refused := _refused(request):
            return refused
        if name == _PLOTLY:
            return http_util.Respond(request, plotly_js(), "text/javascript", expires=86400, content_encoding="gzip")
        if name not in _STATIC:
            raise errors.NotFoundError(f"no file {name!r}")
        data = resources.files("lr_lightning.reporting.tensorboard").joinpath("static").joinpath(name).read_bytes()
        return http_util.Respond(request, data, _STATIC[name])

    @_application
    def _overview(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard import views

        return _refused(request) or _answer(request, lambda: views.overview(self._store(request)))

    @_application
    def _view(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard import views

        def build() -> str:
            store, given = self._store(request), request.args
            chosen = set(given.getlist("run"))
            hidden = set(given.getlist("not"))
            runs = [run for run in store.views() if (run in chosen if chosen else run not in hidden)]
            options = {
                "dark": given.get("dark") == "1",
                "peers": given.get("peers") == "1",
                "x": given.get("x", "step"),
                "metrics": given.getlist("metric"),
            }
            view = given.get("view", "")
            if view not in views.VIEWS:
                raise errors.InvalidArgumentError(f"view must be one of {', '.join(views.VIEWS)}, got {view!r}")
            return views.to_json(views.payload(store, view, [] if given.get("none") else runs, options))

        return _refused(request) or _answer(request, build)

    def _store(self, request: Any) -> Any:
        from lr_lightning.reporting.tensorboard.store import Store

        environ = request.environ
        return Store(self._data, plugin_util.context(environ), plugin_util.experiment_id(environ))


@functools.cache
def plotly_js() -> bytes:
    """plotly.min.js of the installed plotly package, gzipped once."""
    raw = resources.files("plotly").joinpath("package_data").joinpath(_PLOTLY).read_bytes()
    return gzip.compress(raw, compresslevel=3, mtime=0)


def _refused(request: Any) -> Any:
    if request.method in ("GET", "HEAD"):
        return None
    headers = [("Allow", "GET, HEAD")]
    return http_util.Respond(request, {"error": "GET only"}, "application/json", code=405, headers=headers)


def _answer(request: Any, build: Any) -> Any:
    """Answer with ``build()``; an unforeseen failure becomes words for the page instead of a blank tab."""
    try:
        return http_util.Respond(request, build(), "application/json")
    except errors.PublicError:
        raise
    except Exception as error:  # any event file, any provider
        _log.exception("the learning-rate tab failed")
        text = f"{type(error).__name__}: {error}"
        return http_util.Respond(request, {"error": text}, "application/json", code=500)

"""The tab's routes with hostile requests and hostile logs: JSON or an error in words, and no file of the machine."""

import json
import string
import warnings
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard import errors
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from werkzeug.test import Client

from lr_lightning.cli import review
from lr_lightning.reporting import events, records
from tests.helpers import logs

NAMES = [
    "plain", "a/b", "ünïcode ✓", "<script>window.hacked=1</script>", "a b&c=d", "%2e%2e", "x" * 150, "' or 1=1 --",
]  # fmt: skip


def routes(provider):
    with warnings.catch_warnings():  # TensorBoard's own html5lib
        warnings.simplefilter("ignore", DeprecationWarning)
        from lr_lightning.reporting.tensorboard.plugin import LRPlugin
    return LRPlugin(SimpleNamespace(data_provider=provider)).get_plugin_apps()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    for name in NAMES:
        logger, _ = logs.write_range_test(folder, name)
        logs.write_training(logger, steps=60, reason="<img src=x onerror=window.hacked=1>")
    logs.write_search(folder / "search")
    return folder


@pytest.fixture(scope="module")
def apps(folder):
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 100, records.PLUGIN: 10})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    return routes(provider)


def ask(apps, route, method="GET", **query):
    return Client(apps[route]).open("/data/plugin/lr_lightning" + route, method=method, query_string=query)


def answered(request, words):
    """The answer, or None where the request was refused with these words."""
    try:
        return request()
    except errors.PublicError as refusal:
        if words not in str(refusal):
            raise
        return None


def test_the_routes_are_a_fixed_list(apps):
    scripts = {f"/{name}.js" for name in ("index", "page", "plot", "preview", "sidebar", "state", "table")}
    assert set(apps) == {*scripts, "/style.css", "/plotly.min.js", "/overview", "/view"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BOGUS"])
def test_other_methods_are_refused_on_every_route(apps, method):
    for route in apps:
        if (method, route) == ("POST", "/view"):
            continue  # the names of many runs don't fit into an address
        answer = ask(apps, route, method=method)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == ("GET, HEAD, POST" if route == "/view" else "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    ["/index.js/../../../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/static/../plugin.py", "/plugin.py", "/",
     "//etc/passwd", "/index.js%00.py", "/style.css/", "/\\..\\plugin.py", "/views.py"],
)  # fmt: skip
def test_no_request_names_a_path(apps, path):
    """The file routes look at the last part of the path alone, and at a list of three names."""
    for route in ("/index.js", "/style.css", "/plotly.min.js"):
        answer = answered(lambda route=route: Client(apps[route]).get(path), "no file")
        if answer is None:
            continue
        assert answer.status_code == 200
        assert answer.mimetype in ("text/javascript", "text/css")
        assert b"root:" not in answer.data
        assert b"import " not in answer.data[:200]


def test_hostile_names_come_back_as_data(apps):
    runs = json.loads(ask(apps, "/overview").data)["runs"]
    assert {run["name"] for run in runs} == {*NAMES, "search"}
    for view in ("range_test", "training", "search"):
        for name in NAMES:
            answer = ask(apps, "/view", view=view, run=name, metric="curves/loss")
            assert answer.status_code == 200
            assert answer.mimetype == "application/json"  # a browser runs none of it
            assert json.loads(answer.data)["rest"]["table"]["head"]


def test_the_exported_page_escapes_them(folder):
    page = review.page(folder)
    assert "<script>window.hacked" not in page
    assert "<img src=x" not in page


def test_huge_queries_are_answered(apps):
    many = ask(apps, "/view", view="training", run=[f"r{i}" for i in range(20_000)], metric=["m" * 1000] * 2000)
    assert many.status_code == 200
    long = ask(apps, "/view", view="range_test", run="x" * 1_000_000)
    assert json.loads(long.data)["rest"]["table"]["rows"] == []


def test_the_form_of_700_long_names_is_answered(apps):
    names = [*NAMES, *("ü" * 250 + str(i) for i in range(700))]  # over a megabyte, encoded
    form = {"view": "training", "run": names, "metric": "curves/loss"}
    answer = Client(apps["/view"]).post("/data/plugin/lr_lightning/view", data=form)
    assert answer.status_code == 200
    drawn = {trace["legendgroup"] for trace in json.loads(answer.data)["figure"]["data"]}
    assert len(drawn) == len(NAMES)


def test_an_unknown_view_is_named_and_its_text_is_no_html(apps):
    for view in ("", "<script>", "../view", "x" * 10_000, "ünïcode"):
        with pytest.raises(errors.InvalidArgumentError, match="view must be one of range_test, training, search, got"):
            ask(apps, "/view", view=view)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            ["view", "run", "not", "metric", "x", "dark", "peers", "none", "smooth", "clip", "scale", "cached"]
        )
        | st.text(max_size=5),
        st.sampled_from(["range_test", "training", "search", "plain", "1", "curves/loss", "nan", "0.5", "log", "time"])
        | st.text(max_size=20),
        max_size=6,
    )
)
def test_any_query_is_answered_or_refused_in_words(apps, query):
    answer = answered(lambda: ask(apps, "/view", **{"view": "training", **query}), "view must be one of")
    if answer is None:
        return
    assert answer.status_code == 200
    json.loads(answer.data)


def json_values():
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=5)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    )


BODIES = {
    records.RANGE_TEST: [
        "status", "reason", "rule", "suggestion", "interval", "min_lr", "max_lr", "zones", "coverage", "cycle", "live",
    ],
    records.EVENT: ["kind", "step", "epoch", "old_lr", "new_lr", "reason", "source"],
    records.SEARCH: ["metric", "mode", "status", "trials", "rounds", "best", "interval", "surrogate", "reason"],
    records.CURVES: ["lr", "status"],
}  # fmt: skip


class Written:
    """A provider with one record of each kind, as any program could have written it."""

    def __init__(self, bodies, scalars):
        self.bodies, self.tags = bodies, scalars

    def list_tensors(self, ctx=None, *, experiment_id, plugin_name, run_tag_filter=None):
        series = {}
        for kind in self.bodies:
            content = json.dumps({"kind": kind, "schema": 1}).encode()
            series[f"{kind}/record"] = SimpleNamespace(plugin_content=content, max_wall_time=1.0)
        return {"run": series}

    def list_scalars(self, ctx=None, *, experiment_id, plugin_name, run_tag_filter=None):
        return {"run": {tag: SimpleNamespace(plugin_content=b"", max_wall_time=1.0) for tag in self.tags}}

    def read_tensors(self, ctx=None, *, experiment_id, plugin_name, downsample, run_tag_filter=None):
        made = {}
        for kind, body in self.bodies.items():
            text = json.dumps(body).encode()
            made[f"{kind}/record"] = [
                SimpleNamespace(step=0, wall_time=1.0, numpy=SimpleNamespace(item=lambda text=text: text))
            ]
        return {"run": made}

    def read_scalars(self, ctx=None, *, experiment_id, plugin_name, downsample, run_tag_filter=None):
        return {
            "run": {
                tag: [SimpleNamespace(step=i, wall_time=1.0, value=v) for i, v in enumerate(values)]
                for tag, values in self.tags.items()
            }
        }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_record_is_shown_or_noted(data):
    """Records are JSON from anywhere: the routes answer 200 whatever they hold."""
    bodies = {
        kind: data.draw(st.fixed_dictionaries({}, optional={key: json_values() for key in keys}) | json_values())
        for kind, keys in BODIES.items()
    }
    tags = {name: data.draw(st.lists(st.floats(), max_size=3)) for name in ("lr-SGD", "loss", "range_test/lr")}
    tags.update({"range_test/loss": [1.0], "epoch": [0.0, float("nan")]})
    made = routes(Written(bodies, tags))
    assert ask(made, "/overview").status_code == 200
    for view in ("range_test", "training", "search"):
        answer = ask(made, "/view", view=view, metric="loss", peers="1", x="epoch", smooth="0.9")
        assert answer.status_code == 200, (bodies, answer.data)
        json.loads(answer.data)


def test_review_refuses_what_is_no_directory_or_port(tmp_path, capsys):
    for argv in ([str(tmp_path), "--port", "x"], [str(tmp_path), "--bogus"], []):
        with pytest.raises(SystemExit):
            review.review_command(argv)
    for port in (70000, -1):
        assert review.review_command([str(tmp_path), "--port", str(port)]) == 2
        assert f"port must be an integer of at {'least 0' if port < 0 else 'most 65535'}" in capsys.readouterr().err
    assert review.review_command([str(tmp_path / "\u2713 none")]) == 2
    assert "no directory" in capsys.readouterr().err
    assert review.review_command([str(tmp_path), "--export", str(tmp_path / "no/such/folder/x.html")]) == 2


def test_a_logger_that_writes_hostile_events_breaks_nothing(tmp_path):
    logger = logs.board(tmp_path, "a")
    events.write_event(
        logs.rank_zero(logger),
        events.LREvent("</script>", 2**60, -5, float("nan"), float("inf"), "\x00\x1b[31m", "\u202e"),
    )
    assert review.page(tmp_path)

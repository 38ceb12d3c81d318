"""``lr-lightning review``: TensorBoard on this machine with the "Learning rate" tab open, or one page as a file."""

import argparse
import html
import os
import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lr_lightning.reporting.files import is_url
from lr_lightning.reporting.records import PLUGIN
from lr_lightning.rules.checks import check_count

HOST = "127.0.0.1"
_TITLES = {"range_test": "Range test", "training": "Training", "search": "Search"}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ color: #3c4043; font: 14px/1.5 Roboto, "Helvetica Neue", Arial, sans-serif; margin: 24px auto;
  max-width: 1200px; padding: 0 16px; }}
h1 {{ font-weight: 400; }}
h2 {{ border-top: 1px solid #dadce0; font-weight: 400; margin-top: 32px; padding-top: 20px; }}
table {{ border-collapse: collapse; width: 100%; }} th {{ color: #5f6368; font-weight: 500; text-align: left; }}
th, td {{ border-bottom: 1px solid #dadce0; padding: 5px 14px 5px 0; vertical-align: top; }}
.note {{ background: #fef7e0; padding: 8px 12px; }}
.dot {{ border-radius: 50%; display: inline-block; height: 11px; margin-right: 8px; width: 11px; }}
.runs {{ display: flex; flex-wrap: wrap; gap: 2px 20px; list-style: none; margin: 8px 0; padding: 0; }}
li {{ overflow-wrap: anywhere; }}
</style></head><body><h1>{title}</h1>
<script>{plotly}</script>
{body}
</body></html>
"""


def review(
    logdir: str | Path,
    export: str | Path | None = None,
    *,
    port: int = 0,
    open_browser: bool = True,
    block: bool = True,
) -> str:
    """Show what was logged under ``logdir``.

    Args:
        logdir: Log directory of one or many runs, or its URL on another filesystem (``s3://…``, ``gs://…``), as fsspec
            and TensorBoard read it.
        export: File to write one self-contained page to, instead of starting TensorBoard.
        port: Port on the loopback interface; 0 takes a free one.
        open_browser: Whether to open a browser.
        block: Whether to stay until Ctrl+C; otherwise TensorBoard lives as long as the process.

    Returns:
        The address, or the path of the page.

    Raises:
        FileNotFoundError: If ``logdir`` is no directory.
        ValueError: If ``port`` is no port, nothing here can read such a URL, or there is nothing to export.
        OSError: If TensorBoard can't be started there, or the other filesystem refuses.
    """
    check_count("port", port, 0, 65535)
    _check_folder(str(logdir))
    if export is not None:
        Path(export).write_text(page(logdir), encoding="utf-8", errors="replace")  # a folder's name may be no UTF-8
        return str(export)
    url = f"{launch(logdir, port)}#{PLUGIN}"
    print(url, flush=True)
    if open_browser:
        webbrowser.open(url)
    if block:
        wait()
    return url


def review_command(argv: Sequence[str]) -> int:
    """``lr-lightning review <logdir> [--export out.html] [--port N] [--no-browser]``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="lr-lightning review", description="Review learning rates in TensorBoard, or export one HTML page."
    )
    parser.add_argument("logdir", help="log directory of one or many runs, or its URL (s3://…)")
    parser.add_argument("--export", metavar="out.html", help="write one self-contained page instead")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    given = parser.parse_args(argv)
    try:
        where = review(given.logdir, given.export, port=given.port, open_browser=not given.no_browser)
    except (OSError, ValueError) as error:
        print(f"lr-lightning review: {error}", file=sys.stderr)
        return 2
    if given.export:
        print(where)
    return 0


def _check_folder(logdir: str) -> None:
    if not is_url(logdir):
        there = Path(logdir).is_dir()
    else:
        from tensorboard.compat import tf

        try:
            there = tf.io.gfile.isdir(logdir)
        except (ImportError, ValueError) as error:  # fsspec names the package that is missing
            raise ValueError(f"can't read {logdir!r} here: {error}") from None
        except Exception as error:  # whatever a store's client raises: no credentials, no network
            raise OSError(f"can't read {logdir!r}: {type(error).__name__}: {error}") from None
    if not there:
        raise FileNotFoundError(f"no directory {logdir!r}: give the directory that the logger wrote to")


def launch(logdir: str | Path, port: int = 0) -> str:
    """Start TensorBoard in this process on the loopback interface; returns its address."""
    from tensorboard import default, program

    from lr_lightning.reporting.tensorboard.plugin import LRPlugin

    plugins = default.get_plugins()
    if LRPlugin not in plugins:  # a checkout on the path without an install has no entry point
        plugins.append(LRPlugin)
    board = program.TensorBoard(plugins=plugins)
    board.configure(argv=[None, "--logdir", str(logdir), "--host", HOST, "--port", str(port)])
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise OSError(str(error)) from None


def wait() -> None:
    """Sleep until Ctrl+C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass


def page(logdir: str | Path) -> str:
    """One self-contained HTML page with a section for each view that has something to show.

    Raises:
        ValueError: If nothing has.
    """
    from plotly.offline import get_plotlyjs

    from lr_lightning.reporting.tensorboard import views

    store = _store(logdir)
    found = store.views()
    known = {run["name"]: run for run in views.overview(store)["runs"]}
    sections = []
    for view, title in _TITLES.items():
        runs = [run for run, own in found.items() if view in own]
        # One picture a search; the other views show their runs together.
        for chosen in [[run] for run in sorted(runs)] if view == "search" else [runs] if runs else []:
            result = views.payload(store, view, chosen, {"metrics": views.default_metrics(store)})
            name = f"{title}: {chosen[0]}" if view == "search" else title
            named = [known[run] for run in chosen] if view == "training" else []
            sections.append(_section(name, result, named))
    if not sections:
        raise ValueError(f"nothing to show: no range test, learning rate or search in the logs under {str(logdir)!r}")
    body = "\n".join(sections)
    name = str(logdir).rstrip("/").rpartition("/")[2] if is_url(logdir) else Path(logdir).resolve().name
    return _PAGE.format(title=f"Learning rates: {html.escape(name)}", plotly=get_plotlyjs(), body=body)


def _store(logdir: str | Path) -> Any:
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer

    from lr_lightning.reporting.tensorboard.store import MAX_POINTS, Store

    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": MAX_POINTS, PLUGIN: 10})
    if is_url(logdir):
        multiplexer.AddRunsFromDirectory(str(logdir))
    for folder in [] if is_url(logdir) else _folders(str(logdir)):
        multiplexer.AddRun(folder, os.path.relpath(folder, str(logdir)))
    multiplexer.Reload()
    return Store(data_provider.MultiplexerDataProvider(multiplexer, str(logdir)), context.RequestContext())


def _folders(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Folders with event files; a link that leads back ends there, where TensorBoard's own walk goes round."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        inside = sorted(os.listdir(folder))
    except OSError:  # no folder, or not ours to read: the others are shown
        return
    if any("tfevents" in name for name in inside):
        yield folder
    for name in inside:
        if os.path.isdir(os.path.join(folder, name)):
            yield from _folders(os.path.join(folder, name), (*above, real))


def _section(title: str, result: dict[str, Any], runs: Sequence[Mapping[str, str]] = ()) -> str:
    """A view's picture and table, and the colours of ``runs``, which the tab has in its list at the left."""
    from plotly.io import to_html

    from lr_lightning.reporting.figures import CONFIG, figure_of

    figure, found = figure_of(result["figure"]), result["table"]
    notes = f"<p><b>{html.escape(result['answer'])}</b></p>" if result.get("answer") else ""
    notes += "".join(f'<p class="note">{html.escape(note)}</p>' for note in result["notes"])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in found["head"])
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in found["rows"])
    plot = to_html(figure, full_html=False, include_plotlyjs=False, config=CONFIG)
    names = "".join(f"<li>{_dot(run['color'])}{html.escape(run['label'] or '.')}</li>" for run in runs)
    list_of_runs = f'<ul class="runs">{names}</ul>' if len(runs) > 1 else ""
    table = f"<table><tr>{head}</tr>{rows}</table>" if rows else ""
    return f"<h2>{html.escape(title)}</h2>{notes}{plot}{list_of_runs}{table}"


def _dot(color: str) -> str:
    return f'<span class="dot" style="background:{html.escape(color)}"></span>'


def _cells(row: dict[str, Any]) -> str:
    dot = _dot(row["color"])
    return "".join(f"<td>{'' if at else dot}{html.escape(cell)}</td>" for at, cell in enumerate(row["cells"]))

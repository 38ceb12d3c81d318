"""How Sphinx builds the documentation: `python -m sphinx -W -n -b html recipes/docs build/docs`."""

import contextlib
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import lr_lightning

HERE = Path(__file__).parent

project = "lr_lightning"
author = "lr_lightning maintainers"
project_copyright = f"2026, {author}"
release = version = lr_lightning.__version__
html_theme = "furo"
html_title = f"lr_lightning {release}"
html_static_path: list[str] = []

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["notebooks/.ipynb_checkpoints"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Notebooks run at every build: what the pages show is what this version does.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type"]  # plotly's own: its picture comes as HTML beside it

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Names of other packages: there is no network here to look their pages up.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|lightning|pytorch_lightning|numpy|np|hydra|omegaconf|optuna|plotly)\b.*"),
    (r"py:.*", r"(collections|pathlib|typing)\b.*"),
    (r"py:.*", r"(Optimizer|LRScheduler|Trainer|LightningModule|Callback|Tensor)"),
    (r"py:.*", r"Rule"),  # an alias: a name, a mapping or a rule object
    (r"py:.*", r"(Any|Sequence|Mapping|Iterable|Callable|Path)"),
]


def _generate(app: Sphinx) -> None:
    """The presets' curves, drawn anew by this version."""
    from recipes.docs.generate import draw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a formula's advice on runs as short as the pictures'
        draw(HERE / "generated")


def _fetch_notebooks(app: Sphinx) -> None:
    """Sphinx reads below its own folder alone."""
    target = HERE / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", target)


def _inner_name(app: Sphinx, env: object, node: Any, text: Any) -> Any:
    """A name of the package that has no page of its own: plain text if it exists; the build fails if it doesn't."""
    parts = node.get("reftarget", "").split(".")
    if parts[0] != "lr_lightning":
        return None
    for cut in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError, AttributeError):
            found = import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = getattr(found, part)
            return text
    return None


def setup(app: Sphinx) -> None:
    """What is made before the pages are read."""
    app.connect("builder-inited", _generate)
    app.connect("builder-inited", _fetch_notebooks)
    app.connect("missing-reference", _inner_name)

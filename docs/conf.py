"""The documentation, built by ``make docs`` without a network; a warning is an error there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import ip2lab  # noqa: E402 -- of this checkout

project, author, version = "ip2lab", "The ip2lab developers", ip2lab.__version__
copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "templates"]
templates_path = ["templates"]
suppress_warnings = ["mystnb.mime_priority"]  # a DataFrame's HTML and text: either is good
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstring says the types in words, and dims and units besides
autodoc_default_options = {"members": True, "inherited-members": False}
numpydoc_show_class_members = False
nb_execution_mode = "off"  # notebooks are committed with their outputs; tests/test_notebooks.py runs them
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"ip2lab {version}"
html_static_path: list[str] = []
html_math_renderer = "mathml"  # what browsers draw by themselves: MathJax would come from another server


def copy_notebooks() -> None:
    """Lay the notebooks where Sphinx finds them; they live at the top because they are the user interface."""
    for folder in ("generated", "notebooks"):  # what an earlier build left
        shutil.rmtree(HERE / folder, ignore_errors=True)
    (HERE / "notebooks").mkdir()
    for path in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy(path, HERE / "notebooks")


def mathml(translator: Any, node: nodes.Element, block: bool = False) -> None:
    """Write a formula as MathML, in the line or as a block of its own."""
    tree = latex2mathml.tex2mathml(node.astext(), as_block=block)
    translator.body.append(f"<p>{tree}</p>" if block else tree)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Register what is ours."""
    copy_notebooks()
    app.add_html_math_renderer("mathml", (mathml, None), (lambda t, node: mathml(t, node, block=True), None))

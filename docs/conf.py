"""Settings of the documentation: `sphinx-build -W docs docs/_build` after `pip install -e '.[docs]'`."""

import re
from importlib.metadata import version

project = "vreid_jax"
author = "the vreid_jax authors"
version = release = version("vreid_jax")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
suppress_warnings = ["myst.header"]  # results of one page may start below its title

toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_display_short_literal_types = True
napoleon_numpy_docstring = False

html_theme = "alabaster"
html_title = "vreid_jax"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "description": "Video person re-identification in JAX",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "show_relbars": False,
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
napoleon_custom_sections = [("Fields", "params_style")]


def _as_written(app, what, name, obj, options, lines):
    """Docstrings write code in single backticks and |x| for lengths, as Markdown does."""
    text = re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    words, *rest = re.split(r"(``[^`]+``)", text)
    text = words.replace("|", r"\|")
    for code, words in zip(rest[::2], rest[1::2], strict=True):
        text += code + (r"\ " if words[:1].isalnum() else "") + words.replace("|", r"\|")  # the first for a plural
    lines[:] = text.split("\n")


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _as_written, priority=900)  # behind napoleon

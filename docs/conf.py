"""Settings of the documentation: `sphinx-build -W docs docs/_build` after `pip install -e '.[docs]'`."""

import os
import re
from importlib.metadata import version

from docutils import nodes

project = "vreid_jax"
author = "the vreid_jax authors"
copyright = f"2026, {author}"
version = release = version("vreid_jax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

# Pages are Markdown. The notebooks are those of colab/, which docs/notebooks links to; a build never runs them.
nb_execution_mode = "off"
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
suppress_warnings = ["myst.header"]  # results of one page may start below its title

# The reference: short names, one parameter a line where a signature is long, sections of a page in its table of contents.
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Fields", "params_style")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "sphinx_book_theme"
html_title = "vreid_jax"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None  # the same sources give the same site
html_theme_options = {
    "logo": {"text": "vreid_jax", "alt_text": "vreid_jax, start page"},
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the search field is in the sidebar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

# Where the repository lives is known to whoever builds from it, OWNER/NAME in a variable that GitHub sets by itself.
if repository := os.environ.get("GITHUB_REPOSITORY"):
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": "main",
        "path_to_docs": "docs",
        "use_repository_button": True,
        "use_issues_button": True,
    }


def _as_written(app, what, name, obj, options, lines):
    """Docstrings write code in single backticks and |x| for lengths, as Markdown does."""
    text = re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    words, *rest = re.split(r"(``[^`]+``)", text)
    text = words.replace("|", r"\|")
    for code, words in zip(rest[::2], rest[1::2], strict=True):
        text += code + (r"\ " if words[:1].isalnum() else "") + words.replace("|", r"\|")  # the first for a plural
    lines[:] = text.split("\n")


def _keep_together(app, doctree):
    """Keep `26.2 ± 3.4` on one line in tables, and mark diagrams, which the style sheet must not wrap."""
    for block in doctree.findall(nodes.literal_block):
        if set("─│▶▼") & set(block.astext()):
            block["classes"].append("diagram")
    for table in doctree.findall(nodes.table):
        for text in list(table.findall(nodes.Text)):
            if " ± " in text:
                text.parent.replace(text, nodes.Text(text.replace(" ± ", "\u00a0±\u00a0")))


def setup(app):
    """Connect what changes docstrings, tables and diagrams; Sphinx calls this."""
    app.connect("doctree-read", _keep_together)
    app.connect("autodoc-process-docstring", _as_written, priority=900)  # after napoleon

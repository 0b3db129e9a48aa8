"""The pages' templates, rendered with every value escaped but what is markup already."""

import functools
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape


def render(template: str, **values: Any) -> Markup:
    """Render a file of `report/templates/`.

    Args:
      template: file name.
      **values: what the template names; text is escaped, `Markup` is inserted as it is.

    Returns:
      The HTML, safe to insert into another template.
    """
    return Markup(environment_of("vreid_jax.report").get_template(template).render(values))


def paragraph(text: str) -> Markup:
    """Return one paragraph of plain text."""
    return Markup("<p>{}</p>").format(text)


def code(text: str) -> Markup:
    """Return plain text with what stands between backticks set as code; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@functools.cache
def environment_of(package: str) -> jinja2.Environment:
    """Return the one environment of a package's `templates/`: everything is escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    return environment

"""A page as one HTML file that needs nothing else, no network above all."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from clad import __version__
from clad.artifact import write_atomic
from clad.report.canvas import CLUSTERS


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill one of the templates and write it, atomically. What is filled in is text, never markup.

    The page's own policy allows the one script that is given as ``script`` (a template's name), by
    its hash, and nothing from elsewhere: no name of a file can run or load anything.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    loader = PackageLoader("clad.report")
    pages = Environment(loader=loader, autoescape=True)
    allowed = "'none'"
    if name := content.get("script"):
        script, _, _ = loader.get_source(pages, name)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed, content["script"] = f"'sha256-{digest}'", Markup(script)
    page = pages.get_template(template).render(
        allowed=Markup(allowed), colours=CLUSTERS, version=__version__, **content
    )
    write_atomic(path, page.encode(errors="replace"))

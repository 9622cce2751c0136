"""A hook of mkdocs: links to files beside `docs`, which the site does not have, become plain text."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Pages of `docs/decisions` reach `docs` with one `../`, so only what leads further out is meant there."""
    depth = page.file.src_uri.count("/")
    pattern = re.compile(r"\[([^\]]+)\]\((?:\.\./){" + str(depth + 1) + r",}[^)\s]*\)")
    return pattern.sub(r"\1", markdown)

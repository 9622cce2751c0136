"""A hook of mkdocs: the page on benchmarks is `benchmarks/README.md`, and links to files that the site does not have
become plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "README.md"


def on_files(files: Any, *, config: Any, **_: Any) -> Any:
    text = BENCHMARKS.read_text(encoding="utf-8").replace("](../docs/", "](")
    # Programs stand beside that page, and not in the site.
    text = re.sub(r"\[([^\]]+)\]\([^)\s:]+\.(?:py|txt)\)", r"\1", text)
    files.append(File.generated(config, "benchmarks.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Pages of `docs/decisions` reach `docs` with one `../`, so only what leads further out is meant there."""
    depth = page.file.src_uri.count("/")
    up = "../" * depth
    markdown = markdown.replace(f"]({up}../benchmarks/README.md", f"]({up}benchmarks.md")
    pattern = re.compile(r"\[([^\]]+)\]\((?:\.\./){" + str(depth + 1) + r",}[^)\s]*\)")
    return pattern.sub(r"\1", markdown)

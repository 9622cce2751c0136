"""A watch for the tests of its parts."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.conftest import Project
from tests.support.watched import FILES, Watch, Watched


@pytest.fixture
def watch(project: Project, forked_workers: None) -> Iterator[Watch]:
    """Starts a watch on these files beside the usual ones, and takes its first run."""
    made: list[Watched] = []

    def start(
        files: Mapping[str, str] | None = None, *words: str, waits: bool = True, **more: Any
    ) -> Watched:
        one = Watched(project({**FILES, **(files or {})}), *words, **more)
        made.append(one)
        if waits:
            one.until_idle()
        return one

    yield start
    for one in made:
        one.close()
    gc.unfreeze()

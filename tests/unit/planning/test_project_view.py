"""The index is written where something has changed, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from discover_orch.discovery.listing_cache import write_listing
from discover_orch.planning import project_view
from discover_orch.planning.project_view import read_project
from tests.support.project_builder import write_files


def test_the_index_is_written_where_something_has_changed_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def noted(root: str, *rest: Any) -> None:
        written.append(root)
        write_listing(root, *rest)

    monkeypatch.setattr(project_view, "write_listing", noted)
    monkeypatch.setattr("discover_orch.discovery.scanner.is_racy", lambda *_: False)
    write_files(tmp_path, {"src/a.py": "STAGE = 's'\ndef run(): ...", "src/off.py": "STAGE = None"})
    for environ, wide, count in (
        ({}, False, 1),
        ({}, False, 1),
        ({}, True, 1),
        ({"ORCH_STRICT": "1"}, False, 2),
    ):
        read_project(str(tmp_path), None, environ, is_wide=wide)
        assert len(written) == count
    (tmp_path / "src/off.py").unlink()
    read_project(str(tmp_path), None, {"ORCH_STRICT": "1"})
    assert len(written) == 3

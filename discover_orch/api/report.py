"""The page of a run that was started from Python, where the configuration has `report = true`."""

from __future__ import annotations

import os

from discover_orch.model.errors import Problem
from discover_orch.render.report_page import read_page_files, report_html
from discover_orch.state.journal import read_record, report_path
from discover_orch.state.report_source import read_report_source
from discover_orch.state.store import replace_file


def write_report(root: str, run: str) -> Problem | None:
    """Call it when the run has ended. Gives a warning where the page cannot be written."""
    record = read_record(root, run)
    if record is None:  # the run could not be recorded, and has said so
        return None
    path = report_path(root, run)
    page = report_html(
        read_report_source(root, record), os.path.basename(root) or root, read_page_files()
    )
    if replace_file(path, page.encode("utf-8", "backslashreplace")):
        return None
    return Problem(
        code="output-file",
        message=f"cannot write the report page {path}",
        hint="free some disk space, or make the folder writable",
        severity="warning",
    )

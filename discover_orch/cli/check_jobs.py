"""`orch check --jobs`: which `AFTER` would let tools run side by side; `--write` adds them."""

from __future__ import annotations

import json
import os

from discover_orch.cli.options import Context
from discover_orch.discovery.source_edit import build_after_edit, write_edit
from discover_orch.model.errors import Location, Problem
from discover_orch.planning import project_reader
from discover_orch.planning.parallel_advice import Advice, advise
from discover_orch.render.jobs import advice_document, advice_text, diff_text
from discover_orch.render.style import count


def check_jobs(context: Context, *, writes: bool, as_json: bool) -> int:
    """Shows the advice, and with `writes` the difference that it makes before it is written."""
    view = project_reader.read_project(context.start, context.folder, os.environ)
    console, root = context.console, view.project.root
    advice = advise(view.registry, view.project)
    edits = []
    if writes:
        for one in advice.suggestions:
            edit = build_after_edit(root, one.tool.path, one.after)
            if edit is None:
                console.problems([_cannot_add(one.tool.path, one.tool.line)])
            else:
                edits.append(edit)
    if as_json:
        document = advice_document(advice) | {"written": [edit.path for edit in edits]}
        console.out(json.dumps(document) + "\n")
    else:
        console.out("" if writes else advice_text(advice, console.out_style))
        console.out("".join(diff_text(edit, console.out_style) for edit in edits))
    for edit in edits:
        write_edit(root, edit)
    if writes and not as_json:
        console.out(_written_text(len(edits), advice))
    return console.report(
        view.errors, has_tools=bool(view.registry.tools), no_tools=view.registry.no_tools
    )


def _written_text(written: int, advice: Advice) -> str:
    if not advice.suggestions:
        return "no AFTER to add: orch check --jobs shows why\n"
    return (
        f"added AFTER to {count(written, 'file')}; the order of the tools is the same\n"
        "their code has changed, so they are stale: run them, or use orch accept\n"
    )


def _cannot_add(path: str, line: int) -> Problem:
    return Problem(
        code="not-written",
        message="cannot add AFTER to this file: there is no STAGE assignment to put it below",
        hint="add it yourself",
        location=Location(path=path, line=line),
        severity="warning",
    )

"""Asks the database what its tables contain now, where another program may have changed them.

A worker of its own asks, because only workers open databases. A command that only looks runs no code of the user and
writes no file.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from discover_orch.discovery.registry import uses_get_connection
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.database_file import choose_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.worker.protocol import Answer


def look_at_tables(work: RemainingWork, *, is_run: bool = False) -> None:
    """Notes in `work` what became of tables that tools left. `is_run`: a run follows, so this is remembered."""
    left, names = work.find_tables_left(), work.find_tables_to_read()
    if not (left or names):
        return
    # Only PostgreSQL lists its tables; of a file, those are there that can be read.
    wanted = {*names, *left} if work.current.database.path else names
    answer = _ask(work, tuple(sorted(wanted)), is_run=is_run)
    if answer is None or answer.problem:
        return
    if left:
        there = answer.contents if answer.tables is None else answer.tables
        work.note_tables(left, there, is_run=is_run)
    if names:
        work.note_contents(answer.contents, is_run=is_run)


def _ask(work: RemainingWork, names: tuple[str, ...], *, is_run: bool) -> Answer | None:
    """The answer of the database; None where it must not be asked."""
    # Only now: a command that asks nothing loads nothing that runs.
    from discover_orch.execution.database_question import ask
    from discover_orch.execution.executors.worker_driver import build_prepare
    from discover_orch.worker.protocol import Ask

    registry, project = work.view.registry, work.view.project
    prepare = replace(build_prepare(registry, project), transaction="tool")
    path = work.current.database.path
    if path:
        options = choose_options(os.path.join(project.root, path))
        if not options:
            return None
        prepare = replace(
            prepare,
            database=f"{options.partition(':')[0]}:///{path}?{options.partition(':')[2]}",
            has_connection=False,
            orchconf=None,
            resources={},
            pythonpath=(),
        )
    elif not is_run:
        if uses_get_connection(registry, project):
            return None
        prepare = replace(prepare, pythonpath=())
    return ask(prepare, Ask(has_tables=True, tables=names), runs=is_run)

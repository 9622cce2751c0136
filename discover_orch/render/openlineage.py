"""A run as OpenLineage events, one JSON object a line: which tables and files each tool was seen to read and write.

Each attempt of a tool is a run of its own, with the run of orch as its parent. Datasets are named as
https://openlineage.io/docs/spec/naming says. It has no rule for SQLite and DuckDB: there the namespace is the kind of
database and the file. The schema is version 2-0-2.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunStarted,
    ToolRetried,
    utc_text,
)
from discover_orch.model.errors import Failure
from discover_orch.model.observation import MADE, WRITTEN, Observation
from discover_orch.model.run_events import ToolFinished, ToolStarted
from discover_orch.model.table_name import WHOLE
from discover_orch.planning.plan import Plan
from discover_orch.render.style import json_text

_SPEC = "https://openlineage.io/spec"
SCHEMA = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
#: The facets that are written, with their versions.
_FACETS = {
    "parent": "1-2-0/ParentRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "documentation": "1-1-0/DocumentationJobFacet",
}
_END = {
    "passed": "COMPLETE",
    "failed": "FAIL",
    "unknown": "FAIL",
    "interrupted": "ABORT",
    "cancelled": "ABORT",
    "rolled_back": "ABORT",
}
#: The port of PostgreSQL where the URL names none.
POSTGRES_PORT = 5432
_NOTHING = Observation()


class LineageSource(Struct, frozen=True, kw_only=True):
    """Where a run takes place: the absolute `root`, the `namespace` of its jobs, the `version` of orch, and the
    `database` URL, "" if the connection is the user's own."""

    root: str
    namespace: str
    version: str
    database: str = ""

    @property
    def name(self) -> str:
        """The name of the job that is the whole project."""
        return os.path.basename(self.root) or "orch"

    def path_of(self, path: str) -> str:
        """The absolute path of one that may be relative to the root."""
        return os.path.normpath(os.path.join(self.root, path))


class OpenLineageOutput:
    """`report` has counted each event before `add` gets it."""

    def __init__(self, plan: Plan, report: Report, source: LineageSource) -> None:
        self._report, self._source = report, source
        self._tools = {step.tool.module: step.tool for step in plan.steps}
        self._run = ""  # its id, when it has started
        self._open: dict[str, str] = {}  # the ids of the runs of tools that have started

    def add(self, event: Event, now: float) -> str:
        match event:
            case RunStarted():
                self._run = str(uuid4())
                return self._event("START", now)
            case ToolStarted(module=module):
                self._open[module] = str(uuid4())
                return self._event("START", now, module)
            case ToolRetried(end=end):
                return self._end(end, now)
            case ToolFinished():
                return self._end(event, now)
            case RunFinished(status=status) if self._run:
                held = [self._end(one, now) for one in self._report.finished]
                left = [self._event("ABORT", now, module) for module in self._open]
                return "".join((*held, *left, self._event(_END[status], now)))
            case _:
                return ""

    def _end(self, end: ToolFinished, now: float) -> str:
        """Nothing for a tool that did not start, or whose final status is known only when the run has ended."""
        if end.module not in self._open or end.status not in _END:
            return ""
        seen = end.seen or _NOTHING
        if end.status not in ("passed", "done") and not seen.has_committed:
            # They were rolled back; files were not.
            kept = (one for one in seen.uses if one.kind not in MADE or one.key[:6] != "table:")
            seen = replace(seen, uses=tuple(kept))
        text = self._event(_END[end.status], now, end.module, end.error, seen)
        del self._open[end.module]
        return text

    def _event(
        self,
        kind: str,
        now: float,
        module: str = "",
        error: Failure | None = None,
        seen: Observation = _NOTHING,
    ) -> str:
        """The event of a tool, or of the whole run."""
        source = self._source
        about: dict[str, object] = {"version": source.version, "name": "discover_orch"}
        facets = self._facet("processing_engine", about)
        if module:
            run = {"runId": self._run}
            own = {"run": run, "job": {"namespace": source.namespace, "name": source.name}}
            facets |= self._facet("parent", {**own, "root": own})
        if error is not None:
            message = f"{error.type}: {error.message}" if error.type else error.message
            about = {"message": message, "programmingLanguage": "PYTHON"}
            if error.traceback:
                about["stackTrace"] = error.traceback
            facets |= self._facet("errorMessage", about)
        files_read = seen.names("file", "read", "opened")
        files_written = seen.names("file", *WRITTEN)
        tables_read, tables_written = seen.names("table", "read"), seen.names("table", *MADE)
        document = {
            "eventType": kind,
            "eventTime": utc_text(now),
            "run": {"runId": self._open[module] if module else self._run, "facets": facets},
            "job": self._job(module),
            "inputs": [*self._files(files_read), *self._tables(seen, tables_read)],
            "outputs": [*self._files(files_written), *self._tables(seen, tables_written)],
            "producer": self._producer,
            "schemaURL": SCHEMA,
        }
        return json_text(document) + "\n"

    @property
    def _producer(self) -> str:
        return f"urn:discover-orch:{self._source.version}"

    def _job(self, module: str) -> dict[str, object]:
        source = self._source
        kind = "TASK" if module else "DAG"
        about = {"processingType": "BATCH", "integration": "DISCOVER_ORCH", "jobType": kind}
        facets = self._facet("jobType", about)
        if module and (doc := self._tools[module].doc):
            facets |= self._facet("documentation", {"description": doc})
        name = f"{source.name}.{module}" if module else source.name
        return {"namespace": source.namespace, "name": name, "facets": facets}

    def _facet(self, name: str, fields: Mapping[str, object]) -> dict[str, object]:
        kind = _FACETS[name].partition("/")[2]
        schema = f"{_SPEC}/facets/{_FACETS[name]}.json#/$defs/{kind}"
        return {name: {"_producer": self._producer, "_schemaURL": schema, **fields}}

    def _files(self, paths: Iterable[str]) -> list[dict[str, str]]:
        return [{"namespace": "file", "name": self._source.path_of(path)} for path in paths]

    def _tables(self, seen: Observation, tables: Iterable[str]) -> list[dict[str, str]]:
        """Without those that stand for all tables of a database."""
        names = (table for table in tables if table != WHOLE)
        return [name_table(self._source, table, seen.database, seen.dialect) for table in names]


def name_table(
    source: LineageSource, table: str, file: str = "", dialect: str = "sqlite"
) -> dict[str, str]:
    """How a table is named. `file` is the file of SQLite or DuckDB, as `dialect` says, relative to the root or
    absolute; "" for another database."""
    scheme, _, rest = source.database.partition("://")
    server, _, path = rest.partition("?")[0].partition("/")
    namespace = (
        f"orch://{source.namespace}/{source.name}"  # in memory, or a connection of the user's own
    )
    if file:
        namespace = f"{dialect}://{source.path_of(file)}"
    elif scheme.startswith("postgres"):
        host = server.rpartition("@")[2] or "localhost"
        port = "" if host.rpartition(":")[2].isdecimal() else f":{POSTGRES_PORT}"
        namespace = f"postgres://{host}{port}"
        table = f"{path or 'postgres'}.{table if '.' in table else f'public.{table}'}"
    elif scheme == "duckdb" and rest.strip("/"):
        namespace = f"duckdb://{source.path_of(path)}"
    return {"namespace": namespace, "name": table}

"""A run as OpenLineage events, one JSON object a line: which tables and files each tool was seen to read and write.

Each attempt of a tool is a run of its own, with the run of orch as its parent. Datasets are named as
https://openlineage.io/docs/spec/naming says. It has no rule for SQLite and DuckDB: there the namespace is the kind of
database and the file. The schema is version 2-0-2.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolRetried,
    ToolStarted,
)
from discover_orch.model.errors import Failure
from discover_orch.model.observation import Observation
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


class OpenLineageOutput:
    """`new_id` returns a new UUID, and `time_text` a time of `add` as ISO 8601 with its zone."""

    def __init__(
        self,
        plan: Plan,
        report: Report,
        source: LineageSource,
        *,
        new_id: Callable[[], str],
        time_text: Callable[[float], str],
    ) -> None:
        self._source, self._new_id, self._time_text = source, new_id, time_text
        self._tools = {step.tool.module: step.tool for step in plan.steps}
        self._run = ""  # its id, when it has started
        self._open: dict[str, str] = {}  # the ids of the runs of tools that have started
        self._report = report

    def add(self, event: Event, now: float) -> str:
        match event:
            case RunStarted():
                self._run = self._new_id()
                return self._own_event("START", now)
            case ToolStarted(module=module):
                self._open[module] = self._new_id()
                return self._tool_event("START", module, now)
            case ToolRetried(end=end):
                return self._end(end, now)
            case ToolFinished():
                return self._end(event, now)
            case RunFinished(status=status) if self._run:
                held = [self._end(one, now) for one in self._report.finished]
                left = [self._tool_event("ABORT", module, now) for module in self._open]
                return "".join((*held, *left, self._own_event(_END[status], now)))
            case _:
                return ""

    def _end(self, end: ToolFinished, now: float) -> str:
        """Nothing for a tool that did not start, or whose final status is known only when the run has ended."""
        if end.module not in self._open or end.status not in _END:
            return ""
        seen = end.seen
        if seen is not None and end.status not in ("passed", "done") and not seen.has_committed:
            seen = replace(seen, tables_written=())  # they were rolled back; files were not
        text = self._tool_event(_END[end.status], end.module, now, end.error, seen)
        del self._open[end.module]
        return text

    def _own_event(self, kind: str, now: float) -> str:
        job = self._job(self._source.name, "")
        return self._event(kind, now, {"runId": self._run, "facets": self._engine()}, job)

    def _tool_event(
        self,
        kind: str,
        module: str,
        now: float,
        error: Failure | None = None,
        seen: Observation | None = None,
    ) -> str:
        source = self._source
        own = {
            "run": {"runId": self._run},
            "job": {"namespace": source.namespace, "name": source.name},
        }
        facets = {**self._engine(), **self._facet("parent", {**own, "root": own})}
        if error is not None:
            about: dict[str, object] = {
                "message": f"{error.type}: {error.message}" if error.type else error.message,
                "programmingLanguage": "PYTHON",
            }
            if error.traceback:
                about["stackTrace"] = error.traceback
            facets |= self._facet("errorMessage", about)
        job = self._job(f"{source.name}.{module}", self._tools[module].doc)
        run = {"runId": self._open[module], "facets": facets}
        inputs, outputs = ((), ()) if seen is None else self._datasets(seen)
        return self._event(kind, now, run, job, inputs, outputs)

    def _event(
        self,
        kind: str,
        now: float,
        run: Mapping[str, object],
        job: Mapping[str, object],
        inputs: Iterable[Mapping[str, str]] = (),
        outputs: Iterable[Mapping[str, str]] = (),
    ) -> str:
        document = {
            "eventType": kind,
            "eventTime": self._time_text(now),
            "run": run,
            "job": job,
            "inputs": list(inputs),
            "outputs": list(outputs),
            "producer": self._producer,
            "schemaURL": SCHEMA,
        }
        return json_text(document) + "\n"

    @property
    def _producer(self) -> str:
        return f"urn:discover-orch:{self._source.version}"

    def _engine(self) -> dict[str, object]:
        version = self._source.version
        return self._facet("processing_engine", {"version": version, "name": "discover_orch"})

    def _job(self, name: str, doc: str) -> dict[str, object]:
        kind = "TASK" if name != self._source.name else "DAG"
        about = {"processingType": "BATCH", "integration": "DISCOVER_ORCH", "jobType": kind}
        facets = self._facet("jobType", about)
        if doc:
            facets |= self._facet("documentation", {"description": doc})
        return {"namespace": self._source.namespace, "name": name, "facets": facets}

    def _facet(self, name: str, fields: Mapping[str, object]) -> dict[str, object]:
        kind = _FACETS[name].partition("/")[2]
        schema = f"{_SPEC}/facets/{_FACETS[name]}.json#/$defs/{kind}"
        return {name: {"_producer": self._producer, "_schemaURL": schema, **fields}}

    def _datasets(
        self, seen: Observation
    ) -> tuple[Iterable[Mapping[str, str]], Iterable[Mapping[str, str]]]:
        """What was read and what was written."""
        files_read = dict.fromkeys(row[0] for row in (*seen.read, *seen.native_read))
        files_written = dict.fromkeys((*seen.written, *seen.native_written))
        database = TableNames(self._source, seen.database, seen.dialect)
        return (
            (*map(self._file, files_read), *database.datasets(seen.tables_read)),
            (*map(self._file, files_written), *database.datasets(seen.tables_written)),
        )

    def _file(self, path: str) -> Mapping[str, str]:
        return {
            "namespace": "file",
            "name": os.path.normpath(os.path.join(self._source.root, path)),
        }


class TableNames:
    """How tables of a database are named. `file` is the file of SQLite or DuckDB, as `dialect` says, relative to the
    root or absolute; "" for another database."""

    def __init__(self, source: LineageSource, file: str, dialect: str = "sqlite") -> None:
        scheme, _, rest = source.database.partition("://")
        self._dialect, self._root = dialect, source.root
        self._prefix, self._schema = "", ""
        if file:
            self._namespace = f"{dialect}://{os.path.normpath(os.path.join(source.root, file))}"
        elif scheme.startswith("postgres"):
            server, _, path = rest.partition("?")[0].partition("/")
            host = server.rpartition("@")[2] or "localhost"
            has_port = host.rpartition(":")[2].isdecimal()
            self._namespace = f"postgres://{host}" + ("" if has_port else f":{POSTGRES_PORT}")
            self._prefix, self._schema = f"{path or 'postgres'}.", "public"
        elif scheme == "duckdb" and rest.strip("/"):
            path = rest.partition("?")[0].removeprefix("/")
            self._namespace = f"duckdb://{os.path.normpath(os.path.join(source.root, path))}"
        else:  # in memory, or a connection of the user's own
            self._namespace = f"orch://{source.namespace}/{source.name}"

    def datasets(self, tables: Iterable[str]) -> Iterator[Mapping[str, str]]:
        """Without those that stand for all tables of a database."""
        return (self.dataset(table) for table in tables if table != WHOLE)

    def dataset(self, table: str) -> Mapping[str, str]:
        if self._schema and "." not in table:
            table = f"{self._schema}.{table}"
        return {"namespace": self._namespace, "name": self._prefix + table}

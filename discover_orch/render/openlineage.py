"""A recorded run as OpenLineage events, one JSON object a line: which tables and files each tool was seen to read and
write.

Each attempt of a tool is a run of its own, with the run of orch as its parent. The same run always has the same ids.
Datasets are named as https://openlineage.io/docs/spec/naming says. It has no rule for SQLite and DuckDB: there the
namespace is the kind of database and the file. The schema is version 2-0-2.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.events import utc_text
from discover_orch.model.observation import MADE, WRITTEN, Observation
from discover_orch.model.table_name import WHOLE
from discover_orch.render.style import json_text
from discover_orch.staleness.current_database import GET_CONNECTION
from discover_orch.state.run_record import Attempt, RunRecord, ToolRecord

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
    "killed": "ABORT",
}
#: The port of PostgreSQL where the URL names none.
POSTGRES_PORT = 5432
_NOTHING = Observation()


class LineageSource(Struct, frozen=True, kw_only=True):
    """Where a run took place: the absolute `root`, the `namespace` of its jobs, the `version` of orch, and the
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


def lineage_text(record: RunRecord, root: str, namespace: str, version: str) -> str:
    """`root` is absolute. `version` is that of orch where the run has none."""
    database = "" if record.database == GET_CONNECTION else record.database
    source = LineageSource(
        root=root, namespace=namespace, version=record.orch or version, database=database
    )
    return _Writer(record, source).text()


class _Writer:
    def __init__(self, record: RunRecord, source: LineageSource) -> None:
        self._record, self._source = record, source

    def text(self) -> str:
        record = self._record
        lines = [(0.0, self._event("START", 0.0))]
        for tool in record.tools:
            for one in tool.attempts:
                # What is done is final at the end of the run.
                end = record.ended if one.status in ("", "done") else one.end
                lines.append((one.start, self._event("START", one.start, tool, one)))
                lines.append((end, self._end(end, tool, one)))
        if record.status in _END:
            lines.append((record.ended, self._event(_END[record.status], record.ended)))
        return "".join(line for _, line in sorted(lines, key=lambda found: found[0]))

    def _end(self, at: float, tool: ToolRecord, one: Attempt) -> str:
        """Nothing for a tool that is running."""
        status = tool.status if one.delay is None else one.status
        if status not in _END:
            return ""
        seen = one.seen or _NOTHING
        if status != "passed" and not seen.has_committed:
            # They were rolled back; files were not.
            kept = (use for use in seen.uses if use.kind not in MADE or use.key[:6] != "table:")
            seen = replace(seen, uses=tuple(kept))
        return self._event(_END[status], at, tool, one, seen)

    def _event(
        self,
        kind: str,
        at: float,
        tool: ToolRecord | None = None,
        one: Attempt | None = None,
        seen: Observation | None = None,
    ) -> str:
        """The event of an attempt, or of the whole run; `seen` where the attempt has ended."""
        source = self._source
        about: dict[str, object] = {"version": source.version, "name": "discover_orch"}
        facets = self._facet("processing_engine", about)
        if tool is not None:
            run = {"runId": self._id()}
            own = {"run": run, "job": {"namespace": source.namespace, "name": source.name}}
            facets |= self._facet("parent", {**own, "root": own})
        if seen is not None and one is not None and (error := one.error) is not None:
            message = f"{error.type}: {error.message}" if error.type else error.message
            about = {"message": message, "programmingLanguage": "PYTHON"}
            if error.traceback:
                about["stackTrace"] = error.traceback
            facets |= self._facet("errorMessage", about)
        seen = seen or _NOTHING
        files_read = seen.names("file", "read", "opened")
        files_written = seen.names("file", *WRITTEN)
        tables_read, tables_written = seen.names("table", "read"), seen.names("table", *MADE)
        document = {
            "eventType": kind,
            "eventTime": utc_text(self._record.began + at),
            "run": {"runId": self._id(tool, one), "facets": facets},
            "job": self._job(tool),
            "inputs": [*self._files(files_read), *self._tables(seen, tables_read)],
            "outputs": [*self._files(files_written), *self._tables(seen, tables_written)],
            "producer": self._producer,
            "schemaURL": SCHEMA,
        }
        return json_text(document) + "\n"

    def _id(self, tool: ToolRecord | None = None, one: Attempt | None = None) -> str:
        record = self._record
        words = [self._source.root, record.run, str(record.began)]
        if tool is not None and one is not None:
            words += [tool.module, str(one.number)]
        return str(uuid5(NAMESPACE_URL, json_text(words)))

    @property
    def _producer(self) -> str:
        return f"urn:discover-orch:{self._source.version}"

    def _job(self, tool: ToolRecord | None) -> dict[str, object]:
        source = self._source
        kind = "TASK" if tool else "DAG"
        about = {"processingType": "BATCH", "integration": "DISCOVER_ORCH", "jobType": kind}
        facets = self._facet("jobType", about)
        if tool and tool.step.doc:
            facets |= self._facet("documentation", {"description": tool.step.doc})
        name = f"{source.name}.{tool.module}" if tool else source.name
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

"""A recorded run as OpenLineage events, one JSON object a line: which tables and files each tool was seen to read and
write.

Each attempt of a tool, or of one of its items, is a run of the job that is the tool, with the run of orch as its
parent. The same run always has the same ids.
Datasets are named as https://openlineage.io/docs/spec/naming says. It has no rule for SQLite and DuckDB: there the
namespace is the kind of database and the file. The schema is version 2-0-2.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.run_events import utc_text
from discover_orch.model.errors import Failure
from discover_orch.model.items import tool_of
from discover_orch.model.keys import is_table_key
from discover_orch.model.observation import MADE, WRITTEN, Kind, Observation
from discover_orch.render.problems import failure_reason
from discover_orch.render.style import json_text
from discover_orch.staleness.database_identity import GET_CONNECTION
from discover_orch.state.recorded_run import Attempt, RunRecord, ToolRecord

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


class Lineage(Struct, frozen=True, kw_only=True):
    """The absolute `root` is that of the project, the `namespace` that of its jobs."""

    record: RunRecord
    root: str
    namespace: str

    def text(self) -> str:
        record = self.record
        lines = [(0.0, self._event("START", 0.0))]
        for tool in record.tools:
            for one in tool.attempts:
                lines.append((one.start, self._event("START", one.start, tool, one)))
                status = tool.status if one.delay is None else one.status
                if status in _END:
                    # What is done is final at the end of the run.
                    at = record.ended if one.status in ("", "done") else one.end
                    seen = _kept(one.seen or _NOTHING, has_passed=status == "passed")
                    lines.append((at, self._event(_END[status], at, tool, one, seen)))
        if record.status in _END:
            lines.append((record.ended, self._event(_END[record.status], record.ended)))
        return "".join(line for _, line in sorted(lines, key=lambda found: found[0]))

    def _event(
        self,
        kind: str,
        at: float,
        tool: ToolRecord | None = None,
        one: Attempt | None = None,
        seen: Observation | None = None,
    ) -> str:
        """The event of an attempt, or of the whole run; `seen` where the attempt has ended."""
        about: dict[str, object] = {"version": self.record.orch, "name": "discover_orch"}
        facets = self._facet("processing_engine", about)
        if tool is not None:
            job = {"namespace": self.namespace, "name": self._name}
            own = {"run": {"runId": self._id()}, "job": job}
            facets |= self._facet("parent", {**own, "root": own})
            facets |= self._item_facet(tool)
        if seen is not None and one is not None and one.error is not None:
            facets |= self._facet("errorMessage", _error(one.error))
        seen = seen or _NOTHING
        document = {
            "eventType": kind,
            "eventTime": utc_text(self.record.began + at),
            "run": {"runId": self._id(tool, one), "facets": facets},
            "job": self._job(tool),
            "inputs": self._datasets(seen, ("read", "opened"), ("read",)),
            "outputs": self._datasets(seen, WRITTEN, MADE),
            "producer": self._producer,
            "schemaURL": SCHEMA,
        }
        return json_text(document) + "\n"

    @property
    def _name(self) -> str:
        """The name of the job that is the whole project."""
        return os.path.basename(self.root) or "orch"

    @property
    def _producer(self) -> str:
        return f"urn:discover-orch:{self.record.orch}"

    def _id(self, tool: ToolRecord | None = None, one: Attempt | None = None) -> str:
        words = [self.root, self.record.run, str(self.record.began)]
        if tool is not None and one is not None:
            words += [tool.module, str(one.number)]
        return str(uuid5(NAMESPACE_URL, json_text(words)))

    def _job(self, tool: ToolRecord | None) -> dict[str, object]:
        kind = "TASK" if tool else "DAG"
        about = {"processingType": "BATCH", "integration": "DISCOVER_ORCH", "jobType": kind}
        facets = self._facet("jobType", about)
        if tool and tool.step.doc:
            facets |= self._facet("documentation", {"description": tool.step.doc})
        module = tool and (tool_of(tool.module) if tool.step.item else tool.module)
        name = f"{self._name}.{module}" if tool else self._name
        return {"namespace": self.namespace, "name": name, "facets": facets}

    def _facet(self, name: str, fields: Mapping[str, object]) -> dict[str, object]:
        kind = _FACETS[name].partition("/")[2]
        schema = f"{_SPEC}/facets/{_FACETS[name]}.json#/$defs/{kind}"
        return {name: {"_producer": self._producer, "_schemaURL": schema, **fields}}

    def _item_facet(self, tool: ToolRecord) -> dict[str, object]:
        """The values of the item, in a facet of our own."""
        if not tool.step.item:
            return {}
        schema = f"{self._producer}#item"
        return {
            "orch_item": {
                "_producer": self._producer,
                "_schemaURL": schema,
                "values": tool.step.item,
            }
        }

    def _datasets(
        self, seen: Observation, files: Sequence[Kind], tables: Sequence[Kind]
    ) -> list[dict[str, str]]:
        """The files and tables that were used so."""
        paths, names = seen.names("file", *files), seen.names("table", *tables)
        return [
            *({"namespace": "file", "name": self._path_of(path)} for path in paths),
            *(self.name_table(name, seen.database, seen.dialect) for name in names),
        ]

    def name_table(self, table: str, file: str = "", dialect: str = "sqlite") -> dict[str, str]:
        """How a table is named. `file` is the file of SQLite or DuckDB, as `dialect` says, relative to the root or
        absolute; "" for another database."""
        url = "" if self.record.database == GET_CONNECTION else self.record.database
        scheme, _, rest = url.partition("://")
        server, _, path = rest.partition("?")[0].partition("/")
        namespace = (
            f"orch://{self.namespace}/{self._name}"  # in memory, or a connection of the user's own
        )
        if file:
            namespace = f"{dialect}://{self._path_of(file)}"
        elif scheme.startswith("postgres"):
            host = server.rpartition("@")[2] or "localhost"
            port = "" if host.rpartition(":")[2].isdecimal() else f":{POSTGRES_PORT}"
            namespace = f"postgres://{host}{port}"
            table = f"{path or 'postgres'}.{table if '.' in table else f'public.{table}'}"
        elif scheme == "duckdb" and rest.strip("/"):
            namespace = f"duckdb://{self._path_of(path)}"
        return {"namespace": namespace, "name": table}

    def _path_of(self, path: str) -> str:
        """The absolute path of one that may be relative to the root."""
        return os.path.normpath(os.path.join(self.root, path))


def _kept(seen: Observation, *, has_passed: bool) -> Observation:
    """What is left of a tool's work: where it did not pass, its tables were rolled back, and its files were not."""
    if has_passed or seen.has_committed:
        return seen
    uses = (use for use in seen.uses if use.kind not in MADE or not is_table_key(use.key))
    return replace(seen, uses=tuple(uses))


def _error(error: Failure) -> dict[str, str]:
    found = {"message": failure_reason(error), "programmingLanguage": "PYTHON"}
    return found | {"stackTrace": error.traceback} if error.traceback else found

"""What a run was, read from its journal: status, tools, parameters, times.

In: the lines of `events.jsonl`, in which anything may be damaged or missing, and whether the process that wrote
them is still there. Out: values. A line that cannot be read is passed over; a run without a beginning is none.
Pure: it opens no files and knows no processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from discover_orch.model.errors import Failure
from discover_orch.model.tool import MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard


class RecordedParam(Struct, frozen=True, kw_only=True):
    """The value of a parameter: its texts, and where it came from, `--since`."""

    texts: tuple[str, ...] = ()
    origin: str = ""

    @property
    def shown(self) -> str:
        return ", ".join(self.texts)


class RecordedStep(Struct, frozen=True, kw_only=True):
    """What the plan held for one tool; `secrets` are parameters whose value was not written, `code` says what its
    code was, and only whether two of them are equal counts ("" is not known)."""

    module: str
    name: str
    stage: str = ""
    params: Mapping[str, RecordedParam] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    code: str = ""

    @property
    def given(self) -> dict[str, RecordedParam]:
        """All of them, secrets masked."""
        extra = {
            name: RecordedParam(texts=(text,), origin="-p") for name, text in self.extra.items()
        }
        secrets = {name: RecordedParam(texts=(MASK,)) for name in self.secrets}
        return {**extra, **secrets, **self.params}


class ToolRecord(Struct, frozen=True, kw_only=True):
    """How a tool fared: a status word of a run, or `running`, `unknown`, `not_run` where no end is recorded."""

    name: str
    module: str
    status: str
    duration: float | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    error: Failure | None = None
    notes: tuple[str, ...] = ()
    attempt: int = 1
    has_started: bool = False


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run. `started` is local time, ISO 8601 with its offset; `kind` is `run` or `watch`; `duration` and
    `exit_code` are None as long as there is no end; `passed_before` had passed in the run that it `resumes`."""

    run: str
    status: str
    started: str = ""
    kind: str = "run"
    targets: tuple[str, ...] = ()
    tools: tuple[ToolRecord, ...] = ()
    plan: tuple[RecordedStep, ...] = ()
    duration: float | None = None
    exit_code: int | None = None
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    passed_before: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, RecordedParam]:
        """By name where all tools got the same, else by `tool.name`."""
        found: dict[str, dict[str, RecordedParam]] = {}
        for planned in self.plan:
            for name, given in planned.given.items():
                found.setdefault(name, {})[planned.name] = given
        told: dict[str, RecordedParam] = {}
        for name, by_tool in found.items():
            first = next(iter(by_tool.values()))
            if all(given == first for given in by_tool.values()):
                told[name] = first
            else:
                told.update({f"{tool}.{name}": given for tool, given in by_tool.items()})
        return told


class WriterProcess(Struct, frozen=True, kw_only=True):
    """The process that wrote a journal."""

    pid: int
    process: int | None = None
    boot: str | None = None


def read_writer(lines: Iterable[bytes]) -> WriterProcess | None:
    """Whose end would be the end of the run; None where that is recorded already, or nobody can say whose."""
    writer = None
    for document in _documents(lines):
        if document["event"] == "run_started":
            pid, process, boot = (document.get(name) for name in ("pid", "process", "boot"))
            writer = WriterProcess(
                pid=pid if _is_int(pid) else 0,
                process=process if _is_int(process) else None,
                boot=boot if isinstance(boot, str) else None,
            )
        elif document["event"] == "run_finished":
            return None
    return writer


def read_run(lines: Iterable[bytes], is_alive: bool) -> RunRecord | None:
    """`is_alive`: the process that wrote them is still there. None where they tell of no run."""
    start: dict[str, Any] | None = None
    end: dict[str, Any] = {}
    begun: set[str] = set()
    ordered: set[str] = (
        set()
    )  # their orders were out: where the run was killed, they may have begun
    ended: dict[str, ToolRecord] = {}
    for document in _documents(lines):
        match document["event"]:
            case "run_started" if start is None:
                start = document
            case "tool_ordered":
                ordered.add(document["module"])
            case "tool_started":
                begun.add(document["module"])
                ended.pop(document["module"], None)  # another attempt
            case "tool_finished":
                ended[document["module"]] = _tool(document, begun)
            case "run_finished":
                end = document
    if start is None:
        return None
    status = end["status"] if end else "running" if is_alive else "killed"
    tools = tuple(
        ended[module]
        if module in ended
        else _endless(
            module, name, status, is_ordered=module in ordered, has_started=module in begun
        )
        for module, name in zip(start["modules"], start["tools"], strict=True)
    )
    return _record(start, end, status, tools)


def read_first_and_last(first: bytes, last: bytes) -> RunRecord | None:
    """The run without its tools, from the first line and the last one; None where these do not tell its end."""
    start, end = _document(first), _document(last)
    if start is None or end is None:
        return None
    is_whole = start["event"] == "run_started" and end["event"] == "run_finished"
    is_whole = is_whole and end["status"] != "killed"  # then some tool has no end
    return _record(start, end, end["status"], ()) if is_whole else None


def has_clean_end(line: bytes) -> bool:
    """Whether it is the end of a run that was not broken off."""
    end = _document(line + b"\n")
    return end is not None and end["event"] == "run_finished" and end["status"] != "killed"


def _record(
    start: dict[str, Any], end: dict[str, Any], status: str, tools: tuple[ToolRecord, ...]
) -> RunRecord:
    counts: Mapping[str, int] = end.get("counts", {})
    if status in ("killed", "running"):
        words = [tool.status for tool in tools]
        counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return RunRecord(
        run=start["run"],
        status=status,
        started=_text(start, "started"),
        kind=_text(start, "kind") or "run",
        targets=tuple(start["targets"]),
        tools=tools,
        plan=_plan(start.get("plan")),
        duration=end.get("duration"),
        exit_code=end.get("exit_code"),
        database=_text(start, "database"),
        database_origin=_text(start, "database_origin"),
        resumes=_text(start, "resumes") or None,
        passed_before=_texts(start.get("passed_before")),
        counts=counts,
    )


def _endless(
    module: str, name: str, run_status: str, *, is_ordered: bool, has_started: bool
) -> ToolRecord:
    status = "not_run"
    if run_status == "running":
        status = "running" if has_started else "not_run"
    elif has_started or is_ordered:
        status = "unknown"
    return ToolRecord(name=name, module=module, status=status, has_started=has_started)


def _tool(document: dict[str, Any], begun: set[str]) -> ToolRecord:
    error, metrics, attempt = (document.get(name) for name in ("error", "metrics", "attempt"))
    return ToolRecord(
        name=document["name"],
        module=document["module"],
        status=document["status"],
        duration=document["duration"] if document["module"] in begun else None,
        metrics=metrics if isinstance(metrics, dict) else {},
        error=_fault(error) if isinstance(error, dict) else None,
        notes=_texts(document.get("notes")),
        attempt=attempt if _is_int(attempt) else 1,
        has_started=document["module"] in begun,
    )


def _fault(error: dict[str, Any]) -> Failure:
    line = error.get("line")
    return Failure(
        kind=_text(error, "kind"),
        type=_text(error, "type"),
        message=_text(error, "message"),
        path=_text(error, "path") or None,
        line=line if _is_int(line) else None,
    )


def _plan(rows: object) -> tuple[RecordedStep, ...]:
    """Those entries that can be read."""
    return tuple(
        RecordedStep(
            module=row["module"],
            name=_text(row, "name") or row["module"],
            stage=_text(row, "stage"),
            params=_params(row.get("params")),
            extra={name: text for name, text in _pairs(row.get("extra")) if isinstance(text, str)},
            secrets=_texts(row.get("secrets")),
            code=_text(row, "code"),
        )
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("module"), str)
    )


def _params(table: object) -> dict[str, RecordedParam]:
    return {
        name: RecordedParam(texts=_texts(one.get("texts")), origin=_text(one, "origin"))
        for name, one in _pairs(table)
        if isinstance(one, dict)
    }


def _documents(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    return (document for document in map(_document, lines) if document is not None)


def _document(line: bytes) -> dict[str, Any] | None:
    """One that has all that is needed of its kind, else None. A line without its end was torn off."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    match found.get("event"):
        case "run_started":
            lists = [found.get(name) for name in ("targets", "tools", "modules")]
            is_good = isinstance(found.get("run"), str) and all(map(_is_texts, lists))
            is_good = is_good and len(found["tools"]) == len(found["modules"])
        case "tool_started" | "tool_ordered":
            is_good = isinstance(found.get("module"), str)
        case "tool_finished":
            words = [found.get(name) for name in ("name", "module", "status")]
            is_good = _is_texts(words) and _is_seconds(found.get("duration"))
        case "run_finished":
            counts = found.get("counts")
            is_good = isinstance(found.get("status"), str) and _is_int(found.get("exit_code"))
            is_good = is_good and _is_seconds(found.get("duration"))
            is_good = is_good and isinstance(counts, dict) and all(map(_is_int, counts.values()))
        case _:
            is_good = False
    return found if is_good else None


def _pairs(table: object) -> Iterable[tuple[str, object]]:
    return table.items() if isinstance(table, dict) else ()


def _text(table: dict[str, Any], name: str) -> str:
    found = table.get(name)
    return found if isinstance(found, str) else ""


def _texts(found: object) -> tuple[str, ...]:
    return tuple(found) if _is_texts(found) and isinstance(found, list) else ()


def _is_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _is_int(found: object) -> TypeGuard[int]:
    return isinstance(found, int) and not isinstance(found, bool)


def _is_seconds(found: object) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found < 1e12

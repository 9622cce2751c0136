"""What orch remembers of a tool: how it last ended, and all that its last success rested on.

In and out: values, and the rows of JSON that stand for them in a small file a tool. Reading takes a row of any
shape: one that is no result is a ValueError, and the memory is lost, no more. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.fingerprint import DatabaseIdentity, Fingerprint
from discover_orch.state.flows import flow_row, read_flow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Of a file that was hashed: size, time of change in ns, inode. Where they are the same, so is the content.
FileStat = tuple[int, int, int]
#: When something was done: the number of the run, and of the tools that had ended in it before.
Moment = tuple[int, int]
_LAST = 1 << 40


class LastOutcome(Struct, frozen=True, kw_only=True):
    """How a tool's last try ended: `run` is the id, `status` a status word, or `accepted`; times in seconds."""

    run: str
    status: str
    at: str = ""
    duration: float = 0.0


class Success(Struct, frozen=True, kw_only=True):
    """Its last success. `run` is the number of that run, `number` how many tools had ended in it before; `modules` are
    those that it loaded though no import in its source names them; `flow` is what it was seen to read and write.
    `accepted` is the number of the latest run when it was taken for fresh without running, 0 before the first one;
    None where it was not."""

    run: int
    number: int = 0
    at: str = ""
    duration: float = 0.0
    accepted: int | None = None
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    marks: Mapping[str, FileStat] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    flow: Dataflow = field(default_factory=Dataflow)

    @property
    def is_accepted(self) -> bool:
        return self.accepted is not None

    @property
    def moment(self) -> Moment:
        return self.run, self.number

    @property
    def valid_until(self) -> Moment:
        """What happened later counts against it."""
        return max(self.moment, (-1 if self.accepted is None else self.accepted, _LAST))


class UncertainWrites(Struct, frozen=True, kw_only=True):
    """What tries that failed have left in the database since the last success: tables that the tool wrote, and
    committed by itself. The moment is that of the latest; `is_unclear` as in `Dataflow`."""

    moment: Moment
    tables: tuple[str, ...] = ()
    is_unclear: bool = False
    database: DatabaseIdentity | None = None


class ToolResult(Struct, frozen=True, kw_only=True):
    """Of one tool; `success` is None as long as it had none, `left` where nothing is."""

    module: str
    last: LastOutcome
    success: Success | None = None
    uncertain: UncertainWrites | None = None

    def was_accepted_after(self, run: str) -> bool:
        """Whether it was taken for fresh after that run, which does not know how the tool ended."""
        last = self.last
        return last.status == "accepted" and last.run.isdecimal() and int(last.run) >= int(run)


def to_row(result: ToolResult) -> dict[str, object]:
    """A document of JSON kinds. What is empty is left out: most of it is, in most results."""
    last, success = result.last, result.success
    row: dict[str, object] = {
        "module": result.module,
        "last": [last.run, last.status, last.at, round(last.duration, 6)],
    }
    if success is not None:
        row["success"] = _success_row(success)
    if result.uncertain is not None:
        row["left"] = _left_row(result.uncertain)
    return row


def _left_row(left: UncertainWrites) -> dict[str, object]:
    row: dict[str, object] = {"run": left.moment[0], "number": left.moment[1]}
    if left.tables:
        row["tables"] = left.tables
    if left.is_unclear:
        row["unclear"] = True
    if left.database is not None:
        row["database"] = [left.database.name, left.database.epoch]
    return row


def _success_row(success: Success) -> dict[str, object]:
    now = success.fingerprint
    row = {
        "code": now.code,
        "distributions": now.distributions,
        "params": now.params,
        "files": {path: [one, *success.marks.get(path, ())] for path, one in now.files.items()},
        "folders": now.folders,
        "patterns": now.patterns,
        "missed": now.missed,
        "written": now.written,
        "database": now.database and [now.database.name, now.database.epoch],
        "modules": success.modules,
        "flow": flow_row(success.flow),
    }
    kept: dict[str, object] = {name: one for name, one in row.items() if one}
    if success.accepted is not None:
        kept["accepted"] = success.accepted
    return {
        "run": success.run,
        "number": success.number,
        "at": success.at,
        "duration": round(success.duration, 6),
        "scheme": now.scheme,
        "python": now.python,
        **kept,
    }


def from_row(row: Mapping[str, Any]) -> ToolResult:
    """The value that `to_row` wrote; ValueError for a row that is none."""
    try:
        run, status, at, duration = row["last"]
        last = LastOutcome(run=str(run), status=str(status), at=str(at), duration=float(duration))
        success, left = row.get("success"), row.get("left")
        return ToolResult(
            module=str(row["module"]),
            last=last,
            success=None if success is None else _success(success),
            uncertain=None if left is None else _left(left),
        )
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError("not a result") from error


def _success(row: Mapping[str, Any]) -> Success:
    files, marks = {}, {}
    for path, found in row.get("files", _NOTHING).items():
        if found.__class__ is not list:
            raise TypeError("not a file")
        files[path] = found[0]
        if len(found) == 4:
            marks[path] = (int(found[1]), int(found[2]), int(found[3]))
    accepted = row.get("accepted")
    return Success(
        run=int(row["run"]),
        number=int(row["number"]),
        at=str(row["at"]),
        duration=float(row["duration"]),
        accepted=None if accepted is None else int(accepted),
        fingerprint=Fingerprint(
            code=_texts(row.get("code")),
            python=str(row["python"]),
            distributions=_texts(row.get("distributions")),
            params={name: _list(texts) for name, texts in row.get("params", _NOTHING).items()},
            files=_texts(files),
            folders=_texts(row.get("folders")),
            patterns=_texts(row.get("patterns")),
            missed=_list(row.get("missed")),
            written=_list(row.get("written")),
            database=_database(row),
            scheme=int(row["scheme"]),
        ),
        marks=marks,
        modules=_list(row.get("modules")),
        flow=read_flow(row.get("flow", _NOTHING)),
    )


def _left(row: Mapping[str, Any]) -> UncertainWrites:
    return UncertainWrites(
        moment=(int(row["run"]), int(row["number"])),
        tables=_list(row.get("tables")),
        is_unclear=bool(row.get("unclear")),
        database=_database(row),
    )


def _database(row: Mapping[str, Any]) -> DatabaseIdentity | None:
    found = row.get("database")
    return DatabaseIdentity(name=str(found[0]), epoch=int(found[1])) if found else None


_NOTHING: Mapping[str, Any] = {}
_STR = frozenset((str,))


def _texts(row: Mapping[str, str] | None) -> Mapping[str, str]:
    if row is None:
        return {}
    if row.__class__ is not dict or not _STR.issuperset(map(type, row.values())):
        raise TypeError("not a table of texts")
    return row


def _list(row: list[str] | None) -> tuple[str, ...]:
    if row is None:
        return ()
    if row.__class__ is not list or not _STR.issuperset(map(type, row)):
        raise TypeError("not a list of texts")
    return tuple(row)

"""What is remembered of the last success of a tool: what it depended on, and what it wrote.

A success stores the version of each key that it depended on (see `model/keys.py`), and what it saw of the things that
tools write: the number of the last write, and the version that this one left. Every end of a tool has a number, and
they only grow. Every write is remembered with its number and the state that it left, so that a change by the user
differs from one by the pipeline. Pure: reads nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.keys import Key, file_key, is_file_key, path_of

#: In place of a version or a mark: there is no such thing, or it was removed.
ABSENT = ""
#: Equal to nothing, itself included: it changed while the tool ran. As a mark: the writer was cut off, and what it
#: left is unknown.
UNSURE = "?"
#: The mark of what is there but has no state that could be compared, as a table.
EXISTS = "+"
#: The version of what a tool left in the file of a database. Such a file is not edited by hand, and it changes when
#: the database is closed.
DATABASE = "database"
_AND = "\0"
#: A run has fewer than half a million tools, and a key. A Seq has 63 bits, so there are two million runs.
_COUNT_BITS, _KEY_BITS = 20, 22
_RUN_SHIFT = _COUNT_BITS + _KEY_BITS
LARGEST_KEY = (1 << _KEY_BITS) - 1

#: The number of the run, its key, and the count of starts and ends of tools in that run. Two runs can have the same
#: number, in two copies of a project or of its database; the key is random.
Seq = int


class Write(Struct, frozen=True, array_like=True):
    """The latest write of a table or a file by one tool.

    `seq` is when the tool ended; `mark` is the state of the file as it was left. `is_checked`: the file or table must
    exist while the tool is fresh. That is not so for a log, and for a temporary file that no other tool reads.
    `only_adds`: it only inserted rows, or only appended, so that others who do that too are no concern of it.
    `only_creates`: it made the table where it was not there, and no rows, so that running again would not empty it.
    `version` is the content that it left; None where that is not known, as of large tables. `is_made`: the
    code of its last success writes it, as far as is known. `is_new`: it was not there before a tool wrote it.
    `is_left_over`: its last success neither wrote it nor looked at it, and all that this success read was seen.
    `is_by_hand`: what is there is an edit by the user that was accepted, not what the tool left. `anew`: of a
    table; when this tool last found or made it without what was in it before, also what other items had left there.
    `edited`: of a table; when this tool last found it as another program had changed or dropped it. `is_in_rows`: of a
    table; an item wrote it and has another write for its own rows, which it did not go beyond.
    """

    seq: Seq
    mark: str = UNSURE
    is_checked: bool = True
    only_adds: bool = False
    only_creates: bool = False
    version: str | None = None
    is_made: bool = True
    is_new: bool = False
    is_left_over: bool = False
    is_by_hand: bool = False
    anew: Seq = 0
    edited: Seq = 0
    is_in_rows: bool = False

    @property
    def is_unread(self) -> bool:
        """Whether it is a file for temporary use that no other tool has read until now, so that it may be gone."""
        return not (self.is_checked or self.only_adds or self.mark == ABSENT)


class Saw(Struct, frozen=True, array_like=True):
    """What a tool saw of a thing that tools write, as it was when the tool began: the number of the last write, 0 for
    none, and the version that this one left, None where that is not known."""

    seq: Seq = 0
    version: str | None = None


class Inputs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The versions of what a tool depends on: `code` has the hash of the syntax tree of each file of its code, by
    path, and `other` the version of each key that has one."""

    code: Mapping[str, str] = {}
    other: Mapping[Key, str] = {}


#: The status of a tool that was committed, by a run that was killed before it could say what the tool used.
SETTLED = "settled"
#: The status of a tool of whose last success the database has no record.
UNRECORDED = "unrecorded"
#: The status of a tool that the database has a success of whose files are not here, as where another checkout ran it.
ELSEWHERE = "elsewhere"
#: That of a tool that has not run since `orch clean`, or another tool with `--rebuild`, removed something of it.
REMOVED = "removed"


#: Why the outcome is unknown, why the tool was interrupted or has failed, why it is not known what it used, or what
#: removed it.
Cause = Literal["", "worker lost", "output closed", "killed", "unreadable", "clean"]


class LastOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a tool ended last. `run` is the id of the run; `status` a status word, `accepted`, or "" if it has never
    ended; `at` the local time, ISO 8601; `duration` in seconds. `has_started` is False where a killed run had sent
    the order, and no start is recorded. `cause` is "" where it is not known."""

    run: str = ""
    status: str = ""
    at: str = ""
    duration: float = 0.0
    has_started: bool = True
    cause: Cause = ""


class Success(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last success of a tool, and what it depended on.

    What other tools do after `asof` counts against it: that is when it began, or when it was accepted; `ended` is when
    it ended. `saw` is what it saw of what tools write, and
    itself wrote; `tables` are the tables that it read or looked for in vain. `is_whole`: nothing that it read can have
    gone unseen. `marks` are the states of input files that still stand for their versions; `modules`
    are those that it loaded though no import in its source names them; `flow` is what it was seen to read and write.
    `record` identifies the success that the database has a record of: this one, or, if this one has written nothing
    there, an earlier one. `is_unchecked`: its checks did not run. `returned` is what `run()` returned at the last
    success that was checked, as JSON, if a check takes that as `previous`.
    """

    asof: Seq
    ended: Seq
    inputs: Inputs = Inputs()
    saw: Mapping[Key, Saw] = {}
    tables: tuple[Key, ...] = ()
    is_whole: bool = True
    is_accepted: bool = False
    at: str = ""
    duration: float = 0.0
    marks: Mapping[Key, str] = {}
    modules: tuple[str, ...] = ()
    flow: Dataflow = Dataflow()
    record: str = ""
    is_unchecked: bool = False
    returned: str = ""


class ToolResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one tool: how it ended last, its last success, its latest write of each table and file,
    failed attempts included, and the inputs and tables of a failed attempt after the success. `adopted` is when all
    that was taken over from the database, where something else was remembered here."""

    module: str
    last: LastOutcome = LastOutcome()
    success: Success | None = None
    writes: Mapping[Key, Write] = {}
    tried: Inputs = Inputs()
    tried_tables: tuple[Key, ...] = ()
    adopted: Seq = 0

    def was_accepted_after(self, run: str) -> bool:
        """Whether the tool was marked as fresh during that run or later."""
        last = self.last
        return last.status == "accepted" and last.run.isdecimal() and int(last.run) >= int(run)

    @property
    def latest(self) -> Seq:
        """The number of the latest thing that it did."""
        ended = self.success.ended if self.success else 0
        return max((ended, *(write.seq for write in self.writes.values())))


def paths_in(version: str | None) -> list[str]:
    """The paths that the version of a folder or a glob has."""
    if not version or version == UNSURE:
        return []
    return [path for path in version.split(_AND) if path]


def join_paths(paths: Iterable[str]) -> str:
    """The version of a folder or a glob with these paths; of an empty one it is not ABSENT."""
    return _AND.join(sorted(paths)) or _AND


def keys_of(paths: Collection[str]) -> set[Key]:
    """The keys that may have another version where these paths have changed."""
    plain = {path.rstrip("/") for path in paths}
    kinds = ("file", "folder", "there", "stat", "link")
    found = {f"{kind}:{path}" for path in plain for kind in kinds}
    return found | {f"folder:{path.rpartition('/')[0] or '.'}" for path in plain}


def used_files(inputs: Inputs) -> Iterator[Key]:
    """The keys of all files among the inputs, those in listed folders included."""
    for key, version in inputs.other.items():
        if is_file_key(key):
            yield key
        elif key.startswith(("stat:", "link:")):
            yield file_key(path_of(key))
        elif key.startswith(("folder:", "glob:", "there:")):
            yield from (file_key(path) for path in paths_in(version))


def run_of(seq: Seq) -> int:
    """The number of the run."""
    return seq >> _RUN_SHIFT


def latest_run(result: ToolResult) -> int:
    """The latest run of which something is remembered of a tool."""
    run, success = result.last.run, result.success
    return max(int(run) if run.isdecimal() else 0, run_of(success.ended) if success else 0)


def sequence(run: int, count: int, key: int = 0) -> Seq:
    """The number of the `count`-th start or end of a tool in the run with this key."""
    return run << _RUN_SHIFT | key << _COUNT_BITS | count


def end_of_run(run: int) -> Seq:
    """The number of what ended with a run that was killed: after all that its tools did, and before `after_run`."""
    return after_run(run) - 1


def after_run(run: int) -> Seq:
    """A number after all tools of that run, and after its end."""
    return sequence(run + 1, 0) - 1


def differences(
    then: Mapping[Key, str], now: Mapping[Key, str]
) -> Iterator[tuple[Key, str | None, str | None]]:
    """Each key whose version is another one, with both. Of a folder or a glob each path that came or went."""
    if then == now and UNSURE not in then.values():
        return
    listed: set[Key] = set()
    # Folders and globs first: that a file came or went says more than that its content is another one.
    for key in sorted(then.keys() | now.keys(), key=_is_file):
        old, new = then.get(key), now.get(key)
        if (old == new and old != UNSURE) or key in listed:
            continue
        if key.startswith("stat:") and new == ABSENT:
            continue  # that it is missing is said of another key
        is_list = key.startswith(("folder:", "glob:", "there:"))
        if is_list and old is not None and old != UNSURE and new is not None:
            before, after = frozenset(paths_in(old)), frozenset(paths_in(new))
            if before == after:  # it was empty, and is gone now
                yield key, old, new
            for path in sorted(before ^ after):
                is_new = path in after
                listed.add(file_key(path))
                yield file_key(path), *((ABSENT, EXISTS) if is_new else (EXISTS, ABSENT))
        else:
            yield key, old, new


def _is_file(key: Key) -> tuple[bool, Key]:
    return is_file_key(key), key

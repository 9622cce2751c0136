"""Why tools are stale, as sentences for the user, and the freshness of a tool."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from itertools import islice

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import CHECK_PREFIXES, status_words
from discover_orch.model.items import item_text
from discover_orch.model.keys import (
    Key,
    is_all_tables,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    shown_table,
    table_name,
)
from discover_orch.model.tool import Tool
from discover_orch.staleness.code_versions import find_changed
from discover_orch.staleness.memory import UPGRADED
from discover_orch.staleness.rule import Reason
from discover_orch.staleness.tool_result import (
    ABSENT,
    ELSEWHERE,
    EXISTS,
    REMOVED,
    SETTLED,
    UNRECORDED,
    UNSURE,
    Success,
    ToolResult,
    paths_in,
    run_of,
)

RUN = "run"  # every tool has one
#: Ends of a last run after which the success counts.
WELL = ("passed", "accepted")
#: Seconds by which the clock of another machine, or this one after it was set, may be behind a recorded time.
CLOCK_TOLERANCE = 60

_NOTHING: Mapping[str, str] = {}


class Freshness(Struct, frozen=True, kw_only=True):
    """Whether a tool is fresh, and why not. `reasons` are its own; `upstream` has one sentence about another tool that
    is stale, where that is the only reason.

    `last_ending`: `never`, `failed`, `unknown`, or "" where that does not count. `starting` are those of its own
    reasons that a watch acts on: not "always", and not what other programs or hands have written. `is_lasting`: what
    other tools do does not end them. `is_for_others`: it is stale only because other tools are.
    """

    module: str
    reasons: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    last_ending: str = ""
    starting: tuple[str, ...] = ()
    is_lasting: bool = False
    is_for_others: bool = False

    @property
    def state(self) -> str:
        """`fresh`, `stale`, or how the last run of the tool ended: `never`, `failed`, `unknown`."""
        if self.is_fresh:
            return "fresh"
        return self.last_ending or "stale"

    @property
    def is_fresh(self) -> bool:
        return not self.reasons and not self.upstream

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.reasons, *self.upstream)


def reason_sentence(
    reason: Reason,
    result: ToolResult,
    name_of: Callable[[str], str],
    defaults: Mapping[str, str] = _NOTHING,
    *,
    is_missing: Callable[[str], bool] = lambda _: False,
    has_new_code: bool = False,
    is_cleaned: bool = False,
) -> str:
    """`result` is that of the tool that is stale; `name_of` gives the name of a module; `defaults` are the values of
    its parameters where they are not given. `is_missing`: whether code imports this file, which does not exist.
    `has_new_code`: the code of the tool changed too, so a default may be a new one. `is_cleaned`: `orch clean` has
    deleted rows that the tool `reason.by` made."""
    kind, _, name = reason.key.partition(":")
    shown = shown_key(reason.key)
    match reason.how:
        case "gone":
            return f"{shown} still has what {_gone(reason.by, name_of)}"
        case "overwritten" if not is_all_tables(reason.key):
            return f"{shown} was overwritten by {name_of(reason.by)} ({_when(reason, result)})"
        case "out of order" if not is_all_tables(reason.key):
            return _out_of_order_sentence(reason, result, name_of)
        case "left over" | "left by gone":
            return _left_over_sentence(reason, name_of)
        case "edited":
            return _edited_sentence(reason, result, name_of, is_cleaned=is_cleaned)
        case _:
            pass
    match kind:
        case "code":
            return _code_sentence(name, reason, is_missing)
        case "file":
            return _file_sentence(name, reason, result, name_of)
        case "stat" | "link" | "folder" | "glob":
            return _path_sentence(kind, name, reason, result, name_of)
        case "table":
            return _table_sentence(reason, result, name_of)
        case "param":
            return _param_sentence(name, reason, defaults.get(name), has_new_code=has_new_code)
        case "env":
            return f"the environment variable {name} changed"
        case "environ":
            new = sorted({*paths_in(reason.now)} - {*paths_in(reason.then)})
            return f"the environment variable {', '.join(new)} is now set"
        case "package":
            return _package_sentence(name, reason)
        case "python":
            return f"Python: {reason.then} → {reason.now}"
        case "database":
            return _database_sentence(reason)
        case _:
            return f"it depends on {name_of(reason.by)}, which ran later (run {run_of(reason.seq)})"


def _edited_sentence(
    reason: Reason, result: ToolResult, name_of: Callable[[str], str], *, is_cleaned: bool
) -> str:
    shown = shown_key(reason.key)
    if not is_table_key(reason.key):
        return f"{shown} was edited after {name_of(result.module)} made it"
    if not reason.by:
        return f"{shown} is missing"
    by = "orch clean, or another program," if is_cleaned else "another program"
    return f"{shown} was changed by {by} after {name_of(reason.by)} made it"


def _out_of_order_sentence(
    reason: Reason, result: ToolResult, name_of: Callable[[str], str]
) -> str:
    """A tool that saw the thing as an edit had left it has no number of a writer."""
    saw = result.success.saw.get(reason.key) if result.success else None
    other = "it or a later tool" if reason.key in result.writes else "a later tool"
    other = "an edit" if saw is not None and saw.seq == 0 else other
    shown = shown_key(reason.key)
    return f"ran on {shown} as {other} had left it, not as {name_of(reason.by)} leaves it"


def _left_over_sentence(reason: Reason, name_of: Callable[[str], str]) -> str:
    shown = shown_key(reason.key)
    things = f"{shown} and {reason.more:,} more" if reason.more else shown
    if reason.how == "left over":
        return f"reads {things}, which {name_of(reason.by)} no longer makes"
    if item_text(reason.by) and is_table_key(reason.key) and not is_rows(reason.key):
        return (
            f"reads {shown}, which may still have rows of {name_of(reason.by)}, which is withdrawn"
        )
    if item_text(reason.by):
        return f"reads {things} of {name_of(reason.by)}, which is withdrawn"
    return f"reads {things} of {reason.by}, which is no longer a tool"


def _gone(module: str, name_of: Callable[[str], str]) -> str:
    if item_text(module):
        return f"{name_of(module)} wrote, which is withdrawn"
    return f"{module} wrote, which is no longer a tool"


def rebuilt_sentence(module: str, key: Key, name_of: Callable[[str], str]) -> str:
    """Why the tool `module` must run again before another one; `name_of` as above."""
    return f"a stale tool needs {shown_key(key)} as {name_of(module)} made it"


def _path_sentence(
    kind: str, name: str, reason: Reason, result: ToolResult, name_of: Callable[[str], str]
) -> str:
    """Of what a tool asked about paths."""
    by = f"{name_of(reason.by)} {{}} it ({_when(reason, result)})" if reason.by else ""
    match kind:
        case "stat":
            return f"the size or time of {name} changed" + (by and f": {by.format('wrote')}")
        case "link":
            change = "the link {} leads elsewhere" if reason.now else "{} is no longer a link"
            return change.format(name) + (by and f": {by.format('made')}")
        case "folder":
            shown = "the project folder" if name == "." else f"{name}/"
            return f"the list of files in {shown} changed"
        case _ if (reason.then, reason.now) == (EXISTS, ABSENT):
            return f"no file matches {name}"
        case _:
            return f"{name} now matches other files"


def _code_sentence(path: str, reason: Reason, is_missing: Callable[[str], bool]) -> str:
    if reason.now is None:
        return f"{path} is {'missing' if is_missing(path) else 'no longer imported'}"
    if reason.then is None:
        return f"{path} is now imported"
    if reason.then == UNSURE:
        return f"{path} changed while the tool ran"
    first, *others = find_changed(reason.then, reason.now) or ("",)
    if all(one in ("", RUN) or one.startswith(CHECK_PREFIXES) for one in (first, *others)):
        return f"{path} changed"
    more = f" and {len(others):,} other function{'s'[: len(others) - 1]}" if others else ""
    return f"{first}(){more} in {path} changed"


def _file_sentence(
    path: str, reason: Reason, result: ToolResult, name_of: Callable[[str], str]
) -> str:
    if reason.then == UNSURE:
        return f"{path} changed while the tool ran"
    if reason.now == ABSENT:
        by = f": {name_of(reason.by)} removed it" if reason.by else ""
        return f"{path} is missing{by}"
    if reason.by:
        verb = "made" if reason.then == ABSENT else "rewritten"
        return f"{path} was {verb} by {name_of(reason.by)} ({_when(reason, result)})"
    return f"{path} now exists" if reason.then == ABSENT else f"{path} changed"


def shown_key(key: Key) -> str:
    """`table raw` for `table:3:raw`, and the path of a file."""
    return shown_table(table_name(key)) if is_table_key(key) else path_of(key)


def _table_sentence(reason: Reason, result: ToolResult, name_of: Callable[[str], str]) -> str:
    shown = shown_key(reason.key)
    if not reason.by:
        return f"{shown} is missing"
    tool, when = name_of(reason.by), _when(reason, result)
    if is_table_list(reason.key):
        return f"{tool} changed which tables exist ({when})"
    if is_all_tables(reason.key):
        return f"{tool} used {shown} in a way that cannot be observed ({when})"
    missed = result.success.flow.tables_missed if result.success else ()
    verb = "made" if table_name(reason.key) in missed else "rewritten"
    return f"{shown} was {verb} by {tool} ({when})"


def _param_sentence(name: str, reason: Reason, default: str | None, *, has_new_code: bool) -> str:
    then, now = param_text(reason.then, default), param_text(reason.now, default)
    if has_new_code and now == "default" and reason.now != "default":
        now = f"{reason.now} (the default)"
    return f"--{name.replace('_', '-')}: {then} → {now}"


def _package_sentence(name: str, reason: Reason) -> str:
    if not reason.now:
        return f"{name} {reason.then} is no longer installed"
    if not reason.then:
        return f"{name} {reason.now} was installed"
    return f"{name}: {reason.then} → {reason.now}"


def _database_sentence(reason: Reason) -> str:
    """Versions are "number name"; 0 is a database that does not exist."""
    if reason.seq:
        return (
            'another program wrote to the database (to ignore that, set external_writes = "ignore", '
            "or mark the tools as fresh with orch accept)"
        )
    before, _, old = (reason.then or "").partition(" ")
    number, _, new = (reason.now or "").partition(" ")
    if not (old and new):
        return f"the tool {'now' if new else 'no longer'} uses the database"
    if old != new:
        return f"database: {old} → {new}"
    shown = f"the database {f'of {new}' if new.endswith('()') else new}"
    if number == "0":
        return f"{shown} is missing"
    return f"{shown} {'now exists' if before == '0' else 'was replaced'}"


def _when(reason: Reason, result: ToolResult) -> str:
    run = run_of(reason.seq)
    own = result.success.ended if result.success else 0
    is_after = run == run_of(own) and reason.seq > own
    return f"run {run}, after this tool" if is_after else f"run {run}"


def param_text(value: str | None, default: str | None) -> str:
    """The value of a parameter as it is shown; None where it is not given and has no default."""
    if value is None:
        return "not given"
    return "default" if value == default else value


def ending_reasons(result: ToolResult) -> tuple[str, list[str]]:
    """How the last run of the tool ended, and the reason that follows from that."""
    last = result.last
    if not last.status or (last.status in WELL and result.success is None):
        return "never", ["never ran"]
    match last.status:
        case "passed" | "accepted":
            return "", []
        case "failed":
            why = ": it was killed before its commit" if last.cause == "killed" else ""
            return "failed", [f"failed (run {last.run}){why}"]
        case "unknown":
            done = "committed" if last.has_started else "started it"
            killed = f"run {last.run} was killed"
            if last.cause == "worker lost":
                killed = f"its worker was lost in run {last.run}"
            return "unknown", [f"outcome unknown: {killed} and may have {done}"]
        case "running":
            return "", [f"running now (run {last.run})"]
        case _ if last.status == SETTLED:
            if last.cause == "unreadable":
                why = ", and what the database has of it cannot be read"
            else:
                why = " and was killed, or has not ended yet, so what it used is not known"
            return "", [f"run {last.run} committed it{why}"]
        case _ if last.status == UNRECORDED:
            return "", [f"the database has no record of run {last.run}, which passed"]
        case _ if last.status == ELSEWHERE:
            return "", [
                f"the database is as run {last.run} left it, and the files that it made are not"
            ]
        case _ if last.status == REMOVED and last.cause == "clean":
            return "", ["orch clean deleted the rows that it had made"]
        case _ if last.status == REMOVED:
            return "", [f"run {last.run} removed what it had made: run it with --rebuild, too"]
        case _ if last.status == UPGRADED:
            return "", ["orch was upgraded and cannot compare with the last success"]
        case _:
            why = (
                ': its output was closed (for example by "| head")'
                if last.cause == "output closed"
                else ""
            )
            return "", [f"{status_words(last.status)} (run {last.run}){why}"]


def clock_reasons(tool: Tool, success: Success | None, now: float) -> list[str]:
    """What follows from the time alone, and that a success was not checked: a watch does not act on it either."""
    found = ['"always" is set'] if tool.is_always_stale else []
    if success is not None and success.is_unchecked:
        found.append("not checked: it ran with --no-checks")
    if success is not None and tool.item.end and _began(success) < tool.item.end:
        found.append(f"{tool.item.text} was not over when it ran")
    expires = expires_at(tool, success)
    if expires is not None and now >= expires:
        found.append(f"the last success is older than {_span(tool.max_age or 0)} (max_age)")
    elif expires is not None and expires - (tool.max_age or 0) > now + CLOCK_TOLERANCE:
        found.append("the last success is dated in the future, so its age is not known (max_age)")
    return found


def _began(success: Success) -> float:
    """When it began or was accepted, in seconds since 1970."""
    if not success.at:
        return 0.0
    return datetime.fromisoformat(success.at).timestamp() - success.duration


def expires_at(tool: Tool, success: Success | None) -> float | None:
    """When the last success becomes too old, in seconds since 1970; None for never."""
    if tool.max_age is None or success is None or not success.at:
        return None
    return datetime.fromisoformat(success.at).timestamp() + tool.max_age


def _span(seconds: float) -> str:
    """As a user writes it in `ORCH`: `1d`, `6h`, `30m`, `45s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def find_upstream_reasons(
    registry: Registry,
    below: Collection[str],
    wanted: Iterable[str],
    whole: Collection[str],
    is_there: Callable[[str], bool],
) -> dict[str, str]:
    """For each of the tools that are stale only because of others a sentence, which names the nearest stale tool
    upstream; where none is known, one that may be upstream since its writes, or the reads of the tool, are not known.
    `below` are all tools downstream of a stale one; `whole` are those whose reads were all seen; `is_there` says
    whether a file is there now."""
    line = [module for module in registry.order if module in below]
    unsure = [module for module in line if not registry.flows[module].has_writes]

    def reason(module: str) -> str:
        flow = registry.flows[module]
        before = registry.find_before(module, whole)
        for other in (*before, *registry.flow.get(module, ())[::-1]):
            if other in below:
                written, name = registry.flows[other], registry.display(other)
                # What it reads says more than what both write.
                tables = (*flow.tables_read, *flow.tables_written)
                shared = [f"table {one}" for one in _shared(tables, written.tables_written)][:2]
                made = (one for one in flow.files_written if one not in flow.appended)
                files = (*flow.files_read, *made)  # no log that both add to
                found = _shared(files, written.files_written)
                shared += [*islice(filter(is_there, found), 2)] or found[:2]
                # Which of several the stale tool will change is not known yet.
                more = " and others" if len(shared) > 1 else ""
                return f"upstream {name} is stale" + (f" ({shared[0]}{more})" if shared else "")
        name = registry.display((unsure if flow.has_reads and unsure else line)[0])
        if flow.has_reads:
            unseen = f"the writes of {name} are not known"
        elif flow.is_unclear or flow.gaps:
            unseen = "the reads of this tool are not known"
        else:
            unseen = "this tool is not known to read anything"
        return f"{name} is stale and may be upstream ({unseen})"

    return {module: reason(module) for module in wanted}


def _shared(reads: Iterable[str], writes: Iterable[str]) -> list[str]:
    written = frozenset(writes)
    return [*dict.fromkeys(one for one in reads if one in written)]

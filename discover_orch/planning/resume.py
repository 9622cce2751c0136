"""Which run can be resumed, and the plan that resumes it.

The words of that run are planned anew, with today's tools and order, and with the parameters that it had. What did not
pass in it runs, and what passed and is stale by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from discover_orch.config.project import PARAM_PREFIX
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import DATABASE_VARIABLE, VARIABLE_PREFIX, status_words
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.parameter import MASK
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import build_warning, listed
from discover_orch.planning.param_values import (
    extra_arguments,
    find_arguments,
    find_missing,
    is_extra,
    keep_valid,
)
from discover_orch.planning.plan import Arguments, Plan, Step, build_steps, keep_steps
from discover_orch.planning.project_warnings import find_unused
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.planning.selection import Selection, find_known, select
from discover_orch.staleness.database_identity import GET_CONNECTION
from discover_orch.staleness.memory import Memory, with_unended
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.staleness.tool_result import SETTLED, LastOutcome, latest_run
from discover_orch.state.recorded_run import RecordedStep, RunRecord
from discover_orch.state.run_folders import find_runs, read_record, read_summary

BROKEN_OFF = ("failed", "interrupted", "killed")
ENDED_WELL = ("passed", "fresh")
#: Of committed tools that are named.
MOST_NAMES = 10


def find_run_to_resume(root: str, run: str | None) -> RunRecord | None:
    """The run to resume: `run`, or the latest that did not finish, or None if there is none. Raises UsageError."""
    runs = find_runs(root)
    if run is None:
        summaries = (record for one in runs if (record := read_summary(root, one)) is not None)
        found = find_resumable(summaries, lambda one: _is_overtaken(root, one))
        return None if found is None else read_record(root, found.run)
    record = read_record(root, run) if run in runs else None
    if record is None:
        is_number = run.isdecimal()
        what = f"run {run} does not exist" if is_number else f'"{run}" is not the number of a run'
        raise UsageError.of(
            "unknown-run",
            what,
            "orch history shows all runs; --resume continues all that one of them left",
        )
    if record.kind == "watch":
        raise UsageError.of(
            "watch-run",
            f"run {run} belongs to orch watch and cannot be resumed",
            "run the stale tools with: orch run --changed",
        )
    return record


def find_resumable(
    records: Iterable[RunRecord], is_overtaken: Callable[[str], bool] = lambda _: False
) -> RunRecord | None:
    """The latest run that did not finish, has not been resumed with success, and was not overtaken by later runs of
    the same tools; `records` are newest first. Runs of a watch cannot be resumed."""
    done: set[str] = set()
    for record in records:
        is_complete = record.status == "passed" or _has_nothing_left(record)
        if record.resumes and (is_complete or record.run in done):
            done.add(record.resumes)
        if is_complete or record.run in done:
            continue
        is_broken_off = record.kind == "run" and record.status in BROKEN_OFF
        if is_broken_off and not is_overtaken(record.run):
            return record
    return None


def _has_nothing_left(record: RunRecord) -> bool:
    """Whether it was killed when all its tools had passed: then there is nothing to resume."""
    return bool(record.tools) and all(one.status in ENDED_WELL for one in record.tools)


def _is_overtaken(root: str, run: str) -> bool:
    """Whether all tools that the run left have run or been accepted since."""
    record = read_record(root, run)
    left = [one.module for one in record.tools if one.status not in ENDED_WELL] if record else []
    results = Memory(root).results(left)
    return bool(left) and all(
        module in results and latest_run(results[module]) > int(run) for module in left
    )


def find_recorded_database(record: RunRecord | None, present: str, hint: str) -> str | None:
    """The URL that was given for that run on its command line or in its environment, if any, and is not `present`
    anyway. Raises UsageError, with `hint`, where a password was part of it: it is not recorded."""
    given = ("--database", DATABASE_VARIABLE, f"{VARIABLE_PREFIX}DATABASE")
    if record is None or record.database_origin not in given or record.database == GET_CONNECTION:
        return None
    if MASK in record.database:
        if masked_url(present) == record.database:
            return None
        message = (
            f"run {record.run} used the database {record.database}; its password was not recorded"
        )
        raise UsageError.of("database", message, hint)
    return record.database


def plan_resumed(record: RunRecord | None, work: RemainingWork) -> Plan:
    """What the run did not finish; a plan without steps if there is nothing. Raises UsageError if a value does not
    fit, a secret has to be given again or none of its tools exists now, and DiscoveryError if one of its words may
    mean a file that cannot be read."""
    root, registry = work.view.project.root, work.view.registry
    if record is None:
        return Plan(intro=_nothing_to_resume(root))
    present = _find_present(record, registry)
    then = {present[one.module]: one for one in record.plan if one.module in present}
    steps = _build_steps(record, then, work)
    modules = {step.tool.module for step in steps}
    ends = {present.get(one.module, one.module): one.status for one in record.tools}
    before = {present.get(one, one) for one in record.passed_before}
    passed = modules & (before | {one for one, status in ends.items() if status in ENDED_WELL})
    new = modules - then.keys() - ends.keys()
    # What was to run and did not pass runs, fresh or not, unless that run was of what was stale.
    judged = modules if record.is_changed else passed | new
    freshness = work.freshness(steps, passed) if judged else {}
    settled = _find_settled(record, then, [one for one in steps if one.tool.module in passed], work)
    reasons = {
        one: _find_reason(
            record,
            ends.get(one, ""),
            freshness[one] if one in passed else None,
            is_new=one in new,
        )
        for one in modules - settled
        if one not in judged or not freshness[one].is_fresh
    }
    kept = keep_steps(steps, reasons)
    again = [step.tool for step in kept if step.tool.module in passed]
    return Plan(
        steps=kept,
        targets=record.targets,
        exclude=record.exclude,
        is_changed=record.is_changed,
        warnings=tuple(_find_left_out(record, then, steps)),
        intro=_build_intro(
            record,
            len(passed),
            [step.tool.name for step in steps if step.tool.module in settled],
            [f"{one.name} ({freshness[one.module].sentences[0]})" for one in again],
            is_done=not kept,
        ),
        resumes=record.run,
        selected=steps,
        turns=work.build_turns(modules - judged) if freshness else None,
    )


def _find_present(record: RunRecord, registry: Registry) -> dict[str, str]:
    """The modules of then that are tools, and what they are now: a change of `pythonpath` gives a file another
    module."""
    by_path = {tool.path: module for module, tool in registry.tools.items()}
    found = {}
    for one in record.plan:
        module = one.module if one.module in registry.tools else by_path.get(one.path)
        if module is not None:
            found[one.module] = module
    return found


def _build_steps(
    record: RunRecord, then: Mapping[str, RecordedStep], work: RemainingWork
) -> tuple[Step, ...]:
    """All steps of the words of that run, as they mean today."""
    registry = work.view.registry
    selection = _select_again(record, registry)
    if record.plan and not then:
        message = f"run {record.run} cannot be resumed: none of its tools exists now"
        raise UsageError.of("all-gone", message, "run the stale tools with: orch run --changed")
    problems: list[Problem] = []
    steps = build_steps(
        selection, registry, lambda tool: _bind_again(then.get(tool.module), tool, work, problems)
    )
    problems += find_unused(work.values, [step.tool for step in steps], registry)
    if problems:
        raise UsageError(*problems)
    return steps


def _select_again(record: RunRecord, registry: Registry) -> Selection:
    """What the words of that run mean today; those that mean nothing any more are left out."""
    words = find_known(record.targets, registry) or record.targets
    return select(words, registry, exclude=find_known(record.exclude, registry))


def _bind_again(
    then: RecordedStep | None, tool: Tool, work: RemainingWork, problems: list[Problem]
) -> Arguments:
    """The arguments as they were, with the values that the command line gives now. A secret is looked up everywhere
    again, and so is a parameter that is new and required, and those of a tool that was not in that run."""
    view, values = work.view, work.values
    recorded, secrets = (then.params, then.secrets) if then else (None, ())
    found = find_arguments(tool, view.registry, view.project, values, recorded, secrets)
    given = {one.param.name for one in found}
    again = [one.name for one in tool.params if one.name in secrets and one.name not in given]
    problems += find_missing(tool, {*given, *again}, view.registry, view.project)
    old = then.extra if then else {}
    extra = {**old, **extra_arguments(tool, values, view.registry)}
    extra = {name: text for name, text in extra.items() if is_extra(tool, name)}
    problems += [
        Problem(
            code="secret-again",
            message=f"{tool.name} needs {name} again: secrets are not stored",
            hint=f"add -p {name}=VALUE"
            if is_extra(tool, name)
            else f"set {PARAM_PREFIX}{name.upper()}, or add --{name.replace('_', '-')} VALUE",
        )
        for name in (*again, *(one for one in secrets if is_extra(tool, one) and one not in extra))
    ]
    return keep_valid(tool, found, problems), extra


def _find_left_out(
    record: RunRecord, then: Mapping[str, RecordedStep], steps: Sequence[Step]
) -> list[Problem]:
    """A warning for each tool and each value of that run that is not in the plan."""
    chosen = {step.tool.module: step for step in steps}
    kept = {one.module for module, one in then.items() if module in chosen}
    found = [
        build_warning(
            "gone",
            f"{one.path or one.name} is left out: it was in run {record.run}, but "
            f"{'its targets no longer mean it' if one in then.values() else 'is no longer a tool'}",
            "orch list shows all tools",
        )
        for one in record.plan
        if one.module not in kept
    ]
    found += [
        build_warning(
            "gone",
            f"{name} is left out: {step.tool.name} had it in run {record.run}, but no longer has this parameter",
            "orch run TARGETS --help lists all parameters",
        )
        for module, step in chosen.items()
        if (one := then.get(module)) is not None
        for name in (*one.params, *one.extra, *one.secrets)
        if step.tool.param(name) is None and name not in step.extra
    ]
    return found


def _find_settled(
    record: RunRecord, then: Mapping[str, RecordedStep], passed: Sequence[Step], work: RemainingWork
) -> frozenset[str]:
    """Those of the tools that passed which the run, or one that it resumes, committed in the present database, where
    only the ledger says so: what they used is not known. They have not run since, and their code and parameters are
    those of then."""
    root, database = work.view.project.root, work.current.database
    has_own = database.name == GET_CONNECTION
    if record.database != (GET_CONNECTION if has_own else masked_url(work.view.project.database)):
        return frozenset()
    if database.known is not None and database.number != database.known.number:
        return frozenset()
    chain: dict[str, None] = {}
    one: RunRecord | None = record
    while one is not None and one.run not in chain:
        chain[one.run] = None
        one = read_record(root, one.resumes) if one.resumes else None
    results = with_unended(root, work.results)
    committed = []
    for step in passed:
        module, old = step.tool.module, then.get(step.tool.module)
        last = results[module].last if module in results else LastOutcome()
        given = {one.param.name: one.effective for one in step.arguments if not one.is_secret}
        if (
            (last.status == SETTLED and last.run in chain)
            and old is not None
            and given == {name: one.texts for name, one in old.params.items()}
            and step.extra == old.extra
        ):
            committed.append(module)
    code = work.hash_code(committed)
    return frozenset(one for one in committed if then[one].code == code[one])


def _find_reason(record: RunRecord, end: str, freshness: Freshness | None, *, is_new: bool) -> str:
    """Why a tool is left to run: `freshness` is that of one that passed."""
    if freshness is not None:
        word = "in" if end in ENDED_WELL else "before"
        return f"passed {word} run {record.run} but is stale: {freshness.sentences[0]}"
    if is_new:
        return f"was not in run {record.run}"
    word = "outcome unknown" if end == "unknown" else status_words(end or "not_run")
    return f"{word} in run {record.run}"


def _build_intro(
    record: RunRecord, passed: int, settled: list[str], again: list[str], *, is_done: bool
) -> str:
    tools = f"{passed:,} {'tool' if passed == 1 else 'tools'} passed"
    said = ""
    if settled:
        verb = "is" if len(settled) == 1 else "are"
        said = f"; the ledger says that {listed(settled, MOST_NAMES)} {verb} committed"
    if is_done:
        return f"nothing left to run: {tools} in run {record.run}{said}"
    verb = "runs again because it is" if len(again) == 1 else "run again because they are"
    stale = f"; {verb} stale: {', '.join(again)}" if again else ""
    return f"resuming run {record.run} ({record.status}): {tools}{stale}{said}"


def _nothing_to_resume(root: str) -> str:
    """Says also where the latest run was killed, and nothing of it is left."""
    runs = find_runs(root)
    record = read_record(root, runs[0]) if runs else None
    if record is None or record.status != "killed" or not _has_nothing_left(record):
        return "nothing to resume: no run that failed, was interrupted or killed has anything left to run"
    source = ", according to the ledger" if any(one.is_settled for one in record.tools) else ""
    return f"nothing to resume: run {record.run} was killed after all its tools had passed{source}"

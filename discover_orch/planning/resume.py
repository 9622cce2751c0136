"""Which run can be resumed, and the plan that resumes it: what is stale of the targets of that run, with today's tools
and order and the parameters that it had. What passed in it is not stale for the time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.model.conventions import DATABASE_VARIABLE, VARIABLE_PREFIX
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.secret_masking import MASK
from discover_orch.planning.dataflow_checks import build_warning, listed
from discover_orch.planning.item_selection import pick_items, values_of
from discover_orch.planning.param_values import GivenParams, is_extra
from discover_orch.planning.plan import Plan, Step, build_plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.planning.selection import find_known, select
from discover_orch.staleness.current_inputs import hash_meanings
from discover_orch.staleness.database_identity import GET_CONNECTION
from discover_orch.staleness.memory import Memory, with_unended
from discover_orch.staleness.tool_result import SETTLED, LastOutcome, latest_run
from discover_orch.state.journal import find_runs, read_record, read_summary
from discover_orch.state.recorded_run import RecordedStep, RunRecord

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
    """What is stale of the targets of that run; a plan without steps if there is nothing. Raises UsageError if a value
    does not fit, a secret has to be given again or none of its tools exists now, and DiscoveryError if one of its
    words may mean a file that cannot be read."""
    if record is None:
        what = "no run that failed, was interrupted or killed has anything left to run"
        return Plan(intro=f"nothing to resume: {what}")
    plan, then = plan_again(record, work.view, work.values), _by_place(record)
    passed = _find_passed(record, plan.steps)
    settled = _find_settled(record, then, passed, work)
    left_out = _find_left_out(record, then, plan.steps)
    plan = work.keep_stale(plan, passed, {step.tool.module for step in settled})
    return replace(
        plan,
        warnings=(*plan.warnings, *left_out),
        intro=_build_intro(record, passed, [step.tool.name for step in settled], plan),
        resumes=record.run,
    )


def plan_again(record: RunRecord, view: ProjectView, values: GivenParams) -> Plan:
    """All steps of the targets of that run, with its values. Raises as `plan_resumed`."""
    registry, then = view.registry, _by_place(record)
    words = find_known(record.targets, registry) or record.targets
    selection = select(words, registry, exclude=find_known(record.exclude, registry))
    selection = pick_items(selection, registry, values_of(record.items), is_strict=False)
    if then and then.keys().isdisjoint(registry.tools[one].place for one in selection.tools):
        message = f"run {record.run} cannot be resumed: none of its tools exists now"
        raise UsageError.of("all-gone", message, "run the stale tools with: orch run --changed")
    return build_plan(selection, registry, view.project, values, is_partial=True, then=then)


def _by_place(record: RunRecord) -> dict[str, RecordedStep]:
    return {one.place: one for one in record.plan}


def _find_passed(record: RunRecord, steps: Iterable[Step]) -> dict[str, Step]:
    """Those of these steps whose tools passed in that run or in one that it resumes, by module of today: a change of
    `pythonpath` gives a file another one."""
    ended_well = {one.module for one in record.tools if one.status in ENDED_WELL}
    modules = ended_well | (
        {one.module for one in record.plan} - {one.module for one in record.tools}
    )
    places = {one.place for one in record.plan if one.module in modules}
    return {
        step.tool.module: step
        for step in steps
        if step.tool.module in modules or step.tool.place in places
    }


def _find_settled(
    record: RunRecord,
    then: Mapping[str, RecordedStep],
    passed: Mapping[str, Step],
    work: RemainingWork,
) -> list[Step]:
    """Those of the steps that passed which were committed in the present database, where only that says so: what they
    used is not known. They have not run since, and their code and parameters are those of then."""
    database = work.current.database
    url = masked_url(work.view.project.database)
    if record.database != (GET_CONNECTION if database.name == GET_CONNECTION else url):
        return []
    if database.known is not None and database.number != database.known.number:
        return []
    results = with_unended(work.view.project.root, work.results)
    found = []
    for module, step in passed.items():
        last = results[module].last if module in results else LastOutcome()
        old = then.get(step.tool.place)
        given = {
            one.param.name: one.effective
            for one in step.arguments
            if not (one.is_secret or one.param.name in step.tool.item.values)
        }
        if (
            (last.status == SETTLED and int(last.run) <= int(record.run))
            and old is not None
            and given == {name: one.texts for name, one in old.params.items()}
            and step.extra == old.extra
        ):
            found.append(step)
    code = work.current.read_code([step.tool.module for step in found]) if found else {}
    return [
        step
        for step in found
        if then[step.tool.place].code == hash_meanings(work.current.code_of(step.tool, code))
    ]


def _find_left_out(
    record: RunRecord, then: Mapping[str, RecordedStep], steps: Sequence[Step]
) -> list[Problem]:
    """A warning for each tool and each value of that run that is not in the plan."""
    chosen = {step.tool.place: step for step in steps}
    found = []
    for path, old in then.items():
        step = chosen.get(path)
        if step is None and old.item:
            message = (
                f"{old.name} is left out: run {record.run} had it, and it is no longer an item"
            )
            found.append(build_warning("gone", message, "orch status says what is left over of it"))
            continue
        if step is None:
            message = f"{path} is left out: run {record.run} had it, but it is no longer a tool of its targets"
            found.append(build_warning("gone", message, "orch list shows all tools"))
            continue
        found += [
            build_warning(
                "gone",
                f"{name} is left out: {old.name} had it in run {record.run}, but no longer has this parameter",
                "orch run TARGETS --help lists all parameters",
            )
            for name in (*old.params, *old.extra, *old.secrets)
            if step.tool.param(name) is None
            and (name in old.params or not is_extra(step.tool, name))
        ]
    return found


def _build_intro(
    record: RunRecord, passed: Mapping[str, Step], settled: list[str], plan: Plan
) -> str:
    noun = "step" if any(step.tool.item.values for step in passed.values()) else "tool"
    tools = f"{len(passed):,} {noun}{'' if len(passed) == 1 else 's'} passed"
    said = ""
    if settled:
        verb = "is" if len(settled) == 1 else "are"
        said = f"; according to the database, {listed(settled, MOST_NAMES)} {verb} committed"
    if not plan.steps:
        return f"nothing left to run: {tools} in run {record.run}{said}"
    again = [
        f"{step.tool.name} ({step.reason})" for step in plan.steps if step.tool.module in passed
    ]
    verb = "runs again because it is" if len(again) == 1 else "run again because they are"
    stale = f"; {verb} stale: {', '.join(again)}" if again else ""
    return f"resuming run {record.run} ({record.status}): {tools}{stale}{said}"

"""Splits the arguments of `run()` into injected resources and parameters, and checks `orchconf.py`."""

from __future__ import annotations

import msgspec

from discover_orch.model import graph
from discover_orch.model.checks import Check
from discover_orch.model.errors import Location, Problem, did_you_mean, nearest
from discover_orch.model.parameter import SCALARS, Param, ParamType
from discover_orch.source.facts import (
    ArgumentFacts,
    ConfFacts,
    ModuleFacts,
    PassedOver,
    RunFacts,
    UnknownType,
)

CONNECTION = "conn"
#: What a check can take besides: what `run()` returned now, and at its last success.
RETURNED = ("result", "previous")
#: What a connection is often called elsewhere.
_OTHER_NAMES = frozenset(
    {"connection", "con", "cnx", "db", "database", "dbconn", "db_conn", "db_connection"}
)
#: Of a parameter and the resource that was meant by it. A `count` is no misspelled `conn`.
_SIMILARITY = 0.75
#: Of a function and `get_connection`. A `get_connection_url` is no misspelling.
_CONNECTION_SIMILARITY = 0.93


def split_arguments(
    run: RunFacts, conf: ConfFacts | None, path: str
) -> tuple[tuple[str, ...], tuple[Param, ...], tuple[Problem, ...]]:
    """(resources, parameters, problems), each in the order of the signature. One that cannot be read may ask for any
    resource."""
    offered = offered_resources(conf)
    if not run.is_readable:
        return offered, (), ()
    resources: list[str] = []
    params: list[Param] = []
    problems: list[Problem] = []
    if run.yield_line:
        problems.append(
            Problem(
                code="yield",
                message="run() contains yield, so calling it would execute nothing",
                hint="do the work without yield, or move it into another function and consume its result in run()",
                path=path,
                line=run.yield_line,
            )
        )
    for argument in run.arguments:
        if argument.is_positional_only and argument.default_source is not None:
            continue  # by position it could only be given with all those before it
        if argument.name in offered:
            resources.append(argument.name)
        elif isinstance(argument.type, ParamType):
            params.append(msgspec.convert(argument, Param, from_attributes=True))
        elif argument.default_source is None:
            place = Location(path=path, line=argument.line)
            problems.append(_unknown_argument(argument, conf, place))
    return tuple(resources), tuple(params), tuple(problems)


def read_checks(
    facts: ModuleFacts, conf: ConfFacts | None
) -> tuple[tuple[Check, ...], tuple[PassedOver, ...], tuple[Problem, ...]]:
    """The checks of a tool, what looks like one and is none, and the problems of those that would execute nothing."""
    if not facts.checks or facts.run is None:
        return (), (), ()
    checks: list[Check] = []
    misses: list[PassedOver] = []
    problems: list[Problem] = []
    offered = {*offered_resources(conf), *RETURNED, *(one.name for one in facts.run.arguments)}
    for one in facts.checks:
        given = tuple(name for name, _ in one.needs if name in offered or not facts.run.is_readable)
        unknown = [name for name, has_default in one.needs if not has_default and name not in given]
        miss = one.miss
        if unknown and not miss:
            miss = f'its argument "{unknown[0]}" is no parameter of run(), no resource, and not result or previous'
        if miss:
            reason = f"{one.name} is not a check: {miss}"
            misses.append(PassedOver(path=facts.path, reason=reason, line=one.line, is_check=True))
            continue
        checks.append(Check(name=one.name, line=one.line, arguments=given))
        if one.yield_line:
            problems.append(
                Problem(
                    code="yield",
                    message=f"{one.name}() contains yield, so calling it would execute nothing",
                    hint="return the rows that violate the check, as a list or a cursor",
                    path=facts.path,
                    line=one.yield_line,
                )
            )
    return tuple(checks), tuple(misses), tuple(problems)


def find_meant_resource(name: str, conf: ConfFacts | None) -> str:
    """A hint that names the resource which an argument of this name was probably meant to be; or ""."""
    offered = offered_resources(conf)
    if conf is not None and any(name == other for other, _ in conf.others):
        return f"{name}() in {conf.path} is not a resource: mark it with @resource, from discover_orch."
    if name.lower() in _OTHER_NAMES:
        close: str | None = CONNECTION
    else:
        close = nearest(name, offered, similarity=_SIMILARITY)
    if close == CONNECTION:
        return f'did you mean "{CONNECTION}", the database connection?'
    return f'did you mean the resource "{close}"?' if close else ""


def offered_resources(conf: ConfFacts | None) -> tuple[str, ...]:
    return (CONNECTION, *(one.name for one in conf.resources)) if conf else (CONNECTION,)


def conf_warnings(conf: ConfFacts | None) -> tuple[Problem, ...]:
    """Observers that cannot be called, and a function whose name is nearly `get_connection`, where there is none of
    that name: the tools would use another database."""
    if conf is None:
        return ()
    misused = tuple(
        Problem(
            code="observer",
            message=f"observer {one.name} {one.problem}; it gets no events",
            hint=f"an observer is a function at the top level of {conf.path}: def {one.name}(events):",
            path=conf.path,
            line=one.line,
            severity="warning",
        )
        for one in conf.observers
        if one.problem
    )
    if conf.connection_line is not None:
        return misused
    lines = dict(conf.others)
    close = nearest("get_connection", lines, similarity=_CONNECTION_SIMILARITY)
    if close is None:
        return misused
    return (
        *misused,
        Problem(
            code="near-connection",
            message=f"{close}() does not provide conn",
            hint="rename it to get_connection if it should provide conn",
            path=conf.path,
            line=lines[close],
            severity="warning",
        ),
    )


def conf_problems(conf: ConfFacts) -> tuple[Problem, ...]:
    """Resources with a wrong name, that require what is not defined, or that form a cycle."""
    offered = offered_resources(conf)
    problems: list[Problem] = []
    for one in conf.resources:
        place = Location(path=conf.path, line=one.line)
        if one.name == CONNECTION:
            problems.append(
                Problem(
                    code="resource-name",
                    message='a resource cannot be named "conn"',
                    hint="define get_connection() instead: its result is conn",
                ).at(place)
            )
        for need, has_default in one.needs:
            if need in offered or has_default:
                continue
            others = ", ".join(other for other in offered if other != one.name)
            otherwise = f"define it with @resource, or use one of {others}"
            problems.append(
                Problem(
                    code="resource-unknown",
                    message=f'resource "{one.name}" requires "{need}", which is not defined',
                    hint=did_you_mean(need, offered, otherwise),
                ).at(place)
            )
    needs = {one.name: tuple(need for need, _ in one.needs) for one in conf.resources}
    lines = {one.name: one.line for one in conf.resources}
    try:
        graph.order(needs, needs)
    except graph.CycleError as error:
        places = [f"{name} ({conf.path}:{lines[name]})" for name in error.cycle]
        problems.append(
            Problem(
                code="resource-cycle",
                message="resources form a cycle: " + " -> ".join(places),
                hint="each of these requires the one before it; remove one of the arguments",
                path=conf.path,
                line=lines[error.cycle[0]],
            )
        )
    return tuple(problems)


def _unknown_argument(argument: ArgumentFacts, conf: ConfFacts | None, place: Location) -> Problem:
    annotation = argument.type.text if isinstance(argument.type, UnknownType) else ""
    plain = [name.rpartition(".")[2] for name in SCALARS]
    kinds = ", ".join([*plain, "Literal", "an Enum", "or a list of one"])
    instead = f"give it a default, define a @resource of that name in orchconf.py, or use {kinds}"
    for module, _, kind in (name.rpartition(".") for name in SCALARS):
        if kind == annotation and module != "builtins":  # the module does not define the name
            instead = f"import it: from {module} import {kind}; or {instead}"
    meant = CONNECTION if annotation.endswith("Connection") else argument.name
    return Problem(
        code="unknown-argument",
        message=f'argument "{argument.name}" of run() is neither a resource nor of a supported type',
        hint=find_meant_resource(meant, conf).removesuffix(".") or instead,
    ).at(place)

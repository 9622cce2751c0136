"""Values made by hand: what a scan would have found, in as few words as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, build_registry
from discover_orch.model.errors import Location, Problem
from discover_orch.model.parameter import Param, ParamType, Scalar, ScalarKind
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan, build_plan
from discover_orch.planning.selection import Selection, select
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenTool,
    ConfFacts,
    ModuleFacts,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Scan,
    Tag,
)

Words = str | Sequence[str]
ROOT = "/project"


def path_of(module: str) -> str:
    return module.replace(".", "/") + ".py"


def words(given: Words) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def make_type(kind: ScalarKind = "str", *, many: bool = False, optional: bool = False) -> ParamType:
    return ParamType(base=Scalar(kind=kind), many=many, optional=optional)


def make_param(
    name: str,
    kind: ScalarKind = "str",
    *,
    many: bool = False,
    default: object = None,
    default_source: str | None = "None",
) -> Param:
    """`default_source=None` makes it a required one."""
    return Param(
        name=name,
        type=make_type(kind, many=many),
        default=default,
        default_source=default_source,
    )


def make_tool(
    module: str = "src.fetch",
    *,
    name: str = "",
    stages: Words = "ingest",
    after: Words = (),
    params: Sequence[Param] = (),
    resources: Words = (),
    takes_extra: bool = False,
) -> Tool:
    return Tool(
        module=module,
        path=path_of(module),
        line=1,
        name=name or module.rsplit(".", 1)[-1],
        stages=words(stages),
        after=words(after),
        params=tuple(params),
        resources=words(resources),
        takes_extra=takes_extra,
    )


def make_argument(
    name: str,
    kind: ScalarKind | ParamType = "str",
    *,
    many: bool = False,
    default_source: str | None = "None",
    default: object = None,
) -> ArgumentFacts:
    """`default_source=None` makes it a required one."""
    return ArgumentFacts(
        name=name,
        line=3,
        type=kind if isinstance(kind, ParamType) else make_type(kind, many=many),
        default=default,
        default_source=default_source,
    )


def make_facts(
    module: str,
    stage: Words | None = "ingest",
    *,
    after: Words | None = None,
    orch: Mapping[str, object] | None = None,
    arguments: Sequence[ArgumentFacts] = (),
    takes_extra: bool = False,
    is_readable: bool = True,
    path: str = "",
    doc: str = "",
) -> ModuleFacts:
    """A tool; `stage=None` is `STAGE = None`. Its lines: STAGE 1, AFTER 2, run 3, ORCH 4."""
    return ModuleFacts(
        module=module,
        path=path or path_of(module),
        doc=doc,
        stage=Tag(line=1, words=words(stage or ()), is_off=stage is None),
        after=None if after is None else Tag(line=2, words=words(after)),
        orch=None if orch is None else OrchTag(line=4, values=orch),
        run=RunFacts(
            line=3,
            arguments=tuple(arguments),
            takes_extra=takes_extra,
            is_readable=is_readable,
        ),
    )


def make_broken(module: str, stages: Words = ()) -> BrokenTool:
    """A file with a syntax error on line 5."""
    path = path_of(module)
    place = Location(path=path, line=5)
    return BrokenTool(
        path=path,
        module=module,
        problems=(Problem(code="syntax", message=f"{module} is broken").at(place),),
        stages=words(stages),
    )


def make_conf(
    resources: Mapping[str, Sequence[str]] | None = None, *, connection_line: int | None = None
) -> ConfFacts:
    """`orchconf.py` with resources by name and what each takes, one a line."""
    return ConfFacts(
        path="orchconf.py",
        connection_line=connection_line,
        resources=tuple(
            ResourceFacts(name=name, line=line, needs=tuple((need, False) for need in needs))
            for line, (name, needs) in enumerate((resources or {}).items(), start=1)
        ),
    )


def make_project(table: Mapping[str, object] | None = None, **environ: str) -> Project:
    """From a table as `[tool.orch]` has it; what is wrong with it fails the test."""
    project, problems = Project.from_table(
        table or {}, root=ROOT, config="orch.toml", environ=environ
    )
    assert problems == ()
    return project


def make_registry(
    *found: ModuleFacts | BrokenTool,
    project: Project | None = None,
    stages: Words = (),
    conf: ConfFacts | None = None,
) -> Registry:
    scan = Scan(
        modules=tuple(one for one in found if isinstance(one, ModuleFacts)),
        broken=tuple(one for one in found if isinstance(one, BrokenTool)),
        conf=conf,
    )
    return build_registry(scan, project or make_project({"stages": list(words(stages))}))


def make_selection(registry: Registry, *targets: str, exclude: Words = ()) -> Selection:
    return select(targets, registry, exclude=words(exclude))


def make_plan(
    registry: Registry,
    *targets: str,
    values: GivenParams | None = None,
    project: Project | None = None,
) -> Plan:
    selection = make_selection(registry, *targets)
    return build_plan(selection, registry, project or make_project(), values or GivenParams())


def said(problems: Sequence[Problem]) -> list[str]:
    """As a user reads them: place, message, hint."""
    return [
        f"{problem.location or '-'}: {problem.message} ({problem.hint})" for problem in problems
    ]

"""The modules that would be tools without their problems: files that cannot be read, candidates with a wrong tag, and
`orchconf.py` where it has an error. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from discover_orch.discovery.candidates import UNLISTED_STAGE, Candidate
from discover_orch.discovery.injection import conf_problems
from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.errors import Problem
from discover_orch.source.facts import Scan


class BrokenTool(Struct, frozen=True, kw_only=True):
    """A module that would be a tool without its problems; with no `stages` it may belong to any stage."""

    path: str
    module: str
    problems: tuple[Problem, ...]
    stages: tuple[str, ...] = ()

    def could_be_in(self, stage: str) -> bool:
        return not self.stages or stage in self.stages

    @property
    def concerns_all(self) -> bool:
        """`orchconf.py` is loaded before any tool."""
        return self.module == CONF_MODULE


def add_strict_problems(
    tag_warnings: Iterable[Problem],
    scan: Scan,
    enabled: Mapping[str, Candidate],
    problems: Mapping[str, list[Problem]],
) -> list[BrokenTool]:
    """With `strict` a warning is an error: of its tool, or of its file where that is not a tool."""
    by_path = {candidate.facts.path: module for module, candidate in enabled.items()}
    stated = {one.path: one.stage.words for one in scan.modules if one.stage is not None}
    strays = []
    for near_miss in tag_warnings:
        if near_miss.severity != "error" or near_miss.location is None:
            continue
        path = near_miss.location.path
        if path in by_path:
            problems[by_path[path]].append(near_miss)
            continue
        strays.append(
            BrokenTool(
                path=path,
                module=path.removesuffix(".py").replace("/", "."),
                problems=(near_miss,),
                stages=tuple(word for word in stated.get(path, ()) if isinstance(word, str)),
            )
        )
    return strays


def find_broken_tools(
    scan: Scan,
    candidates: Iterable[Candidate],
    problems: Mapping[str, list[Problem]],
    strays: Iterable[BrokenTool],
) -> tuple[BrokenTool, ...]:
    """By path: files that cannot be read, candidates with problems, and `orchconf.py` where it has any."""
    found = [*strays]
    found += [
        BrokenTool(path=one.path, module=one.module, problems=(one.problem,), stages=one.stages)
        for one in scan.broken
    ]
    for candidate in candidates:
        own = tuple(dict.fromkeys((*candidate.problems, *problems[candidate.module])))
        if own:
            # A stage that is not configured may be a typo of any configured one.
            is_known = not any(problem.code == UNLISTED_STAGE for problem in own)
            found.append(
                BrokenTool(
                    path=candidate.facts.path,
                    module=candidate.module,
                    problems=own,
                    stages=candidate.stages if is_known else (),
                )
            )
    conf = scan.conf
    if conf is not None and (found_problems := conf_problems(conf)):
        found.append(BrokenTool(path=conf.path, module=CONF_MODULE, problems=found_problems))
    return tuple(sorted(found, key=lambda one: one.path))

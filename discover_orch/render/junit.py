"""A run as JUnit XML, which GitLab, Jenkins, GitHub actions and others show as test results.

A stage is a test suite and a tool a test case. A tool that did not run counts as skipped. All elements and attributes
are in the strictest schema in use, Jenkins' junit-10.xsd (of its xunit plugin).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from discover_orch.execution.events import (
    FAILED,
    Event,
    Report,
    RunFinished,
    RunNote,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolRetried,
)
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan
from discover_orch.render.problems import failure_line
from discover_orch.render.style import clean

#: Characters of a traceback, and of the end of what a failed tool printed.
LONGEST_TRACEBACK, LONGEST_OUTPUT = 20_000, 8_000
#: Characters of a message, which viewers show on one line.
LONGEST_MESSAGE = 500
#: The suite of problems that belong to no tool.
OWN_SUITE = "orch"
_SKIPPED = {
    "blocked": "depends on a tool that failed",
    "not_run": "did not run",
    "fresh": "is fresh and did not run",
    "rolled_back": "was rolled back with the run",
}
#: XML 1.0 allows these two nowhere; `clean` escapes the other characters that it forbids.
_NEVER_IN_XML = re.compile("[\ufffe\uffff]")


class JunitOutput:
    """The file is written at the end of the run. `start` is the time of the start in ISO 8601."""

    def __init__(self, plan: Plan, start: str) -> None:
        self._start = start[:19]  # the common schema allows no fractions and no zone
        self._tools = {one.tool.module: (one.tool, one.stage) for one in plan.steps}
        self._tools |= {tool.module: (tool, tool.stages[0]) for tool in plan.fresh}
        self._printed: dict[str, str] = {}
        self._report = Report()
        self._problems: list[Problem] = []
        self._is_over = False

    def add(self, event: Event, _: float) -> str:
        self._report.add(event)
        match event:
            case RunStarted(tools=tools):
                self._tools = {one: self._tools[one] for one in tools}
            case ToolOutput(module=module, text=text):
                self._printed[module] = (self._printed.get(module, "") + text)[-LONGEST_OUTPUT:]
            case ToolRetried(end=end):
                self._printed.pop(end.module, None)
            case ToolFinished(module=module) if event.status not in FAILED:
                self._printed.pop(module, None)
            case RunNote(problem=problem) if problem.severity == "error":
                self._problems.append(problem)
            case RunFinished():
                self._is_over = True
                return self._document()
            case _:
                pass
        return ""

    def close(self, _: float) -> str:
        """The document of a run that was broken off."""
        return "" if self._is_over else self._document()

    def _document(self) -> str:
        ends = {one.module: one for one in self._report.finished}
        stages = dict.fromkeys(stage for _, stage in self._tools.values())
        suites = [
            self._suite(stage, [tool for tool, one in self._tools.values() if one == stage], ends)
            for stage in stages
        ]
        if self._problems:
            suites.append(_problem_suite(self._problems, self._start))
        return _document(suites)

    def _suite(self, stage: str, tools: Sequence[Tool], ends: Mapping[str, ToolFinished]) -> _Suite:
        suite = _Suite(stage, self._start)
        for tool in tools:
            end = ends.get(tool.module)
            seconds = 0.0 if end is None else end.duration
            place = {"classname": stage, "name": tool.name}
            suite.add(place, seconds, *self._result(tool, end))
        return suite

    def _result(self, tool: Tool, end: ToolFinished | None) -> tuple[str, str]:
        """The kind of result and its element."""
        if end is None:
            return "error", _element("error", {"message": "the run did not finish"})
        if end.status == "passed":
            return "", ""
        if end.status in _SKIPPED:
            message = _SKIPPED[end.status]
            if end.blocked_by:
                message = f"depends on {self._tools[end.blocked_by][0].name}, which failed"
            return "skipped", _element("skipped", {"message": message})
        kind = "failure" if end.status == "failed" else "error"
        error = end.error or Failure(kind="exception", type="", message=end.status)
        body = error.traceback or error.message
        hint = f"\nhint: {error.hint}" if error.hint else ""
        attributes = {
            "type": error.type or error.kind,
            "message": failure_line(error)[:LONGEST_MESSAGE],
        }
        element = _element(kind, attributes, body[-LONGEST_TRACEBACK:] + hint)
        printed = self._printed.get(tool.module, "")
        return kind, element + (_element("system-out", {}, printed) if printed else "")


def refused_document(problems: Iterable[Problem], start: str) -> str:
    """The document of a run that was refused: each problem is an error."""
    return _document([_problem_suite(problems, start[:19])])


class _Suite:
    def __init__(self, name: str, start: str) -> None:
        self.name, self._start = name, start
        self.seconds = 0.0
        self.counts = {"": 0, "failure": 0, "error": 0, "skipped": 0}
        self._cases: list[str] = []

    def add(self, place: dict[str, str], seconds: float, kind: str, result: str) -> None:
        self.counts[kind] += 1
        self.seconds += seconds
        self._cases.append(_element("testcase", place | {"time": f"{seconds:.3f}"}, inside=result))

    def element(self) -> str:
        numbers = _numbers([self]) | {"skipped": str(self.counts["skipped"])}
        attributes = {"name": self.name, **numbers, "timestamp": self._start}
        return _element("testsuite", attributes, inside="".join(self._cases))


def _problem_suite(problems: Iterable[Problem], start: str) -> _Suite:
    suite = _Suite(OWN_SUITE, start)
    for one in problems:
        place = {"classname": OWN_SUITE, "name": one.code}
        where = f"{one.location}: " if one.location else ""
        text = where + one.message + (f"\nhint: {one.hint}" if one.hint else "")
        attributes = {"type": one.code, "message": one.message[:LONGEST_MESSAGE]}
        suite.add(place, 0.0, "error", _element("error", attributes, text))
    return suite


def _document(suites: Sequence[_Suite]) -> str:
    inside = "".join(one.element() for one in suites)
    root = _element("testsuites", {"name": "orch", **_numbers(suites)}, inside=inside)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}'


def _numbers(suites: Sequence[_Suite]) -> dict[str, str]:
    def total(kind: str) -> str:
        return str(sum(one.counts[kind] for one in suites))

    return {
        "tests": str(sum(sum(one.counts.values()) for one in suites)),
        "failures": total("failure"),
        "errors": total("error"),
        "time": f"{sum(one.seconds for one in suites):.3f}",
    }


def _element(name: str, attributes: dict[str, str], text: str = "", *, inside: str = "") -> str:
    """`text` is escaped, and `inside` is XML."""
    shown = "".join(f' {key}="{_attribute(value)}"' for key, value in attributes.items())
    if not (text or inside):
        return f"<{name}{shown}/>\n"
    return f"<{name}{shown}>{_escape(text) if text else chr(10) + inside}</{name}>\n"


def _escape(text: str) -> str:
    allowed = _NEVER_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", clean(text))
    return allowed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attribute(text: str) -> str:
    """A parser turns a bare newline or tab in an attribute into a space."""
    shown = _escape(text).replace('"', "&quot;")
    return shown.replace("\n", "&#10;").replace("\t", "&#9;")

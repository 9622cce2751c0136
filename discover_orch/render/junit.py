"""A recorded run as JUnit XML, which GitLab, Jenkins, GitHub actions and others show as test results.

A stage is a test suite, and a tool and each of its checks is a test case. A tool that did not run counts as skipped.
All elements and attributes are in the strictest schema in use, Jenkins' junit-10.xsd (of its xunit plugin).
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from discover_orch.model.checks import CheckResult, checks_text
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.items import item_text, tool_name
from discover_orch.render.problems import failure_line
from discover_orch.render.style import clean, status_word
from discover_orch.state.recorded_run import RunRecord, ToolRecord

#: Characters of a traceback, and of a message, which viewers show on one line.
LONGEST_TRACEBACK, LONGEST_MESSAGE = 20_000, 500
#: The suite of problems that belong to no tool.
OWN_SUITE = "orch"
_SKIPPED = {
    "blocked": "depends on a tool that failed",
    "not_run": "did not run",
    "fresh": "is fresh and did not run",
    "rolled_back": "was rolled back with the run",
}


def junit_text(record: RunRecord) -> str:
    root = Element("testsuites")
    suites: dict[str, Element] = {}
    for tool in record.tools:
        if tool.stage not in suites:
            suites[tool.stage] = _add(root, "testsuite", name=tool.stage)
        case = _add_case(suites[tool.stage], tool.stage, _name(tool), tool.duration or 0.0)
        if tool.status != "passed":
            _add_result(case, tool)
        for check in tool.checks:
            _add_check(suites[tool.stage], tool, check)
    _add_problems(root, record.errors)
    return _complete(root, record.started)


def _name(tool: ToolRecord) -> str:
    """`clean[2026-01-13]` for an item, as pytest names the cases of a test."""
    if not tool.step.item:
        return tool.name
    return f"{tool_name(tool.name, tool.module)}[{item_text(tool.module)}]"


def _add_result(case: Element, tool: ToolRecord) -> None:
    """Why the tool did not pass."""
    if tool.status in _SKIPPED:
        message = _SKIPPED[tool.status]
        if tool.blocked_by:
            message = f"depends on {tool.blocked_by}, which failed"
        _add(case, "skipped", message=message)
        return
    if tool.error is None and tool.status in ("unknown", "running"):
        _add(case, "error", message="the run did not finish")
        return
    error = tool.error or Failure(kind="exception", type="", message=status_word(tool.status))
    _add(
        case,
        "failure" if tool.status == "failed" else "error",
        (error.traceback or error.message)[-LONGEST_TRACEBACK:] + _hint(error.hint),
        type=error.type or error.kind,
        message=failure_line(error, LONGEST_MESSAGE),
    )
    if tool.printed:
        _add(case, "system-out", tool.printed)


def _add_check(suite: Element, tool: ToolRecord, check: CheckResult) -> None:
    """A case of its own; one that only warns has passed, with what it found as its output."""
    case = _add_case(suite, tool.stage, f"{_name(tool)}: {check.name}", 0.0)
    text = checks_text([check])
    if check.status == "failed":
        _add(case, "failure", text, type="check", message=check.message[:LONGEST_MESSAGE])
    elif text:
        _add(case, "system-out", text)


def _add_problems(root: Element, problems: Iterable[Problem]) -> None:
    suite: Element | None = None
    for one in problems:
        suite = _add(root, "testsuite", name=OWN_SUITE) if suite is None else suite
        case = _add_case(suite, OWN_SUITE, one.code, 0.0)
        where = f"{one.location}: " if one.location else ""
        text = where + one.message + _hint(one.hint)
        _add(case, "error", text, type=one.code, message=one.message[:LONGEST_MESSAGE])


def _hint(hint: str) -> str:
    return f"\nhint: {hint}" if hint else ""


def _add_case(suite: Element, stage: str, name: str, seconds: float) -> Element:
    return _add(suite, "testcase", classname=stage, name=name, time=f"{seconds:.3f}")


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """`clean` escapes all characters that XML 1.0 forbids."""
    found = SubElement(parent, tag, {key: clean(value) for key, value in attributes.items()})
    found.text = clean(text) or None
    return found


def _complete(root: Element, start: str) -> str:
    """The document with its counts."""
    root.set("name", "orch")
    for element in (root, *root):
        cases = [*element.iter("testcase")]
        kinds = [one.tag for case in cases for one in case]
        element.set("tests", str(len(cases)))
        element.set("failures", str(kinds.count("failure")))
        element.set("errors", str(kinds.count("error")))
        element.set("time", f"{sum(float(case.attrib['time']) for case in cases):.3f}")
        if element is not root:
            element.set("skipped", str(kinds.count("skipped")))
            element.set(
                "timestamp", clean(start[:19])
            )  # the schema allows no fractions and no zone
    ElementTree.indent(root, space="")
    text = ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'

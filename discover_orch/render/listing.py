"""The listing as text. In: the document of `orch list --json`, which is also what the index remembers.

A document, not a `Registry`: on a warm `orch list` nothing else is loaded, which is most of its speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from discover_orch.render.style import Style, count, one_line

Document = Mapping[str, Any]


def listing_text(document: Document, style: Style, *, verbose: bool = False) -> str:
    """Tools by stage, one line each where all fit, else a second line for path and options."""
    tools = {tool["name"]: tool for tool in document["tools"] if not tool["disabled"]}
    stages = [stage for stage in document["stages"] if stage["tools"]]
    off = [tool for tool in document["tools"] if tool["disabled"]]
    shown = [tools[name] for stage in stages for name in stage["tools"]] + off
    widths = [
        max((len(one_line(tool[key])) for tool in shown), default=0) for key in ("name", "doc")
    ]
    line = _wide_line if _fits(shown, widths, style) else _narrow_line
    out: list[str] = []
    for stage in stages:
        title = style.paint(one_line(stage["name"]), "stage")
        out.append(title if stage["configured"] else title + _unordered(document, style))
        out += [line(tools[name], widths, style) for name in stage["tools"]]
    if off:
        out.append(style.paint("disabled", "stage"))
        out += [line(tool, widths, style) for tool in off]
    if verbose and document.get("passed_over"):
        out.append(style.paint("passed over", "stage"))
        out += [_passed_over(one, style) for one in document["passed_over"]]
    if shown:
        out.append("")
        out.append(_total(len(tools), len(stages), len(off)))
    return "\n".join(out) + "\n" if out else ""


def options_text(params: Sequence[Mapping[str, Any]]) -> str:
    """`--since DATE  --limit INT`; those that must be given come with a star."""
    parts = []
    for param in params:
        flag = "--" + param["name"].replace("_", "-")
        value = "" if param["type"] == "bool" else f" {_shout(param['type'])}"
        parts.append(flag + value + ("*" if param["required"] else ""))
    return one_line("  ".join(parts))


def _shout(kind: str) -> str:
    """`DATE`, `LIST[STR]`; the words of a choice as they must be typed."""
    return kind if "|" in kind else kind.upper()


def _total(tools: int, stages: int, off: int) -> str:
    total = f"{count(tools, 'tool')} in {count(stages, 'stage')}"
    return total + (f", {off:,} disabled" if off else "")


def _unordered(document: Document, style: Style) -> str:
    """Only worth a word where there is an order to configure."""
    if len([stage for stage in document["stages"] if stage["tools"]]) < 2:
        return ""
    return style.paint("  (its order is not configured: stages = [...])", "dim")


def _details(tool: Mapping[str, Any]) -> str:
    options = options_text(tool["params"])
    if not tool.get("readable", True):
        options = "(signature not readable: parameters through -p)"
    return f"{one_line(tool['path'])}  {options}".rstrip()


def _fits(tools: Sequence[Mapping[str, Any]], widths: Sequence[int], style: Style) -> bool:
    room = style.width - sum(widths) - 6
    return all(len(_details(tool)) <= room for tool in tools[:200])


def _wide_line(tool: Mapping[str, Any], widths: Sequence[int], style: Style) -> str:
    name, doc = one_line(tool["name"]), one_line(tool["doc"])
    text = f"  {name:<{widths[0]}}  {doc:<{widths[1]}}"
    return text + "  " + style.paint(_details(tool), "dim")


def _narrow_line(tool: Mapping[str, Any], widths: Sequence[int], style: Style) -> str:
    name, doc = one_line(tool["name"]), one_line(tool["doc"])
    pad = min(widths[0], 24)
    room = style.width - pad - 4
    if len(doc) > room > 10:
        doc = doc[: room - 1].rstrip() + style.mark("…", "~")
    first = f"  {name:<{pad}}  {doc}".rstrip()
    return f"{first}\n  {'':<{pad}}  {style.paint(_details(tool), 'dim')}"


def _passed_over(one: Mapping[str, Any], style: Style) -> str:
    place = one_line(one["path"]) + (f":{one['line']}" if one["line"] else "")
    return f"  {place}  {style.paint(one_line(one['reason']), 'dim')}"

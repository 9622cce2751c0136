"""What `orch check --jobs` says, as text and as JSON."""

from __future__ import annotations

from discover_orch.planning.parallel_advice import Advice, Alone, after_line
from discover_orch.render.style import Style, column, column_width, count, one_line, wrap


def advice_text(advice: Advice, style: Style) -> str:
    """The tools that run alone, with the reasons, and the lines that would change that."""
    alone, total = len(advice.alone), len(advice.alone) + advice.declared
    if not total:
        return ""
    if not alone:
        return f"{count(total, 'tool')}: each may run beside others\n"
    out = [f"{alone:,} of {count(total, 'tool')} {'runs' if alone == 1 else 'run'} alone"]
    title = "not observed completely; if they use nothing else, these lines free them"
    known = [
        (one.tool.path, after_line(one.after), one.reason)
        for one in advice.alone
        if one.after is not None
    ]
    unknown = [(one.tool.path, "", one.reason) for one in advice.alone if one.after is None]
    for said, rows in ((title, known), ("not known yet", unknown)):
        out += [f"\n{said}:", *_rows(rows, style)] if rows else []
    return "\n".join(out) + "\n"


def _rows(rows: list[tuple[str, str, str]], style: Style) -> list[str]:
    widths = [column_width((row[place] for row in rows), style, share=3) for place in (0, 1)]
    found = []
    for path, line, reason in rows:
        text = f"  {column(path, widths[0], style)}  "
        if line:  # never cut: it is to be copied
            text += style.paint(f"{one_line(line):<{widths[1]}}", "bold") + "  "
        found.append(wrap(text + style.paint(one_line(reason), "dim"), style, "      "))
    return found


def advice_document(advice: Advice) -> dict[str, object]:
    def about(one: Alone) -> dict[str, object]:
        return {"name": one.tool.name, "module": one.tool.module, "path": one.tool.path}

    suggestions = [
        about(one) | {"after": after, "line": after_line(after), "reason": one.reason}
        for one in advice.alone
        if (after := one.after) is not None
    ]
    undecided = [about(one) | {"reason": one.reason} for one in advice.alone if one.after is None]
    jobs = {"suggestions": suggestions, "undecided": undecided, "declared": advice.declared}
    return {"version": 1, "jobs": jobs}

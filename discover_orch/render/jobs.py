"""What `orch check --jobs` says, as text and as JSON."""

from __future__ import annotations

from discover_orch.planning.parallel_advice import Advice, after_line
from discover_orch.render.style import Style, column, column_width, count, one_line, wrap


def advice_text(advice: Advice, style: Style) -> str:
    """The tools that run alone, with the reasons, and the lines that would change that."""
    alone = len(advice.suggestions) + len(advice.undecided)
    total = alone + advice.declared
    if not total:
        return ""
    if not alone:
        return f"{count(total, 'tool')}: each may run beside others\n"
    out = [f"{alone:,} of {count(total, 'tool')} {'runs' if alone == 1 else 'run'} alone"]
    if advice.suggestions:
        out.append("\nnot observed completely; if they use nothing else, these lines free them:")
        out += _rows(
            [(one.tool.path, after_line(one.after), one.reason) for one in advice.suggestions],
            style,
        )
    if advice.undecided:
        out.append("\nnot known yet:")
        out += _rows([(one.tool.path, "", one.reason) for one in advice.undecided], style)
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
    return {
        "version": 1,
        "jobs": {
            "suggestions": [
                {
                    "name": one.tool.name,
                    "module": one.tool.module,
                    "path": one.tool.path,
                    "after": list(one.after),
                    "line": after_line(one.after),
                    "reason": one.reason,
                }
                for one in advice.suggestions
            ],
            "undecided": [
                {
                    "name": one.tool.name,
                    "module": one.tool.module,
                    "path": one.tool.path,
                    "reason": one.reason,
                }
                for one in advice.undecided
            ],
            "declared": advice.declared,
        },
    }

"""Two runs side by side on one page. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from discover_orch.render.markup import clean_word, escape
from discover_orch.render.report_page import (
    PageFiles,
    build_tools,
    page_html,
    run_facts,
    run_sentence,
    timeline_of_run,
)
from discover_orch.render.report_tools import NOTABLE_SECONDS
from discover_orch.render.run_schedule import find_critical_path, find_waits
from discover_orch.render.style import count, duration
from discover_orch.state.report_source import ReportSource
from discover_orch.state.run_diff import ToolChange, compare_runs
from discover_orch.state.run_record import ToolRecord

#: A difference below so many seconds is shown as 0.00 s.
SHOWN_SECONDS = 0.005
#: Of the files that changed, so many are named.
MOST_FILES = 100
_NOTHING = '<span aria-label="nothing">–</span>'


class _Row(Struct, frozen=True):
    """A tool, and its record in both runs."""

    name: str
    old: ToolRecord | None
    new: ToolRecord | None
    change: ToolChange | None = None


def comparison_html(old: ReportSource, new: ReportSource, project: str, files: PageFiles) -> str:
    """What changed from `old` to `new`."""
    title = f"Runs {old.record.run} and {new.record.run} of {project}"
    columns = [_column(source, place) for place, source in enumerate((old, new))]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="two">{"".join(columns)}</div>',
        _code(old, new),
        _table(old, new),
    ]
    return page_html(title, "\n".join(parts), files, kind="compare")


def _column(source: ReportSource, place: int) -> str:
    record = source.record
    waits = find_waits(source.details)
    tools = build_tools(source, waits, find_critical_path(source.details, waits))
    svg = timeline_of_run(record, tools, is_narrow=True)
    return (
        f'<div><h2 id="run{place}">Run {escape(record.run)}</h2>'
        f'<p class="said s-{clean_word(record.status)}">{run_sentence(record)}</p>{run_facts(source)}'
        f'<h3>Timeline</h3><div class="scroll" tabindex="0" role="group" '
        f'aria-label="Timeline of run {escape(record.run)}">{svg}</div></div>'
    )


def _code(old: ReportSource, new: ReportSource) -> str:
    """The files of the tools' code that changed in meaning: comments and formatting do not count."""
    was, now = old.details.sources, new.details.sources
    if not (was and now):
        said = "The code of one of the runs is not recorded."
    else:
        changed = [path for path in now if path in was and was[path] != now[path]]
        rows = [*((path, "changed") for path in changed)]
        rows += [(path, "new") for path in now if path not in was]
        rows += [(path, "no longer used") for path in was if path not in now]
        said = "<br>".join(
            f"{escape(path)} <small>{word}</small>" for path, word in rows[:MOST_FILES]
        )
        if len(rows) > MOST_FILES:
            said += f"<br>and {count(len(rows) - MOST_FILES, 'more file')}"
        said = said or "No file of the tools' code changed."
    return f'<section aria-labelledby="h-code"><h2 id="h-code">Code</h2><p>{said}</p></section>'


def _table(old: ReportSource, new: ReportSource) -> str:
    found = compare_runs(old.record, new.record)
    before = {tool.module: tool for tool in old.record.tools}
    now = {tool.module: tool for tool in new.record.tools}
    rows = [
        _Row(one.name, before[one.module], now[one.module], one)
        for one in sorted(found.tools, key=lambda one: not one.is_changed)
    ]
    rows += [_Row(tool.name, None, tool) for tool in found.added]
    rows += [_Row(tool.name, tool, None) for tool in found.removed]
    a, b = escape(old.record.run), escape(new.record.run)
    heads = ("Tool", "Status", f"Run {a}", f"Run {b}", "Change", "Metrics", "What changed")
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = "".join(_row(row, heads) for row in rows)
    return (
        '<section aria-labelledby="h-tools"><h2 id="h-tools">Tools</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _row(row: _Row, heads: tuple[str, ...]) -> str:
    times = [None if one is None else one.duration for one in (row.old, row.new)]
    changed = []
    if row.change:
        changed += ["code changed"] if row.change.is_code_changed else []
        changed += [
            f"{escape(one.name)}: {_param(one.old)} → {_param(one.new)}"
            for one in row.change.params
        ]
    else:
        changed.append("only in this run")
    cells = (
        f"<b>{escape(row.name)}</b>",
        _status(row),
        *(_NOTHING if one is None else duration(one) for one in times),
        _change(*times),
        _metrics(row),
        "<br>".join(changed) or _NOTHING,
    )
    return (
        "<tr>"
        + "".join(
            f'<td data-h="{head}"{" class=num" if place in (2, 3, 4) else ""}>{cell}</td>'
            for place, (head, cell) in enumerate(zip(heads, cells, strict=True))
        )
        + "</tr>"
    )


def _param(text: str | None) -> str:
    return "default" if text is None else escape(text)


def _status(row: _Row) -> str:
    words = [
        f'<span class="s-{clean_word(one.status)}"><span class="status">'
        f"{escape(one.status.replace('_', ' '))}</span></span>"
        for one in (row.old, row.new)
        if one is not None
    ]
    return words[0] if len(words) == 2 and words[0] == words[1] else " → ".join(words)


def _change(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return _NOTHING
    is_notable = old > 0 and abs(new - old) >= NOTABLE_SECONDS
    share = f" ({(new - old) / old:+.0%})" if is_notable else ""
    sign = "" if abs(new - old) < SHOWN_SECONDS else "+" if new > old else "−"
    return f"{sign}{duration(abs(new - old))}{share}"


def _metrics(row: _Row) -> str:
    was: Mapping[str, object] = row.old.metrics if row.old else {}
    now: Mapping[str, object] = row.new.metrics if row.new else {}
    shown = []
    for name in dict.fromkeys((*was, *now)):
        texts = [escape(str(one[name])) if name in one else _NOTHING for one in (was, now)]
        same = texts[0] == texts[1] or not (row.old and row.new)
        shown.append(f"{escape(name)} {texts[0 if row.old else 1] if same else ' → '.join(texts)}")
    return "<br>".join(shown) or _NOTHING

"""The moments of a watch as the lines that a person reads, and as JSON.

In: moments, one after another. Out: text, or an object for `--json`. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.model.errors import problem_json
from discover_orch.render.style import Style, count, duration, one_line
from discover_orch.watch.watch_events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    RunStarting,
    WatchEvent,
    WatchNote,
    WatchWaiting,
)

#: Paths and tools that are named on one line.
MOST = 3
#: Seconds from which on an import is worth a word.
SLOW = 0.001
MODES = {
    "events": "",
    "polling": ", by polling",
    "mixed": ", partly by polling",
}


def moment_text(
    moment: WatchEvent,
    style: Style,
    *,
    verbose: bool = False,
    time: str = "",
    has_keys: bool = True,
) -> str:
    """One line or several, or nothing. Problems are not among them: they go to stderr."""
    match moment:
        case WatchWaiting():
            return _waiting(moment, style, KEYS_TOLD if has_keys else "Ctrl-C ends")
        case ChangesFound():
            return f"{style.paint(time, 'dim')} {_changed(moment, style)}\n".lstrip()
        case NoMeaningfulChange(paths=paths):
            return style.paint(f"{_names(paths)} saved, nothing to run", "dim") + "\n"
        case CannotRun(waiting=waiting):
            if not waiting:
                return style.paint("waiting for the mend", "yellow") + "\n"
            names = _names(waiting)
            return style.paint(f"waiting for the mend, and with it: {names}", "yellow") + "\n"
        case RunStarting():
            return "".join(style.paint(line, "dim") + "\n" for line in _began(moment, verbose))
        case KeyAnswered(key="h"):
            return help_text(style)
        case KeyAnswered(sentence=sentence):
            return style.paint(one_line(sentence), "cyan") + "\n"
        case _:
            return ""


KEYS_TOLD = "Enter runs again, h helps, q quits"
KEYS = (
    ("Enter", "run again what ran last"),
    ("a", "run all"),
    ("f", "run what failed, and what is downstream of it"),
    ("c", "cancel the run"),
    ("s", "next scope: stage, tool, downstream"),
    ("p", "pause, or go on"),
    ("q", "quit"),
    ("h", "this help"),
)


def help_text(style: Style) -> str:
    lines = [f"  {style.paint(key.ljust(5), 'bold')}  {what}" for key, what in KEYS]
    return "keys, each with Enter:\n" + "\n".join(lines) + "\n"


def moment_document(moment: WatchEvent) -> dict[str, object] | None:
    """An object for `--json`; None where the events of the run say it."""
    match moment:
        case WatchWaiting():
            return {
                "event": "watching",
                "tools": moment.tools,
                "files": moment.files,
                "mode": moment.mode,
                "scope": moment.scope,
                "paused": moment.is_paused,
                "failing": list(moment.failing),
            }
        case ChangesFound():
            return {
                "event": "changed",
                "paths": list(moment.paths),
                "tools": list(moment.tools),
                "stages": list(moment.stages),
                "not_affected": moment.not_affected,
                "gone": list(moment.gone),
                "reasons": dict(moment.reasons),
                "during_run": moment.during_run,
                "action": moment.action,
            }
        case NoMeaningfulChange(paths=paths):
            return {"event": "unchanged", "paths": list(paths)}
        case CannotRun(problems=problems, waiting=waiting):
            errors = [problem_json(problem) for problem in problems]
            return {"event": "broken", "errors": errors, "waiting": list(waiting)}
        case RunStarting(cold=cold) if cold:
            hint = "orch check --watch shows what is imported ahead"
            return {"event": "notice", "message": cold, "hint": hint}
        case WatchNote(problem=problem):
            return {"event": "notice", "message": problem.message, "hint": problem.hint}
        case KeyAnswered(key=key, sentence=sentence):
            return {"event": "key", "key": key, "sentence": sentence}
        case _:
            return None


def _began(moment: RunStarting, verbose: bool) -> list[str]:
    lines = [one_line(moment.cold)] if moment.cold else []
    if verbose and moment.imported:
        rows = [
            f"{one_line(name)} {duration(seconds)}" + (f" ({one_line(wrong)})" if wrong else "")
            for name, seconds, wrong in moment.imported
            if seconds >= SLOW or wrong
        ]
        lines.append(f"imported ahead: {', '.join(rows) or 'nothing slow'}")
    return lines


def _waiting(moment: WatchWaiting, style: Style, keys: str) -> str:
    if moment.is_paused:
        return style.paint("paused: changes wait (p goes on, h helps)", "cyan") + "\n"
    if moment.failing:
        failing = style.paint(f"{len(moment.failing):,} failing: {_names(moment.failing)}", "error")
        return f"{failing}; {_watching(moment, style, keys)}"
    return _watching(moment, style, keys)


def _watching(moment: WatchWaiting, style: Style, keys: str) -> str:
    text = (
        f"watching {count(moment.files, 'file')} for {count(moment.tools, 'tool')}"
        f"{MODES.get(moment.mode, '')} ({keys})"
    )
    return style.paint(text, "cyan") + "\n"


def _changed(moment: ChangesFound, style: Style) -> str:
    arrow = style.mark("→", "->")
    if len(moment.paths) > MOST:
        what = f"{len(moment.paths):,} files changed"
    elif moment.paths:
        what = f"changed {_names(moment.paths)}"
    else:
        what = one_line(next(iter(moment.reasons.values()), "changed"))
    if moment.is_switch:
        what += " (branch switch)"
    gone = f"; gone: {_names(moment.gone)}" if moment.gone else ""
    if moment.action == "none" and moment.during_run and moment.tools:
        return f"{what} {arrow} the run that is going on takes it in{gone}"
    if not moment.tools:
        nothing = "waits for the mend" if moment.action == "wait" else "affects no watched tool"
        return f"{what} {arrow} {nothing}{gone}"
    names = _names(moment.stages if len(moment.tools) > 1 else moment.tools)
    text = f"{what} {arrow} {style.paint(names, 'bold')} ({count(len(moment.tools), 'tool')})"
    if moment.not_affected:
        text += f", {moment.not_affected:,} not affected"
    ends = {
        "restart": ", the run is cancelled",
        "after": ", after this run",
        "hold": ", when the running tool has ended",
    }
    return text + ends.get(moment.action, "") + gone


def _names(names: Sequence[str]) -> str:
    shown = [one_line(name) for name in names[:MOST]]
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")

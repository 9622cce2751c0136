"""A watch as text: what happens between its runs."""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.model.items import item_text
from discover_orch.render.style import (
    Style,
    arrow,
    count,
    fold_items,
    names_text,
    one_line,
    table,
    wrap,
    wrap_prose,
)
from discover_orch.watch.watch_events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    WatchEvent,
    WatchWaiting,
)

#: Paths and tools that are named on one line.
MOST = 3
_BY_MODE = {"events": "", "polling": " by polling"}
#: What becomes of a run in progress.
_ACTIONS = {
    "restart": "cancelling the current run",
    "after": "runs after the current run",
    "hold": "runs when the current tool has ended",
}
KEYS_HINT = "Enter runs again, h + Enter shows all keys"
KEYS = (
    ("Enter", "run the last tools again"),
    ("a", "run all tools"),
    ("f", "run the failed tools, and what is stale because of them"),
    ("c", "cancel the run"),
    ("s", "switch the scope: affected, stage, tool"),
    ("p", "pause or resume"),
    ("q", "quit"),
    ("h", "show this help"),
)


def watch_event_text(
    event: WatchEvent,
    style: Style,
    *,
    time: str = "",
    has_keys: bool = True,
) -> str:
    """The lines for stdout, or an empty text. Problems are not among them: they go to stderr."""
    match event:
        case WatchWaiting():
            text = _waiting(event, style, KEYS_HINT if has_keys else "Ctrl-C quits")
        case ChangesFound():
            changed = f"{style.paint(time, 'dim')} {_changed(event, style)}".lstrip()
            return wrap(changed, style, " " * len(time)) + "\n"
        case NoMeaningfulChange(paths=paths):
            text = style.paint(f"saved {names_text(paths, MOST)}: nothing to run", "dim")
        case CannotRun(waiting=waiting):
            text = style.paint(_waiting_for_fix(waiting), "yellow")
        case KeyAnswered(key="h"):
            text = help_text(style)
        case KeyAnswered(sentence=sentence):
            text = style.paint(sentence, "cyan")
        case _:
            return ""
    return "".join(wrap_prose(line, style, "  ") + "\n" for line in text.splitlines())


def help_text(style: Style) -> str:
    lines = ("keys (press Enter after each):", *table(KEYS, style, kinds=("bold",)))
    return "\n".join(lines) + "\n"


def _waiting(event: WatchWaiting, style: Style, keys: str) -> str:
    if event.is_paused:
        return style.paint("paused: changes wait (p resumes, h shows help)", "cyan") + "\n"
    text = (
        f"watching {count(event.files, 'file')} for {count(event.tools, 'tool')}"
        f"{_BY_MODE.get(event.mode, '')} ({keys})"
    )
    watching = style.paint(text, "cyan") + "\n"
    if not event.failing:
        return watching
    failing = f"{len(event.failing):,} failing: {names_text(event.failing, MOST)}"
    if event.blocked:
        failing += f"; blocked: {names_text(fold_items([*event.blocked]), MOST)}"
    return f"{style.paint(failing, 'error')}\n{watching}"


def _changed(event: ChangesFound, style: Style) -> str:
    def named(words: str, names: Sequence[str]) -> str:
        return f"{words}: {names_text(fold_items(names), MOST)}" if names else ""

    blockers = names_text([*dict.fromkeys(event.blocked.values())], MOST)
    blocked = named(f"blocked by {blockers}", [*event.blocked])
    left = named("stale, but not run", event.left)
    stays = named("still stale afterwards", event.stays_stale)
    withdrawn = [name for name in event.gone if item_text(name)]
    removed = [name for name in event.gone if not item_text(name)]
    gone = "; ".join(filter(None, (named("removed", removed), named("withdrawn", withdrawn))))
    if event.action == "none" and event.during_run and event.tools:
        parts = ["the current run will use it", gone]
    elif event.tools:
        by_name = event.scope == "tool" or not event.stages
        names = fold_items(event.tools) if by_name else event.stages
        names_shown = style.paint(names_text(names, MOST), "bold")
        counts = f" ({count(len(event.tools), _noun(event))})" if by_name else f": {_counts(event)}"
        parts = [
            f"{names_shown}{counts}",
            _ACTIONS.get(event.action, ""),
            blocked,
            left,
            stays,
            gone,
        ]
    elif event.blocked:
        parts = [blocked, left, stays, gone]
    elif event.action == "wait":
        parts = [_waiting_for_fix(event.left), gone]
    else:
        nothing = "nothing to run" if event.left else "no watched tool is affected"
        parts = [nothing, left, stays, gone]
    what = _what_changed(event)
    return f"{what} {arrow(style)} {'; '.join(filter(None, parts))}"


def _waiting_for_fix(names: tuple[str, ...]) -> str:
    return "waiting for a fix" + (f" before running {names_text(names, MOST)}" if names else "")


def _what_changed(event: ChangesFound) -> str:
    if not event.paths:
        return one_line(next(iter(event.reasons.values()), "changed"))
    kept = [path for path in event.paths if path not in event.deleted]
    if len(event.paths) > MOST:
        return f"{len(event.paths):,} files {'changed' if kept else 'were deleted'}"
    was = "was" if len(event.deleted) == 1 else "were"
    parts = [f"{names_text(kept, MOST)} changed"] if kept else []
    parts += [f"{names_text(event.deleted, MOST)} {was} deleted"] if event.deleted else []
    return ", ".join(parts)


def _counts(event: ChangesFound) -> str:
    """Of the tools in the affected stages: how many are stale, and how many run though they are fresh."""
    total, noun = event.stale + event.fresh, _noun(event)
    if len(event.tools) > event.stale:
        return f"{count(len(event.tools), noun)}, {event.stale:,} of them stale"
    if not event.fresh:
        return f"{count(event.stale, noun)} stale"
    return f"{event.stale:,} of {count(total, noun)} stale, {event.fresh:,} fresh"


def _noun(event: ChangesFound) -> str:
    """A tool with items has several steps."""
    return "step" if any(" " in name for name in event.tools) else "tool"

"""How watching will work here, as text and as JSON."""

from __future__ import annotations

from discover_orch.render.problems import problem_json
from discover_orch.render.style import Style, count, duration, one_line
from discover_orch.watch.diagnostics import Outlook, WatchedFolder

MODES = {
    "events": "the system tells of every change",
    "polling": "orch looks at the files by itself",
    "mixed": "the system tells of some changes, and orch looks by itself for the others",
}
#: Imports that are named; all that take a hundredth of a second are.
MOST = 5
SLOW = 0.01


def outlook_text(outlook: Outlook, style: Style) -> str:
    lines = [
        f"{style.paint('mode', 'bold')}     {outlook.mode}: {MODES[outlook.mode]}",
        f"{style.paint('files', 'bold')}    {outlook.files:,} for {count(outlook.tools, 'tool')}; a look at "
        f"all takes {1000 * outlook.look:.1f} ms, one every {outlook.interval:g} s",
    ]
    if outlook.observed or outlook.listed:
        lines.append(f"{style.paint('data', 'bold')}     {_data(outlook)}")
    for at, folder in enumerate(outlook.folders):
        label = "folders" if at == 0 else "       "
        lines.append(f"{style.paint(label, 'bold')}  {_folder(folder)}")
    lines.append(f"{style.paint('limits', 'bold')}   {_limits(outlook)}")
    for at, text in enumerate(_imports(outlook)):
        label = "imports" if at == 0 else "       "
        lines.append(f"{style.paint(label, 'bold')}  {text}")
    return "\n".join(lines) + "\n"


def outlook_document(outlook: Outlook) -> dict[str, object]:
    limits = outlook.limits
    return {
        "mode": outlook.mode,
        "files": outlook.files,
        "observed": outlook.observed,
        "listed": outlook.listed,
        "tools": outlook.tools,
        "look": round(outlook.look, 6),
        "interval": outlook.interval,
        "folders": [
            {
                "path": one.path,
                "deep": one.is_deep,
                "filesystem": one.filesystem,
                "events": one.sends_events,
                "folders": one.inside,
            }
            for one in outlook.folders
        ],
        "limits": {"watches": limits.watches, "instances": limits.instances, "queue": limits.queue},
        "imports": [
            {"module": name, "seconds": seconds, "error": wrong}
            for name, seconds, wrong in outlook.imports
        ],
        "doubts": [problem_json(problem) for problem in outlook.doubts],
    }


def _data(outlook: Outlook) -> str:
    folders = f", and {count(outlook.listed, 'folder')} to list" if outlook.listed else ""
    return f"{count(outlook.observed, 'file')} that tools were seen to read{folders}"


def _folder(folder: WatchedFolder) -> str:
    path = one_line(folder.path)
    below = f" and all below ({count(folder.inside, 'folder')})" if folder.is_deep else " itself"
    silent = "" if folder.sends_events else ", which sends no events"
    return f"{path}{below}, on {folder.filesystem or 'a file system of unknown kind'}{silent}"


def _limits(outlook: Outlook) -> str:
    limits = outlook.limits
    if limits.watches is None:
        return "none known on this system"
    need = sum(one.inside for one in outlook.folders)
    told = f"{need:,} of {limits.watches:,} watches"
    return told if limits.instances is None else f"{told}, 1 of {limits.instances:,} instances"


def _imports(outlook: Outlook) -> list[str]:
    if not outlook.imports:
        return ["nothing is imported ahead"]
    total = sum(seconds for _, seconds, _ in outlook.imports)
    slow = [row for row in outlook.imports if row[1] >= SLOW][:MOST]
    named = ", ".join(f"{one_line(name)} {duration(seconds)}" for name, seconds, _ in slow)
    lines = [
        f"{count(len(outlook.imports), 'module')} ahead of each run, {duration(total)}"
        + (f": {named}" if named else "")
    ]
    lines += [
        f"{one_line(name)} cannot be imported: {one_line(wrong)}"
        for name, _, wrong in outlook.imports
        if wrong
    ]
    return lines

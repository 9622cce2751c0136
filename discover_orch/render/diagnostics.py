"""How watching will work here, as text and as JSON."""

from __future__ import annotations

from discover_orch.model.errors import problem_json
from discover_orch.render.style import Style, count, duration, one_line
from discover_orch.watch.diagnostics import WatchDiagnostics, WatchedFolder

MODES = {
    "events": "the system tells of every change",
    "polling": "orch looks at the files by itself",
    "mixed": "the system tells of some changes, and orch looks by itself for the others",
}
#: Imports that are named; all that take a hundredth of a second are.
MOST = 5
SLOW = 0.01


def diagnostics_text(diagnosis: WatchDiagnostics, style: Style) -> str:
    lines = [
        f"{style.paint('mode', 'bold')}     {diagnosis.mode}: {MODES[diagnosis.mode]}",
        f"{style.paint('files', 'bold')}    {diagnosis.files:,} for {count(diagnosis.tools, 'tool')}; a look at "
        f"all takes {1000 * diagnosis.look:.1f} ms, one every {diagnosis.interval:g} s",
    ]
    if diagnosis.observed or diagnosis.listed:
        lines.append(f"{style.paint('data', 'bold')}     {_data(diagnosis)}")
    for at, folder in enumerate(diagnosis.folders):
        label = "folders" if at == 0 else "       "
        lines.append(f"{style.paint(label, 'bold')}  {_folder(folder)}")
    lines.append(f"{style.paint('limits', 'bold')}   {_limits(diagnosis)}")
    for at, text in enumerate(_imports(diagnosis)):
        label = "imports" if at == 0 else "       "
        lines.append(f"{style.paint(label, 'bold')}  {text}")
    return "\n".join(lines) + "\n"


def diagnostics_document(diagnosis: WatchDiagnostics) -> dict[str, object]:
    limits = diagnosis.limits
    return {
        "mode": diagnosis.mode,
        "files": diagnosis.files,
        "observed": diagnosis.observed,
        "listed": diagnosis.listed,
        "tools": diagnosis.tools,
        "look": round(diagnosis.look, 6),
        "interval": diagnosis.interval,
        "folders": [
            {
                "path": one.path,
                "deep": one.is_deep,
                "filesystem": one.filesystem,
                "events": one.sends_events,
                "folders": one.inside,
            }
            for one in diagnosis.folders
        ],
        "limits": {"watches": limits.watches, "instances": limits.instances, "queue": limits.queue},
        "imports": [
            {"module": name, "seconds": seconds, "error": wrong}
            for name, seconds, wrong in diagnosis.imports
        ],
        "doubts": [problem_json(problem) for problem in diagnosis.warnings],
    }


def _data(diagnosis: WatchDiagnostics) -> str:
    folders = f", and {count(diagnosis.listed, 'folder')} to list" if diagnosis.listed else ""
    return f"{count(diagnosis.observed, 'file')} that tools were seen to read{folders}"


def _folder(folder: WatchedFolder) -> str:
    path = one_line(folder.path)
    below = f" and all below ({count(folder.inside, 'folder')})" if folder.is_deep else " itself"
    silent = "" if folder.sends_events else ", which sends no events"
    return f"{path}{below}, on {folder.filesystem or 'a file system of unknown kind'}{silent}"


def _limits(diagnosis: WatchDiagnostics) -> str:
    limits = diagnosis.limits
    if limits.watches is None:
        return "none known on this system"
    need = sum(one.inside for one in diagnosis.folders)
    told = f"{need:,} of {limits.watches:,} watches"
    return told if limits.instances is None else f"{told}, 1 of {limits.instances:,} instances"


def _imports(diagnosis: WatchDiagnostics) -> list[str]:
    if not diagnosis.imports:
        return ["nothing is imported ahead"]
    total = sum(seconds for _, seconds, _ in diagnosis.imports)
    slow = [row for row in diagnosis.imports if row[1] >= SLOW][:MOST]
    named = ", ".join(f"{one_line(name)} {duration(seconds)}" for name, seconds, _ in slow)
    lines = [
        f"{count(len(diagnosis.imports), 'module')} ahead of each run, {duration(total)}"
        + (f": {named}" if named else "")
    ]
    lines += [
        f"{one_line(name)} cannot be imported: {one_line(wrong)}"
        for name, _, wrong in diagnosis.imports
        if wrong
    ]
    return lines

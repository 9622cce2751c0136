"""`orch watch` beside other watchers: from a save to the first effect of the tool.

    python benchmarks/watch.py
    python benchmarks/watch.py --saves 60 --peers OTHER_VENV/bin/python

A tool in a project of 500 modules is saved again and again, and notes the time as the first thing it
does, together with its version. All watch at the same time, each a project of its own, and are saved to
in turn, so that a machine that drifts does so for everyone. What happens late is therefore seen too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import table
import timing

ARMED = 60.0  # seconds to start and to answer a first save
MISSED = 5.0  # seconds after which a save counts as missed
BETWEEN = {"": 0.3, "pandas": 0.6}  # seconds from an effect to the next save, which is another's
LOOK_EVERY = 0.002  # seconds between two looks at the effect, which carries its own time
FOLDER, TOOL = "src", "src/bench_tool.py"

TOOL_TEXT = '''\
"""Notes when it ran, and which version of it."""

import time
{head}
STAGE = "bench"
VERSION = {version}


def run():
    now = time.time_ns()
    with open("effect.txt", "a") as file:
        file.write(f"{{VERSION}} {{now}}\\n")


if __name__ == "__main__":
    run()
'''
OTHER_TEXT = '''\
"""One of many."""

STAGE = "other"
NUMBER = {number}


def run():
    return None
'''
# The least that can be done with watchdog: note the time in its handler, or start a Python there.
LIMIT_TEXT = """\
import os, queue, subprocess, sys, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

folder, tool, *command = sys.argv[1:]
todo = queue.SimpleQueue()


class Handler(FileSystemEventHandler):
    def see(self, path):
        if path.endswith(os.path.basename(tool)):
            now = time.time_ns()
            if not command:
                with open("effect.txt", "a") as file:
                    file.write(f"? {now}\\n")
            todo.put(path)

    def on_closed(self, event):
        self.see(event.src_path)

    def on_moved(self, event):
        self.see(event.dest_path)


observer = Observer()
observer.schedule(Handler(), folder, recursive=True)
observer.start()
while True:
    todo.get()
    if command:
        subprocess.run(command)
"""


@dataclass(frozen=True)
class Watcher:
    """How a system is told to run the tool whenever a file in the folder is saved.

    In `words`, {python} is that of the peers and {script} that script.
    """

    words: Sequence[str]
    script: str = ""  # which it needs, beside the peers' Python or on the path
    module: str = ""  # which it needs, importable there
    is_limit: bool = False  # no system, but what none can be better than


RUN = "{python} " + TOOL
WATCHERS: Mapping[str, Watcher] = {
    "orch": Watcher(("{script}", "watch", "bench", "--scope", "tool"), "orch"),
    "entr": Watcher(("sh", "-c", f"find {FOLDER} -name '*.py' | exec {{script}} -n -r {RUN}"), "entr"),
    "nodemon": Watcher(
        ("{script}", "--quiet", "--watch", FOLDER, "--ext", "py", "--exec", RUN), "nodemon"
    ),
    "watchfiles": Watcher(("{script}", "--filter", "python", RUN, FOLDER), "watchfiles"),
    "watchmedo shell-command": Watcher(
        ("{script}", "shell-command", "--patterns", "**/*.py", "--recursive", "--drop",
         "--command", RUN, FOLDER),
        "watchmedo",
    ),
    "watchmedo auto-restart": Watcher(
        ("{script}", "auto-restart", "--patterns", "**/*.py", "--recursive", "--directory", FOLDER,
         "--no-restart-on-command-exit", "--", "{python}", TOOL),
        "watchmedo",
    ),
    "pytest-watcher": Watcher(
        ("{script}", FOLDER, "--now", "--patterns", "**/*.py", "--runner", "{python}", TOOL),
        "pytest-watcher",
    ),
    "watchdog + new Python": Watcher(
        ("{python}", "{limit}", FOLDER, TOOL, "{python}", TOOL), module="watchdog", is_limit=True
    ),
    "watchdog alone": Watcher(
        ("{python}", "{limit}", FOLDER, TOOL), module="watchdog", is_limit=True
    ),
}  # fmt: skip


@dataclass
class Result:
    """What came of the saves of one system with one kind of tool."""

    label: str
    is_limit: bool = False
    seconds: list[float] = field(default_factory=list)
    missed: int = 0  # saves without an effect of their version
    old: int = 0  # effects of an older version than what had been saved
    extra: int = 0  # effects of a version that had had one
    note: str = ""


@dataclass
class Entrant:
    """A system at work in its project, and what it has done so far."""

    root: Path
    head: str
    result: Result
    process: subprocess.Popen[bytes]
    version: int = 0
    seen: int = 0  # lines of the effect that were counted
    answered: set[int] = field(default_factory=set)

    def save(self) -> int:
        """A new version, in place or by rename in turn; gives the time at which it began."""
        self.version += 1
        text = TOOL_TEXT.format(head=self.head, version=self.version)
        path = self.root / TOOL
        beside = path.with_suffix(".tmp~")
        began = time.time_ns()
        if self.version % 2:
            path.write_text(text, encoding="utf-8")
        else:
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, path)
        return began

    def effects(self) -> list[tuple[int, int]]:
        """New lines: which version ran when. A limit knows no versions and is believed."""
        path = self.root / "effect.txt"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        new = [line.split() for line in lines[self.seen :]]
        self.seen = len(lines)
        return [(self.version if word == "?" else int(word), int(at)) for word, at in new]

    def count(self, effects: Sequence[tuple[int, int]]) -> None:
        """What is late, double or old; the saved version's own effect is in `answered` already."""
        for version, _ in effects:
            if version < self.version and self.version not in self.answered:
                self.result.old += 1
            else:
                self.result.extra += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--saves", type=table.positive, default=30, metavar="N", help="30")
    parser.add_argument("--modules", type=table.positive, default=500, metavar="N", help="500")
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="where the peers are installed"
    )
    parser.add_argument(
        "--only", nargs="+", choices=sorted(WATCHERS), metavar="SYSTEM", help=", ".join(WATCHERS)
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process and no folder
    commands = find_watchers(given.peers, given.only)
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors", flush=True)
    kinds = {"a tool of the standard library": "", "a tool with pandas": "pandas"}
    for title, heavy in kinds.items():
        if heavy and not all(has_module(python, heavy) for python in {sys.executable, given.peers}):
            print(f"\n{title}: left out, {heavy} is not installed for orch and its peers")
            continue
        results = measure(commands, heavy, given.saves, given.modules)
        report(f"save → effect, {title}; {given.modules} modules, {given.saves} saves", results)


def find_watchers(peers: str, only: Sequence[str] | None) -> dict[str, Sequence[str]]:
    """The command of each that is installed; says which are not."""
    found: dict[str, Sequence[str]] = {}
    missing = []
    for label, watcher in WATCHERS.items():
        if only and label not in (*only, "orch"):
            continue
        beside = sys.executable if label == "orch" else peers
        script = find_script(beside, watcher.script) if watcher.script else None
        if (watcher.script and not script) or (
            watcher.module and not has_module(peers, watcher.module)
        ):
            missing.append(label)
            continue
        values = {"python": peers, "script": script or "", "limit": "{limit}"}
        found[label] = [word.format_map(values) for word in watcher.words]
    if "orch" in missing:
        sys.exit("orch is not installed beside this Python: pip install -e .")
    if missing:
        print(f"not installed and left out: {', '.join(missing)}", flush=True)
    return found


def find_script(python: str, name: str) -> str | None:
    beside = Path(python).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def has_module(python: str, name: str) -> bool:
    code = f"import sys, importlib.util; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def measure(
    commands: Mapping[str, Sequence[str]], heavy: str, saves: int, modules: int
) -> list[Result]:
    head = f"import {heavy}  # noqa: F401\n" if heavy else ""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        entrants = []
        for number, (label, words) in enumerate(commands.items()):
            timing.tell(f"starting {label}")
            root = Path(folder) / f"p{number}"
            write_project(root, head, modules)
            result = Result(label, WATCHERS[label].is_limit)
            process = ends.enter_context(started(words, root))
            entrants.append(Entrant(root, head, result, process))
        for entrant in entrants:
            arm(entrant)
        for number in range(saves):
            timing.tell(f"save {number + 1} of {saves}")
            start = number % len(entrants)
            for entrant in entrants[start:] + entrants[:start]:
                if not entrant.result.note:
                    save_once(entrant)
                    time.sleep(BETWEEN[heavy])
        time.sleep(MISSED if any(entrant.result.missed for entrant in entrants) else 1.0)
        for entrant in entrants:
            entrant.count(entrant.effects())
    return [entrant.result for entrant in entrants]


def write_project(root: Path, head: str, modules: int) -> None:
    for number in range(modules):
        path = root / f"{FOLDER}/p{number % 20}/m{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OTHER_TEXT.format(number=number), encoding="utf-8")
    (root / TOOL).write_text(TOOL_TEXT.format(head=head, version=0), encoding="utf-8")
    (root / "pyproject.toml").write_text("[tool.orch]\n", encoding="utf-8")
    (root / ".limit.py").write_text(LIMIT_TEXT, encoding="utf-8")


@contextlib.contextmanager
def started(words: Sequence[str], root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A watcher in a session of its own, whose keys are a pipe that nobody writes to."""
    with (root / ".log").open("wb") as log:
        process = subprocess.Popen(
            [
                word.format(limit=root / ".limit.py") if "{limit}" in word else word
                for word in words
            ],
            cwd=root,
            env=timing.clean_environment(root.parent),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has left of its group
        assert process.stdin is not None
        process.stdin.close()


def arm(entrant: Entrant) -> None:
    """Save until a version is answered; the systems differ in when they begin to watch."""
    deadline = time.monotonic() + ARMED
    time.sleep(1.0)
    while time.monotonic() < deadline and entrant.process.poll() is None:
        entrant.save()
        if wait_for(lambda: any(at[0] == entrant.version for at in entrant.effects()), 3.0):
            time.sleep(1.0)
            entrant.effects()
            entrant.answered.add(entrant.version)
            return
    log = (entrant.root / ".log").read_text(encoding="utf-8", errors="replace")
    entrant.result.note = f"did not answer: {timing.ending(log)}"


def save_once(entrant: Entrant) -> None:
    entrant.count(entrant.effects())  # what came since the last save
    began = entrant.save()
    own: list[int] = []

    def has_answered() -> bool:
        effects = entrant.effects()
        own.extend(at for version, at in effects if version == entrant.version)
        if own:
            entrant.answered.add(entrant.version)
            entrant.result.extra += len(own) - 1
        entrant.count([one for one in effects if one[0] != entrant.version])
        return bool(own)

    if wait_for(has_answered, MISSED):
        entrant.result.seconds.append((own[0] - began) / 1e9)
    else:
        entrant.result.missed += 1


def wait_for(is_so: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True


def report(title: str, results: Sequence[Result]) -> None:
    """Medians, 95 of 100, and how they stand to the first row, which is orch."""
    first = results[0]
    if first.note or not first.seconds:
        sys.exit(f"{first.label}: {first.note or 'no save was answered'}")
    width = max(len(result.label) for result in results) + 2
    print(f"\n{title}\n")
    print(
        f"{'':{width}}{'median ms':>10}{'ratio':>7}{'p95 ms':>9}{'missed':>8}{'old':>5}{'extra':>7}"
    )
    for result in results:
        if result.note or not result.seconds:
            print(f"{result.label:{width}}  {result.note or 'no save was answered'}")
            continue
        times = f"{median(result.seconds) * 1000:>10.1f}"
        ratio = table.ratio(median(result.seconds), median(first.seconds))
        worst = f"{percentile(result.seconds) * 1000:>9.1f}"
        print(
            f"{result.label:{width}}{times}{ratio:>7}{worst}"
            f"{result.missed:>8}{result.old:>5}{result.extra:>7}"
        )
    peers = [one for one in results[1:] if one.seconds and not one.is_limit]
    if peers:
        best = min(peers, key=lambda one: median(one.seconds))
        share = median(first.seconds) / median(best.seconds)
        print(f"\norch takes {share:.2f} of the time of the fastest peer, {best.label}", flush=True)


def percentile(seconds: Sequence[float]) -> float:
    """Of 100 saves 95 were answered within this time."""
    return sorted(seconds)[max(0, -(-len(seconds) * 95 // 100) - 1)]


if __name__ == "__main__":
    main()

"""Two commits of orch side by side: instructions for each tool, and times.

    python benchmarks/compare.py HEAD~5 HEAD
    python benchmarks/compare.py HEAD --keep

Each commit is installed in an environment of its own. Instructions are counted by valgrind, apart in
the process of the command and in its workers: they hardly differ from one run to the next, so that
a slowdown of one percent is seen. Times are taken in turn, with medians. `--keep` writes the figures
of the last commit to a file in `benchmarks/results` that has its name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from statistics import median

import pipelines
import timing
from items import TOOL
from projects import Project

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
#: Tools of the two runs whose difference is counted, so that what a run costs by itself is left out.
FEW, MANY = 50, 250
LIMIT = 600  # seconds of one command
COUNTED = re.compile(r"I +refs: +([\d,]+)")


@dataclass
class Build:
    """A commit, installed in `folder`, and what was measured of it: seconds, or million instructions."""

    commit: str
    folder: Path
    taken: dict[str, list[float]] = field(default_factory=dict)

    @property
    def python(self) -> str:
        return str(self.folder / "venv/bin/python")

    def install(self) -> None:
        source = self.folder / "source"
        source.mkdir(parents=True)
        files = subprocess.run(
            ["git", "archive", self.commit], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "xf", "-", "-C", source], input=files.stdout, check=True)
        subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        subprocess.run([self.python, "-m", "pip", "install", "-q", source], check=True)

    def orch(self, project: Project, *words: str) -> timing.Contestant:
        return timing.Contestant("orch", [self.python, "-m", "discover_orch", *words], project)

    def time(self, figure: str, project: Project, *words: str) -> None:
        """A command that an older commit does not know has no figure."""
        try:
            seconds = timing.run(self.orch(project, *words), LIMIT).seconds
        except timing.Failed:
            return
        self.taken.setdefault(figure, []).append(seconds)

    def median(self, figure: str) -> float:
        return median(self.taken.get(figure, [nan]))


def commit_of(name: str) -> str:
    words = ["git", "rev-parse", "--short=8", f"{name}^{{commit}}"]
    return subprocess.run(
        words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


# Instructions.


def count_instructions(build: Build, folder: Path) -> None:
    """Of a repeated `orch run`, in millions for each tool."""
    counts = {}
    for tools in (FEW, MANY):
        project = Project(folder / f"{build.commit}-{tools}", "orch", tools)
        timing.run(build.orch(project, "run", "-q"), LIMIT)
        counts[tools] = _count_run(build, project)
    for place, name in enumerate(("parent", "worker")):
        each = (counts[MANY][place] - counts[FEW][place]) / (MANY - FEW) / 1e6
        build.taken[f"instructions of the {name}, million a tool"] = [each]


def _count_run(build: Build, project: Project) -> tuple[int, int]:
    """The instructions of the command itself, and of all processes that it started."""
    with tempfile.TemporaryDirectory() as logs:
        valgrind = (
            "valgrind --tool=cachegrind --cache-sim=no --trace-children=yes"
            f" --cachegrind-out-file=/dev/null --log-file={logs}/%p"
        )
        environment = timing.clean_environment(project.root.parent) | {"PYTHONHASHSEED": "0"}
        process = subprocess.Popen(
            [*valgrind.split(), *build.orch(project, "run", "-q").words],
            cwd=project.root,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        if process.wait(LIMIT):
            sys.exit(f"{build.commit}: orch run fails under valgrind")
        found = {log.name: _read_count(log) for log in Path(logs).iterdir()}
    own = found.pop(str(process.pid))
    return own, sum(found.values())


def _read_count(log: Path) -> int:
    found = COUNTED.search(log.read_text("utf-8"))
    return int(found[1].replace(",", "")) if found else 0


# Times.


def _without_state(project: Project) -> None:
    """Bytecode stays."""
    shutil.rmtree(project.root / ".orch", ignore_errors=True)
    (project.root / "data.db").unlink(missing_ok=True)


def time_runs(builds: Sequence[Build], loop: Build, tools: int, folder: Path) -> None:
    name = f"{tools:,} tools"
    projects = {build.commit: Project(folder / build.commit, "orch", tools) for build in builds}
    plain = Project(folder / "loop", "loop", tools)
    words = [sys.executable, "loop.py"]

    def take(figure: str, prepare: Callable[[Project], None]) -> None:
        prepare(plain)
        done = timing.run(timing.Contestant("loop", words, plain), LIMIT)
        loop.taken.setdefault(figure, []).append(done.seconds)
        for build in builds:
            prepare(projects[build.commit])
            build.time(figure, projects[build.commit], "run")

    take(f"first run of {name}, without bytecode", Project.reset)
    take(f"run of {name}", lambda project: None)
    take(f"first run of {name}, with bytecode", _without_state)


def time_looks(builds: Sequence[Build], tools: int, folder: Path, number: int) -> None:
    name = f"{tools:,} tools"
    for build in builds:
        root = folder / build.commit
        project = Project(root, "orch", tools)
        timing.run(build.orch(project, "run", "-q"), LIMIT)
        for words in ("init -q", "add src pyproject.toml", "commit -q -m all"):
            identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
            subprocess.run(["git", *identity, *words.split()], cwd=root, check=True)
        build.time(f"list of {name}", project, "list")
        build.time(
            f"list --changed-since HEAD of {name}", project, "list", "--changed-since", "HEAD"
        )
        build.time(f"status of {name}", project, "status")
        edited = next(path for path in sorted(root.glob("src/**/helper_*.py")))
        edited.write_text(edited.read_text("utf-8") + f"\nNUMBER = {number}\n", "utf-8")
        build.time(f"status of {name} after an edit", project, "status")
        _without_state(project)
        build.time(f"list of {name}, nothing remembered", project, "list")
        shutil.rmtree(root)


def time_items(builds: Sequence[Build], count: int, folder: Path) -> None:
    each = 'ORCH = {"each": {"number": [' + ", ".join(map(str, range(count))) + "]}}\n"
    item = TOOL.format(orch=each, parameter="*, number: int", body="pass")
    tool = TOOL.format(orch="", parameter="", body="pass")
    kinds: Mapping[str, Mapping[str, str]] = {
        f"run of {count:,} small tools": {f"src/tool_{n:04}.py": tool for n in range(count)},
        f"run of {count:,} small items": {"src/tool.py": item},
    }
    for figure, files in kinds.items():
        for build in builds:
            root = folder / build.commit
            project = Project(root, "orch", 0)
            pipelines.write(root, files)
            build.time(figure, project, "run", "-q")
            shutil.rmtree(root)


# What is shown.


def table(builds: Sequence[Build], loop: Build) -> str:
    """The figures of each commit, of two also the second divided by the first."""
    heads = [build.commit for build in builds]
    with_ratio = len(builds) == 2
    lines = [
        "| what | " + " | ".join(heads) + (" | ratio" if with_ratio else "") + " | ÷ plain loop |",
        "| --- " * (len(heads) + with_ratio + 2) + "|",
    ]
    for figure in builds[-1].taken:
        medians = [build.median(figure) for build in builds]
        row = [f"{one:.3f}" for one in medians]
        if with_ratio:
            row.append(f"{medians[1] / medians[0]:.2f}")
        of_loop = ""
        if figure in loop.taken:
            of_loop = " · ".join(f"{one / loop.median(figure):.2f}" for one in medians)
        lines.append(f"| {figure} | {' | '.join(row)} | {of_loop} |")
    return "\n".join(lines)


def keep(build: Build, loop: Build, rounds: int) -> Path:
    """Seconds, million instructions, and ratios to the plain loop, as medians."""
    figures = {
        figure: {
            "median": round(build.median(figure), 4),
            **(
                {"of_loop": round(build.median(figure) / loop.median(figure), 3)}
                if figure in loop.taken
                else {}
            ),
        }
        for figure in build.taken
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{build.commit}.json"
    document = {"commit": build.commit, "rounds": rounds, "figures": figures}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commits", nargs="+", metavar="COMMIT", help="one, or two to compare")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", type=int, default=1000, help="of the larger projects")
    parser.add_argument("--keep", action="store_true", help="write the figures of the last commit")
    given = parser.parse_args()
    if len(given.commits) > 2:
        parser.error("one commit, or two")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        builds = [Build(commit, folder / commit) for commit in map(commit_of, given.commits)]
        loop = Build("plain loop", folder)
        for build in builds:
            timing.tell(f"installing {build.commit}")
            build.install()
        if shutil.which("valgrind"):
            for build in builds:
                timing.tell(f"counting the instructions of {build.commit}")
                count_instructions(build, folder / "counted")
        else:
            timing.tell("valgrind is not installed: no instructions are counted")
        for number in range(given.rounds):
            timing.tell(f"round {number + 1} of {given.rounds}")
            in_turn = builds[:: -1 if number % 2 else 1]
            for tools in (5, given.tools):
                time_runs(in_turn, loop, tools, folder / f"run-{tools}-{number}")
                shutil.rmtree(folder / f"run-{tools}-{number}")
            time_looks(in_turn, given.tools, folder / "looks", number)
            time_items(in_turn, given.tools, folder / "items")
        print(table(builds, loop))
        if given.keep:
            print(f"\nkept in {keep(builds[-1], loop, given.rounds).relative_to(ROOT)}")


if __name__ == "__main__":
    main()

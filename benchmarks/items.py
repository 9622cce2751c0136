"""A tool that runs once for each day, or each file: what runs again, and what items cost.

    python benchmarks/items.py rerun                   60 days in orch and other systems
    python benchmarks/items.py cost                    1,000 and 10,000 items
    python benchmarks/items.py rerun --only Snakemake

For `rerun` each system has one project, in which one thing after another happens; behind each, the ordinary command
runs once. `cost` measures whole commands, in turn, and takes medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import pipelines
import table
import timing
from days import LOG, SYSTEMS, TASKS, Days

LIMIT = 900
DAYS = [str(date(2026, 1, 1) + timedelta(number)) for number in range(60)]
CORRECTED, BAD, BESIDE, WITHDRAWN, NEW = (
    "2026-01-13",
    "2026-01-20",
    "2026-01-21",
    "2026-02-02",
    "2026-03-02",
)


class Project:
    """The project of one system, and what ran in it."""

    def __init__(self, root: Path, system: Days) -> None:
        self.root, self.system = root, system
        self._log = root.parent / f"{root.name}.log"
        self._environment = timing.clean_environment(root.parent) | {
            LOG: str(self._log),
            "PYTHONPATH": str(root),
            "DAGSTER_HOME": str(root / "home"),
        }
        pipelines.write(root, system.texts())
        for number, day in enumerate(DAYS):
            self.write(day, number)

    def write(self, day: str, amount: object) -> None:
        path = self.root / f"raw/{day}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"shop,amount\nnorth,{amount}\nsouth,7\n", encoding="utf-8")

    def run(self, words: Sequence[str] = ()) -> tuple[list[str], bool]:
        """What ran, and whether the command said that all is well."""
        self._log.unlink(missing_ok=True)
        name, *rest = words or self.system.changed
        script = sys.executable if name == "python" else table.find_script(name)
        done = subprocess.run(
            [str(script), *rest],
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
        )
        ran = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        is_well = done.returncode == 0
        if not is_well:
            timing.tell(timing.ending(done.stdout + done.stderr))
        return ran, is_well

    @property
    def has_right_total(self) -> bool:
        """Whether the total is what the code makes of the files that are there."""
        lines = []
        is_reversed = "reverse" in (self.root / self.system.path("clean")).read_text("utf-8")
        for path in sorted(self.root.glob("raw/*.csv")):
            rows = [line.split(",") for line in path.read_text("utf-8").split()[1:]]
            rows = sorted(({(shop, int(amount)) for shop, amount in rows}), reverse=is_reversed)
            lines.append(f"{rows[0][1]} {sum(amount for _, amount in rows)}")
        return (self.root / "total.txt").read_text("utf-8") == "\n".join(lines)


def correct(project: Project) -> None:
    project.write(CORRECTED, 1000)


def add(project: Project) -> None:
    project.write(NEW, 2000)


def withdraw(project: Project) -> None:
    (project.root / f"raw/{WITHDRAWN}.csv").unlink()


def spoil(project: Project) -> None:
    project.write(BAD, "many")
    project.write(BESIDE, 3000)


def repair(project: Project) -> None:
    project.write(BAD, 4000)


def edit(project: Project) -> None:
    path = project.root / project.system.path("clean")
    text = path.read_text("utf-8")
    path.write_text(text.replace("DictReader(file)})", "DictReader(file)}, reverse=True)"), "utf-8")


@dataclass(frozen=True)
class Change:
    words: str
    make: Callable[[Project], None]
    concerned: tuple[int, int, int]


CHANGES = (
    Change("a file is corrected", correct, (1, 1, 1)),
    Change("a file is added", add, (1, 1, 1)),
    Change("a file is withdrawn", withdraw, (0, 0, 1)),
    Change("a file is bad, and another one is corrected", spoil, (2, 1, 0)),
    Change("the bad file is repaired", repair, (1, 1, 1)),
    Change("the code of `clean` changes", edit, (60, 60, 1)),
)


def rerun(folder: Path, name: str, system: Days) -> list[str]:
    """A cell for each change."""
    project = Project(folder / name, system)
    timing.tell(f"{name}: first run")
    ran, _ = project.run()
    if len(set(ran)) != 2 * len(DAYS) + 1:
        return ["fails"] * len(CHANGES)
    cells = []
    for change in CHANGES:
        if system.tidy and change.make is not repair:
            project.run(system.tidy)
        again, _ = project.run() if change.make is not repair else ([], True)
        time.sleep(1.1)  # for who compares times of files in whole seconds
        timing.tell(f"{name}: {change.words}" + (f"; before, ran: {again}" if again else ""))
        change.make(project)
        ran, is_well = project.run()
        counts = Counter(one.split()[0] for one in {*ran})
        numbers = tuple(counts[task] for task in TASKS)
        marks = "".join(
            mark
            for mark, has in (
                ("▼", any(a < b for a, b in zip(numbers, change.concerned, strict=True))),
                ("▲", any(a > b for a, b in zip(numbers, change.concerned, strict=True))),
            )
            if has
        )
        is_judged = is_well and change.make is not spoil  # then there is no right total
        wrong = ", wrong total" if is_judged and not project.has_right_total else ""
        cells.append(f"{' · '.join(map(str, numbers))} {marks}".rstrip() + wrong)
    return cells


def show_rerun(names: Sequence[str]) -> None:
    columns: dict[str, list[str]] = {}
    versions = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            system = SYSTEMS[name]
            try:
                versions += [f"{one} {version(one)}" for one in system.distributions]
            except PackageNotFoundError as problem:
                print(f"not installed and left out: {name} (for want of {problem.name})")
                continue
            columns[name] = rerun(Path(folder), name, system)
    print(f"Python {platform.python_version()}; {', '.join(versions)}\n")
    rows = [["clean · features · total", "concerned", *columns], ["---"] * (len(columns) + 2)]
    for number, change in enumerate(CHANGES):
        concerned = " · ".join(map(str, change.concerned))
        rows.append([change.words, concerned, *(cells[number] for cells in columns.values())])
    rows.append(["*lines of declarations*", "", *(str(SYSTEMS[one].lines) for one in columns)])
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


# ---- what items cost ----

TOOL = 'STAGE = "work"\n{orch}\n\ndef run({parameter}):\n    {body}\n'


@dataclass(frozen=True)
class Taken:
    """Seconds of a command, and processor seconds of all its processes."""

    real: float
    cpu: float


def take(root: Path, *words: str) -> Taken:
    script = words[0] if os.sep in words[0] else str(table.find_script(words[0]))
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run(
        [script, *words[1:]],
        cwd=root,
        env=timing.clean_environment(root.parent) | {"PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    real, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        sys.exit(f"{words}: {timing.ending(done.stdout + done.stderr)}")
    cpu = after.children_user + after.children_system - before.children_user
    return Taken(real, cpu - before.children_system)


def shown(label: str, taken: Sequence[Taken], base: Sequence[Taken] = (), ideal: float = 0) -> str:
    real, cpu = median(one.real for one in taken), median(one.cpu for one in taken)
    ratio = ""
    if base:
        ratio = f"{real / median(one.real for one in base):.2f} · {cpu / median(one.cpu for one in base):.2f}"
    elif ideal:
        ratio = f"{real / ideal:.2f}"
    return f"| {label} | {real:.2f} | {cpu:.2f} | {ratio} |"


def files_of(count: int) -> dict[str, str]:
    return {f"raw/{number:05}.csv": "x\n" for number in range(count)}


def cost(rounds: int) -> None:
    print(
        "| what | s | s of processor | ratio, of seconds · of processor |\n| --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items, tools = folder / "items", folder / "tools"
        each = 'ORCH = {"each": {"number": [' + ", ".join(map(str, range(1000))) + "]}}\n"
        text = TOOL.format(orch=each, parameter="*, number: int", body="pass")
        pipelines.write(items, {"src/tool.py": text})
        text = TOOL.format(orch="", parameter="", body="pass")
        pipelines.write(tools, {f"src/tool_{number:04}.py": text for number in range(1000)})
        taken: dict[Path, list[Taken]] = {tools: [], items: []}
        for _ in range(rounds):
            for root, found in taken.items():
                found.append(take(root, "orch", "run", "-q"))
        print(shown("1,000 tools that do nothing", taken[tools]))
        print(shown("1,000 items that do nothing ÷ that", taken[items], taken[tools]))
        _sleeping(folder / "sleeping", rounds)
        _sleeping_peers(folder)
        for count in (100, 10_000):
            _many(folder / str(count), count, rounds)


def _sleeping(root: Path, rounds: int) -> None:
    each = 'ORCH = {"each": "raw/{number}.csv"}\n'
    text = TOOL.format(orch=each, parameter="*, number", body="import time; time.sleep(0.02)")
    pipelines.write(root, {"src/tool.py": text, **files_of(1000)})
    taken = [take(root, "orch", "run", "-q", "--jobs", "2") for _ in range(rounds)]
    print(shown("1,000 items of 20 ms with 2 workers ÷ 10 s", taken, ideal=10))


PYTASK = """\
import time
from pathlib import Path
from typing import Annotated
from pytask import Product, task

ROOT = Path(__file__).parent
for source in sorted(ROOT.glob("raw/*.csv")):

    @task(id=source.stem)
    def task_tool(
        source: Path = source, made: Annotated[Path, Product] = ROOT / "made" / source.name
    ) -> None:
        time.sleep(0.02)
        made.write_text("")
"""
SNAKEFILE = """\
NUMBERS = glob_wildcards("raw/{number}.csv").number
rule all:
    input: expand("made/{number}.csv", number=NUMBERS)
rule tool:
    input: "raw/{number}.csv"
    output: touch("made/{number}.csv")
    shell: "sleep 0.02"
"""


def _sleeping_peers(folder: Path) -> None:
    """pytask-parallel and Snakemake, once each, where they are installed."""
    peers = (
        ("pytask-parallel", 1000, {"task_tool.py": PYTASK}, "pytask -n 2"),
        ("snakemake", 100, {"Snakefile": SNAKEFILE}, "snakemake --cores 2 --quiet"),
    )
    for name, count, files, words in peers:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        pipelines.write(folder / name, {**files, **files_of(count), "made/.keep": ""})
        taken = [take(folder / name, *words.split())]
        ideal = count * 0.02 / 2
        label = f"{name}: {count:,} tasks of 20 ms with 2 workers ÷ {ideal:g} s"
        print(shown(label, taken, ideal=ideal), flush=True)


def _many(root: Path, count: int, rounds: int) -> None:
    each = 'ORCH = {"each": "raw/{number}.csv"}\n'
    text = TOOL.format(
        orch=each,
        parameter="*, number",
        body='return {"rows": len(open(f"raw/{number}.csv").read())}',
    )
    pipelines.write(root, {"src/tool.py": text, **files_of(count)})
    label = f"{count:,} items"
    print(shown(f"{label}: first run", [take(root, "orch", "run", "-q")]), flush=True)
    for words in (("list",), ("status",), ("run", "--changed")):
        taken = [take(root, "orch", *words) for _ in range(rounds)]
        print(shown(f"{label}: `orch {' '.join(words)}`, nothing to do", taken), flush=True)
    found: Mapping[str, list[Taken]] = {"status": [], "run --changed": []}
    for number in range(rounds):
        (root / "raw/00077.csv").write_text(f"{number} corrected\n", "utf-8")
        for words, taken in found.items():
            taken.append(take(root, "orch", *words.split()))
    for words, taken in found.items():
        print(shown(f"{label}, one file changed: `orch {words}`", taken), flush=True)
    size = sum(path.stat().st_size for path in (root / ".orch/tools").rglob("*") if path.is_file())
    print(f"\n{label}: {size / count:.0f} bytes of memory an item\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("rerun", "cost"))
    parser.add_argument("--only", nargs="+", choices=sorted(SYSTEMS), default=[*SYSTEMS])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "rerun":
        show_rerun(given.only)
    else:
        cost(given.rounds)


if __name__ == "__main__":
    main()

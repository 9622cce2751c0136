"""Tools side by side: `orch run --jobs N` beside other systems, and what planning them takes.

    python benchmarks/jobs.py

The tools sleep or do nothing, so that what is left is the system. Every system runs every tool each time. The last
table measures parts of one process, the others measure whole commands.
"""

from __future__ import annotations

import argparse
import gc
import graphlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import table
import timing

SLEEP = 0.05
LOOP = """\
import importlib, sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, "src")
tools = [importlib.import_module(name).run for name in {names}]
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    list(pool.map(lambda run: run(), tools))
"""
DODO = """\
import importlib, sys

sys.path.insert(0, "src")


def task_tools():
    for name in {names}:
        yield {{"basename": name, "actions": [(call, [name])]}}


def call(name):
    importlib.import_module(name).run()
"""
LUIGI = """\
import importlib

import luigi


class Tool(luigi.Task):
    name = luigi.Parameter()
    is_done = False

    def complete(self):
        return self.is_done

    def run(self):
        importlib.import_module(self.name).run()
        self.is_done = True


class Everything(luigi.WrapperTask):
    def requires(self):
        return [Tool(name=name) for name in {names}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=table.positive, default=5, metavar="N")
    parser.add_argument("--limit", type=table.positive, default=120, metavar="SECONDS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        idle = build_project(Path(folder) / "idle", 1000, "pass")
        for stages in (1, 5):
            root = Path(folder) / f"sleeping{stages}"
            sleeping = build_project(root, 100, f"time.sleep({SLEEP})", stages)
            for jobs in (2, 8):
                ideal = 100 * SLEEP / jobs
                what = f"100 tools that sleep {SLEEP * 1000:.0f} ms, in {stages} stages"
                print(f"\n{what}, {jobs} at a time ÷ ideal")
                for label, command in commands_of(jobs).items():
                    if stages == 1 or label == "orch":  # the others have no stages
                        found = [run(command, sleeping, given) for _ in range(given.rounds)]
                        show(label, [seconds / ideal for seconds in found])
        print("\n1,000 tools that do nothing, 2 at a time ÷ one")
        pairs = [
            [run(commands_of(jobs)["orch"], idle, given) for jobs in (2, 1)]
            for _ in range(given.rounds)
        ]
        show("orch", [two / one for two, one in pairs])
        measure_plan(Path(folder) / "dag", given.rounds)


def commands_of(jobs: int) -> Mapping[str, Sequence[str]]:
    """The commands of the systems that are installed."""
    number = str(jobs)
    everything = ("--module", "everything", "Everything", "--local-scheduler")
    scripts: Mapping[str, Sequence[str]] = {
        "orch": ("orch", "run", "--jobs", number),
        "doit": ("doit", "-n", number),
        "luigi": ("luigi", *everything, "--workers", number, "--log-level", "ERROR"),
    }
    found: dict[str, Sequence[str]] = {}
    for label, (name, *words) in scripts.items():
        script = table.find_script(name)
        if script is not None:
            found[label] = (script, *words)
    if "orch" not in found:
        sys.exit("orch is not installed beside this Python: pip install -e .")
    return found | {"a thread pool": (sys.executable, "pool.py", number)}


def build_project(root: Path, tools: int, work: str, stages: int = 1) -> Path:
    """The same tools for each system."""
    words = [f"s{number}" for number in range(stages)]
    names = [f"t{number:04}" for number in range(tools)]
    (root / "src").mkdir(parents=True)
    for number, name in enumerate(names):
        stage = words[number * stages // tools]
        text = f'import time\n\nSTAGE = "{stage}"\nAFTER = ()\n\n\ndef run():\n    {work}\n'
        (root / f"src/{name}.py").write_text(text, encoding="utf-8")
    files = {
        "orch.toml": f'stages = {json.dumps(words)}\npythonpath = ["src"]\n',
        "pool.py": LOOP.format(names=names),
        "dodo.py": DODO.format(names=names),
        "src/everything.py": LUIGI.format(names=names),
    }
    for path, text in files.items():
        (root / path).write_text(text, encoding="utf-8")
    return root


def run(command: Sequence[str], root: Path, given: argparse.Namespace) -> float:
    """The seconds that the command takes; infinite where it fails or takes too long."""
    environment = timing.clean_environment(root) | {"PYTHONPATH": "src"}
    begin = time.perf_counter()
    try:
        subprocess.run(
            command,
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
            timeout=given.limit,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
        timing.tell(str(problem))
        return float("inf")
    return time.perf_counter() - begin


def show(label: str, ratios: Sequence[float]) -> None:
    print(
        f"  {label:<16}{median(ratios):>6.2f}   ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def measure_plan(root: Path, rounds: int) -> None:
    """The plan of 10,000 tools with 30,000 random edges, and what each waits for, beside `graphlib`."""
    from discover_orch.planning import project_view
    from discover_orch.planning.parallel import find_waits
    from discover_orch.planning.param_values import GivenParams

    edges = write_dag(root, tools=10_000, edges=30_000)
    view = project_view.read_project(str(root), None, {})

    def plan() -> None:
        steps = project_view.plan_targets(view, (), values=GivenParams()).steps
        find_waits(steps, view.registry, lambda _: False)

    def sort() -> None:
        [*graphlib.TopologicalSorter(json.loads(edges)).static_order()]

    print("\nplan of 10,000 tools with 30,000 edges ÷ reading it from JSON and graphlib")
    gc.disable()
    show("orch", [processor_time(plan) / processor_time(sort) for _ in range(rounds)])


def write_dag(root: Path, *, tools: int, edges: int) -> str:
    luck = random.Random(1)
    found: dict[str, set[str]] = {f"t{number:05}": set() for number in range(tools)}
    for _ in range(edges):
        first, later = sorted(luck.sample(range(tools), 2))
        found[f"t{later:05}"].add(f"t{first:05}")
    (root / "src").mkdir(parents=True)
    (root / "orch.toml").write_text('stages = ["s"]\n', encoding="utf-8")
    for name, after in found.items():
        text = f'STAGE = "s"\nAFTER = {tuple(sorted(after))!r}\n\n\ndef run():\n    pass\n'
        (root / f"src/{name}.py").write_text(text, encoding="utf-8")
    return json.dumps({name: sorted(after) for name, after in found.items()})


def processor_time(work: Callable[[], None]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()

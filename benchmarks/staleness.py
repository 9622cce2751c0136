"""What orch and its peers run again after a change: the same little pipeline in each dialect.

    python benchmarks/staleness.py
    python benchmarks/staleness.py --only doit Snakemake

For each change there is a new project, in which everything is run by force; the command that runs what
is needed must then run nothing. After the change it is run once. The tasks note that they ran. Nothing
is timed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pipelines
import sharing
import table
import timing
from dialects import DIALECTS, NEW_TITLE, OLD_TITLE
from pipelines import LOG, TASKS, Dialect, Project, texts

LIMIT = 120  # seconds for one command


class Failed(Exception):
    """A command that should have worked did not; the text says what it said."""


class Pipeline:
    """The project of one system on the disk, and the commands that run it."""

    def __init__(self, folder: Path, name: str, dialect: Dialect, project: Project) -> None:
        self.root = folder / name
        self.dialect = dialect
        self.project = project
        self.title = OLD_TITLE
        self._log = folder / f"{name}.log"
        self._environment = timing.clean_environment(folder) | {
            LOG: str(self._log),
            "PYTHONPATH": str(self.root),
            "DAGSTER_HOME": str(self.root / "home"),
            "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true",
        }
        self.has_run: set[str] = set()  # since the change, with what the change itself ran
        pipelines.write(self.root, project.files)

    def run(self, words: Sequence[str]) -> tuple[str, ...]:
        """The tasks that ran, in the order of the pipeline."""
        self._log.unlink(missing_ok=True)
        name, *rest = (word.format(title=self.title) for word in words)
        script = sys.executable if name == "python" else table.find_script(name)
        done = subprocess.run(
            [str(script), *rest],
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT,
        )
        if done.returncode:
            raise Failed(f"{' '.join(words)}: exit {done.returncode}: {timing.ending(done.stdout)}")
        ran = self._log.read_text(encoding="utf-8").split() if self._log.exists() else []
        self.has_run.update(ran)
        return tuple(task for task in self.project.tasks if task in ran)

    def path(self, name: str) -> Path:
        return self.root / name

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text(encoding="utf-8")
        if old not in text:
            raise Failed(f"{name} does not hold {old!r}")
        self.path(name).write_text(text.replace(old, new, 1), encoding="utf-8")


# ---- the changes ----


def change_nothing(_: Pipeline) -> None:
    pass


def add_comment(pipeline: Pipeline) -> None:
    name = pipeline.dialect.path("parse")
    pipeline.edit(name, "    note(", "    # One line a place.\n    note(")


def touch_csv(pipeline: Pipeline) -> None:
    os.utime(pipeline.path("data/readings.csv"))


def touch_modules(pipeline: Pipeline) -> None:
    for name in (pipeline.dialect.path("parse"), "src/numbers.py"):
        os.utime(pipeline.path(name))


def change_task(pipeline: Pipeline) -> None:
    name = pipeline.dialect.path("parse")
    pipeline.edit(name, "    records = [", '    records = [("pier", 1.0)] + [')


def change_second_writer(pipeline: Pipeline) -> None:
    pipeline.edit(pipeline.dialect.path("convert"), "* 100", "* 1000")


def change_helper(pipeline: Pipeline) -> None:
    pipeline.edit("src/numbers.py", ", 2)", ", 1)")


def change_shared_helper(pipeline: Pipeline) -> None:
    pipeline.edit("src/helpers.py", *sharing.EDIT)


def change_csv(pipeline: Pipeline) -> None:
    pipeline.edit("data/readings.csv", "2.718", "2.818")


def change_style(pipeline: Pipeline) -> None:
    pipeline.edit("data/style.txt", "navy", "teal")


def write_table_again(pipeline: Pipeline) -> None:
    pipeline.edit("data/readings.csv", "3.141", "3.241")
    pipeline.run(pipeline.dialect.fetch_alone)
    pipeline.has_run.discard("fetch")


def delete_output(pipeline: Pipeline) -> None:
    pipeline.path("report.html").unlink()


def edit_output(pipeline: Pipeline) -> None:
    pipeline.edit("report.html", "harbour", "Harbour")


def write_from_outside(pipeline: Pipeline) -> None:
    subprocess.run([sys.executable, "-c", pipeline.dialect.outside], cwd=pipeline.root, check=True)


def delete_database(pipeline: Pipeline) -> None:
    pipeline.path("data.db").unlink()


def change_parameter(pipeline: Pipeline) -> None:
    pipeline.title = NEW_TITLE
    if pipeline.dialect.title_file:
        pipeline.edit(pipeline.dialect.title_file, OLD_TITLE, NEW_TITLE)


@dataclass(frozen=True)
class Change:
    """Something that happens between two runs, and the tasks whose result it makes old."""

    words: str
    make: Callable[[Pipeline], None]
    concerns: tuple[str, ...] = ()


AFTER_PARSE = ("parse", "convert", "render")
CHANGES = (
    Change("nothing changes", change_nothing),
    Change("a comment is added to the module of `parse`", add_comment),
    Change("the CSV is touched", touch_csv),
    Change("the modules of `parse` and its helper are touched", touch_modules),
    Change("the code of `parse` changes", change_task, AFTER_PARSE),
    Change(
        "the code of `convert`, which updates the table of `parse`, changes",
        change_second_writer,
        AFTER_PARSE,
    ),
    Change("a helper two imports deep changes", change_helper, AFTER_PARSE),
    Change("a helper is edited that two of ten tasks use", change_shared_helper, sharing.CONCERNED),
    Change("the CSV changes", change_csv, TASKS),
    Change("the style changes, which a child process reads", change_style, ("render",)),
    Change("`fetch`, run alone, writes the table `raw` again", write_table_again, AFTER_PARSE),
    Change("the report is deleted", delete_output, ("render",)),
    Change("the report is edited by hand", edit_output, ("render",)),
    Change("another program writes the table `raw`", write_from_outside, ("fetch",)),
    Change("the database file is deleted", delete_database, TASKS),
    Change("a parameter of `render` changes", change_parameter, ("render",)),
)


# ---- the measurement ----


def measure(
    folder: Path, name: str, dialect: Dialect, changes: Sequence[Change] = CHANGES
) -> list[str]:
    """A cell for each change; what failed is told on stderr."""
    cells = []
    for number, change in enumerate(changes):
        if change.make is write_table_again and not dialect.fetch_alone:
            cells.append("—")
            continue
        timing.tell(f"{name}: {change.words}")
        if change.make is change_shared_helper:
            project = sharing.project(name, dialect)
        else:
            project = Project(texts(dialect), TASKS, dialect.changed, dialect.everything)
        pipeline = Pipeline(folder / str(number), name, dialect, project)
        try:
            if pipeline.run(project.everything) != project.tasks:
                raise Failed("not everything ran when all was asked for")
            if ran := pipeline.run(project.changed):
                raise Failed(f"{in_words(ran)} ran again though nothing had changed")
            concerned = change.concerns
            if change.make is change_second_writer and not dialect.is_in_place:
                concerned = ("convert", "render")  # the table of `parse` is as it was
            pipeline.has_run.clear()
            change.make(pipeline)
            pipeline.run(project.changed)
            ran = tuple(task for task in project.tasks if task in pipeline.has_run)
            cells.append(judged(ran, concerned))
        except (Failed, subprocess.TimeoutExpired) as problem:
            timing.tell(str(problem))
            cells.append("fails")
    return cells


def judged(ran: tuple[str, ...], concerned: tuple[str, ...]) -> str:
    """What ran; ▼ where something that is concerned did not, ▲ where more did."""
    marks = ("▼" if set(concerned) - set(ran) else "") + ("▲" if set(ran) - set(concerned) else "")
    return f"{in_words(ran)} {marks}".rstrip()


def in_words(tasks: tuple[str, ...]) -> str:
    return "all" if tasks in (TASKS, sharing.TASKS) else ", ".join(tasks) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(DIALECTS), metavar="SYSTEM")
    parser.add_argument("--change", default="", metavar="WORDS", help="only the rows with these")
    given = parser.parse_args()
    systems: dict[str, Dialect] = {}
    versions, missing = [], []
    for name, dialect in DIALECTS.items():
        if given.only and name not in given.only:
            continue
        try:
            versions += [f"{each} {version(each)}" for each in dialect.distributions]
            systems[name] = dialect
        except PackageNotFoundError as problem:
            missing.append(f"{name} (for want of {problem.name})")
    print(f"Python {platform.python_version()}; {', '.join(versions)}")
    if missing:
        print(f"not installed and left out: {', '.join(missing)}")
    if not systems:
        sys.exit("there is nothing to measure")
    changes = [change for change in CHANGES if given.change in change.words]
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: measure(Path(folder), name, systems[name], changes) for name in systems}
    print(f"\n{markdown(columns, changes)}")


def markdown(columns: Mapping[str, Sequence[str]], changes: Sequence[Change]) -> str:
    rows = [["what happens", "concerned", *columns]]
    rows.append(["---"] * len(rows[0]))
    for number, change in enumerate(changes):
        cells = [column[number] for column in columns.values()]
        rows.append([change.words, in_words(change.concerns), *cells])
    lines = [str(pipelines.declarations(DIALECTS[name])) for name in columns]
    rows.append(["*lines of declarations*", "", *lines])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()

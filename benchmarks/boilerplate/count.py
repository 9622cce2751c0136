"""Counts what a system needs besides the work: python benchmarks/boilerplate/count.py [--kedro CLONE] [--run]

Each line that is neither blank nor a comment nor a docstring counts once, in the first class that it matches. The work
is in `work.py`, the same for all, and does not count. Kedro's lines are those of its published starter, a clone of
kedro-org/kedro-starters, of which the functions in `nodes.py` are the work. `--run` first runs each version whose
system is installed, and checks that all write the same score.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).parent
CLASSES = ("registration", "loading and saving", "other")
#: What names tasks, their order, inputs, outputs and options to the system, in its own terms.
REGISTRATION: Mapping[str, str] = {
    "orch": r"STAGE|AFTER|\[tool\.orch\]|stages =",
    "pytask": r"pytask|Annotated|DataCatalog",
    "dagster": r"dagster|\bdg\.|^    share: ",
    "kedro": "",  # whole files, below
}
LOADING = r"read_\w+\(|to_sql|write_text|file: Path|Path\("
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "orch": ("orch", "run"),
    "pytask": ("pytask",),
    "dagster": ("dagster", "asset", "materialize", "--select", "*", "-f", "definitions.py"),
}

KEDRO = "spaceflights-pandas/{{ cookiecutter.repo_name }}"
KEDRO_PACKAGE = f"{KEDRO}/src/{{{{ cookiecutter.python_package }}}}"
KEDRO_FILES = (
    *(f"{KEDRO_PACKAGE}/{name}" for name in ("pipeline_registry.py", "settings.py")),
    *(
        f"{KEDRO_PACKAGE}/pipelines/{part}/{name}"
        for part in ("data_processing", "data_science")
        for name in ("__init__.py", "pipeline.py")
    ),
)
#: Entries of the catalogue that belong to a third pipeline of the starter, which draws plots.
KEDRO_PLOTS = r"shuttle_passenger|dummy_confusion"


def code_lines(text: str, *, is_python: bool) -> list[str]:
    """The lines that are neither blank nor comments nor parts of docstrings."""
    left_out: set[int] = set()
    if is_python:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
                node
            ):
                first = node.body[0]
                left_out |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return [
        line
        for number, line in lines
        if number not in left_out and line.strip() and not line.lstrip().startswith("#")
    ]


def count(system: str, texts: Iterable[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, text in texts:
        lines = code_lines(text, is_python=name.endswith(".py"))
        found["files"] += bool(lines)
        for line in lines:
            if re.search(REGISTRATION[system], line):
                found["registration"] += 1
            elif re.search(LOADING, line):
                found["loading and saving"] += 1
            else:
                found["other"] += 1
    return found


def texts_of(system: str) -> list[tuple[str, str]]:
    files = sorted(one for one in (HERE / system).rglob("*") if one.suffix in (".py", ".toml"))
    return [(one.name, one.read_text(encoding="utf-8")) for one in files]


def count_kedro(clone: Path) -> tuple[Counter[str], str]:
    """The lines of the starter, and its commit. Templates are filled in, since they are no Python before."""

    def show(path: str) -> str:
        text = _git(clone, "show", f"HEAD:{path}")
        return re.sub(r"\{\{.*?\}\}", "spaceflights", text)

    found = count("kedro", [(path, show(path)) for path in KEDRO_FILES])
    settings = show(f"{KEDRO}/pyproject.toml").split("[tool.kedro]\n")[1].split("\n[")[0]
    found["registration"] += 1 + len(code_lines(settings, is_python=False))
    catalog = "\n".join(code_lines(show(f"{KEDRO}/conf/base/catalog.yml"), is_python=False))
    entries = re.split(r"^(?=\w)", catalog, flags=re.MULTILINE)
    kept = [one for one in entries if one and not re.match(KEDRO_PLOTS, one)]
    found["loading and saving"] += sum(len(one.splitlines()) for one in kept)
    found["files"] += 2
    return found, _git(clone, "rev-parse", "--short", "HEAD").strip()


def run_all() -> None:
    scores = set()
    for system, command in COMMANDS.items():
        program = shutil.which(command[0], path=str(Path(sys.executable).parent))
        if not program:
            print(f"{system} is not installed beside this Python", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(HERE / system, root, dirs_exist_ok=True)
            shutil.copy(HERE / "work.py", root)
            shutil.copytree(HERE.parents[1] / "examples" / "spaceflights" / "data", root / "data")
            environment = {**os.environ, "PYTHONPATH": folder, "DAGSTER_HOME": folder}
            subprocess.run(
                [program, *command[1:]], cwd=root, env=environment, check=True, capture_output=True
            )
            scores.add((root / "score.txt").read_text())
            print(f"{system}: score {(root / 'score.txt').read_text().strip()}")
    assert len(scores) == 1, scores


def _git(clone: Path, *words: str) -> str:
    command = ["git", "-C", str(clone), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kedro", type=Path, help="a clone of kedro-org/kedro-starters")
    parser.add_argument("--run", action="store_true", help="run the versions first")
    options = parser.parse_args()
    if options.run:
        run_all()
    rows = {system: count(system, texts_of(system)) for system in COMMANDS}
    if options.kedro:
        rows["kedro"], commit = count_kedro(options.kedro)
        print(f"kedro: the starter spaceflights-pandas at {commit}")
    print("| | files | " + " | ".join(CLASSES) + " | all lines |")
    print("| --- |" + " --- |" * (len(CLASSES) + 2))
    for system, found in rows.items():
        figures = [found["files"], *(found[one] for one in CLASSES)]
        total = sum(found[one] for one in CLASSES)
        print(f"| {system} | " + " | ".join(map(str, (*figures, total))) + " |")


if __name__ == "__main__":
    main()

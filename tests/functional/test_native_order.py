"""What native code reads makes an order, and the reader downstream, where it is certain who writes the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.remembered import change, ran, reasons
from tests.support.watching import watching

pytestmark = [
    pytest.mark.slow,  # only the slow tests have polars
    pytest.mark.skipif(
        sys.platform != "linux", reason="what native code reads is seen on Linux only"
    ),
]

WRITE = {
    "python": "data = io.BytesIO(); frame.write_parquet(data); open('mid.parquet', 'wb').write(data.getvalue())",
    "native": "frame.write_parquet('mid.parquet')",
}
MAKE = """\
import io
import polars as pl
STAGE = "{stage}"
{tag}
def run():
    frame = pl.DataFrame({{"x": [1]}})
    {write}
"""
READ = """\
import {library}
STAGE = "{stage}"
def run():
    unit = open("unit.txt").read()
    x = {expression}
    with open("out.txt", "w") as file:
        file.write(f"{{x}} {{unit}}")
"""
READERS = {
    "polars": "polars.read_parquet('mid.parquet')['x'][0]",
    "duckdb": "duckdb.sql(\"select x from 'mid.parquet'\").fetchall()[0][0]",
}
MAKERS = {"python": ("", "python"), "declared": ('ORCH = {"outputs": "mid.parquet"}', "native"), "native": ("", "native")}  # fmt: skip


def build(
    project: Project, maker: str, read: str, library: str = "polars", *, is_one_stage: bool
) -> Path:
    tag, how = MAKERS[maker]
    stage = "one" if is_one_stage else "two"
    return project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "unit.txt": "m",
            "src/make.py": MAKE.format(stage="one", tag=tag, write=WRITE[how]),
            f"src/{read}.py": READ.format(
                stage=stage, library=library, expression=READERS[library]
            ),
        }
    )


@pytest.mark.parametrize("library", READERS)
@pytest.mark.parametrize("maker", MAKERS)
def test_who_reads_a_file_natively_is_downstream_of_who_writes_it(
    project: Project, orch: Orch, maker: str, library: str
) -> None:
    root = build(project, maker, "show", library, is_one_stage=False)
    assert orch("run").code == 0
    assert reasons(orch) == {}
    change(root / "src/make.py", '"x": [1]', '"x": [2]')
    assert sorted(reasons(orch)) == ["make", "show"]
    assert ran(orch("run", "--changed", "--json")) == ["make", "show"]
    assert (root / "out.txt").read_text() == "2 m"
    assert reasons(orch) == {}


@pytest.mark.parametrize("maker", MAKERS)
def test_under_a_watch_who_reads_a_file_natively_runs_with_who_writes_it(
    project: Project, maker: str
) -> None:
    root = build(project, maker, "show", is_one_stage=False)
    with watching(root) as watch:
        text = (root / "src/make.py").read_text()
        save(root / "src/make.py", text.replace('"x": [1]', '"x": [2]'))
        assert watch.next_run().tools[:2] == ("make", "show")
        assert (root / "out.txt").read_text() == "2 m"
        assert watch.settle() == [], watch.story()


@pytest.mark.parametrize("maker", MAKERS)
def test_who_reads_a_file_natively_runs_after_who_writes_it_in_one_stage(
    project: Project, orch: Orch, maker: str
) -> None:
    """By the names the reader is first. One run shows the order."""
    root = build(project, maker, "a_show", is_one_stage=True)
    answer = orch("run", "make", "a_show")
    assert answer.code == 0
    assert "stage one now runs in the order make, a_show" in answer.text
    change(root / "src/make.py", '"x": [1]', '"x": [2]')
    assert ran(orch("run", "--changed", "--json")) == ["make", "a_show"]
    assert (root / "out.txt").read_text() == "2 m"
    assert reasons(orch) == {}

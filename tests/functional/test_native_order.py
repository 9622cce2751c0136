"""What native code reads makes an order, and the reader downstream, where it is certain who writes the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.remembered import change, ran, reasons
from tests.support.running import running
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
    """By the names the reader is first. Of what only the kernel saw being written once it is not known who did it, so
    that is said."""
    root = build(project, maker, "a_show", is_one_stage=True)
    answer = orch("run", "make", "a_show")
    assert answer.code == 0
    if maker == "native":
        message = "a_show reads mid.parquet, which make may have written, and make runs later"
        hint = "  hint: if make writes it, let it run first, with AFTER or in an earlier stage\n"
        for told in (answer, orch("check")):
            assert f"{message}\n{hint}" in told.text, told.text
        again = orch("run", "make")
        assert again.code == 0
        assert message not in again.text + orch("check").text
    change(root / "src/make.py", '"x": [1]', '"x": [2]')
    assert ran(orch("run", "--changed", "--json")) == ["make", "a_show"]
    assert (root / "out.txt").read_text() == "2 m"
    assert reasons(orch) == {}


@pytest.mark.parametrize(
    ("line", "is_its_own"),
    [
        ("pass", False),
        ("importlib.import_module('num' + 'py')", True),
        ("pickle.loads(Path('array.pickle').read_bytes())", True),
    ],
    ids=["no package", "a package by its name", "an object of a package"],
)
def test_a_save_is_charged_only_to_a_tool_that_may_use_native_code(
    project: Project, orch: Orch, line: str, is_its_own: bool
) -> None:
    """The worker has loaded native code for the tool before it."""
    root = project(
        {
            "orch.toml": "stages = ['a', 'b']\n",
            "src/first.py": """
                import numpy, pickle
                from pathlib import Path
                STAGE = "a"
                def run():
                    Path("array.pickle").write_bytes(pickle.dumps(numpy.zeros(3)))
            """,
            "src/second.py": f"""
                import importlib, pickle, time
                from pathlib import Path
                STAGE = "b"
                def run():
                    {line}
                    print("began", flush=True)
                    while not Path("go").exists():
                        time.sleep(0.01)
            """,
        }
    )
    with running(root, "run", "-v") as run:
        run.wait_for("began")
        save(root / "settings.yaml", "a: 1")
        save(root / "go", "")
        assert run.wait() == 0
    text = orch("status", "second").out
    assert ("settings.yaml" in text) is is_its_own, text

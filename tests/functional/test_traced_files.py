"""The kernel tells who opened which file: what native code reads and writes belongs to its tool alone, whatever other
programs and other tools do meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.edits import GONE, expect_inputs, stale_after
from tests.support.gates import Gate
from tests.support.remembered import change, files_used, ran, reasons, run_changed
from tests.support.running import running

pytestmark = [
    pytest.mark.slow,  # only the slow tests have polars and pandas
    pytest.mark.skipif(
        sys.platform != "linux", reason="what native code opens is seen on Linux only"
    ),
]

# ---- other programs ----

TRAIN = """
import polars
STAGE = "s"
{keys}
{gate}
def run():
    frame = polars.read_csv("data.csv")
    wait_at_gate()
    frame.write_parquet("model.parquet")
"""


@pytest.mark.parametrize("keys", ["", 'ORCH = {"inputs": "data.csv", "outputs": "model.parquet"}'])
@pytest.mark.parametrize("path", ["notes/todo.md", ".env", "src/notes.txt", "other.csv"])
def test_a_file_that_another_program_reads_while_a_tool_runs_is_no_input(
    project: Project, orch: Orch, path: str, keys: str
) -> None:
    with Gate() as gate:
        root = project(
            {
                "data.csv": "x\n1\n",
                path: "A=1\n",
                "src/train.py": TRAIN.format(gate=gate.code, keys=keys),
            }
        )
        with running(root, "run") as run:
            gate.wait_for()
            for _ in range(3):
                subprocess.run(["cat", path], cwd=root, check=True, stdout=subprocess.DEVNULL)
                subprocess.run(["ls", "-R"], cwd=root, check=True, stdout=subprocess.DEVNULL)
                (root / path).read_text()
            gate.open()
            assert run.wait() == 0, run.text
    assert reasons(orch) == {}
    assert stale_after(orch, root / path, "A=2\n") == {}
    assert stale_after(orch, root / path, GONE) == {}
    assert stale_after(orch, root / "new.md", "new") == {}
    assert stale_after(orch, root / "data.csv", "x\n2\n") == {"train": ["data.csv changed"]}


def test_a_second_run_that_reads_the_env_file_while_the_first_goes_on_changes_nothing(
    project: Project, orch: Orch
) -> None:
    """As cron's `orch run --if-busy skip` does."""
    with Gate() as gate:
        root = project(
            {
                "orch.toml": 'env_file = ".env"\n',
                ".env": "A=1\n",
                "data.csv": "x\n1\n",
                "src/train.py": TRAIN.format(gate=gate.code, keys=""),
            }
        )
        with running(root, "run") as run:
            gate.wait_for()
            for _ in range(3):
                assert orch("run", "--if-busy", "skip").code == 0
            gate.open()
            assert run.wait() == 0, run.text
    assert stale_after(orch, root / ".env", "# a comment\nA=1\nB=2\n") == {}


def test_what_another_program_writes_while_a_tool_runs_is_none_of_its_outputs(
    project: Project, orch: Orch
) -> None:
    with Gate() as gate:
        root = project(
            {
                "data.csv": "x\n1\n",
                "notes.md": "1",
                "src/train.py": TRAIN.format(gate=gate.code, keys=""),
            }
        )
        with running(root, "run") as run:
            gate.wait_for()
            (root / "notes.md").write_text("2")
            (root / "new.md").write_text("1")
            gate.open()
            assert run.wait() == 0, run.text
    for path in ("notes.md", "new.md"):
        assert stale_after(orch, root / path, GONE) == {}
    (tool,) = orch("status", "--json").json["tools"]
    assert files_used(tool, "writes") == ["model.parquet"]
    assert files_used(tool, "reads") == ["data.csv"]


# ---- tools side by side ----

BESIDE = """
import subprocess
import {library}
STAGE = "s"
AFTER = ()
{gate}
def run():
    wait_at_gate()
    frame = {read}
    wait_at_gate()
    {write}
    wait_at_gate()
"""
WRITE = {
    "polars": "frame.write_parquet('out/{0}.parquet')",
    "pandas": "frame.to_parquet('out/{0}.parquet')",
    "os": "subprocess.run('cp in/{0}.csv out/{0}.parquet', shell=True, check=True)",
}
READ = {
    "polars": "polars.read_csv('in/{0}.csv')",
    "pandas": "pandas.read_csv('in/{0}.csv')",
    "os": "subprocess.check_output(['cat', 'in/{0}.csv'])",
}


@pytest.mark.parametrize("library", READ)
@pytest.mark.parametrize("jobs", [2, 4])
def test_files_of_tools_that_run_side_by_side_are_not_one_anothers(
    project: Project, orch: Orch, library: str, jobs: int
) -> None:
    """All of them wait for one another before they read, before they write, and before they end."""
    names = [f"t{number}" for number in range(jobs)]
    with Gate() as gate:
        root = project(
            {
                "out/": "",
                **{f"in/{name}.csv": "x\n1\n" for name in names},
                **{
                    f"src/{name}.py": BESIDE.format(
                        library=library,
                        gate=gate.code,
                        read=READ[library].format(name),
                        write=WRITE[library].format(name),
                    )
                    for name in names
                },
            }
        )
        with running(root, "run", "--jobs", str(jobs)) as run:
            for _ in range(3):
                gate.wait_for(jobs)
                gate.let_pass()
            gate.open()
            assert run.wait() == 0, run.text
    assert reasons(orch) == {}
    for tool in orch("status", "--json").json["tools"]:
        assert files_used(tool, "reads") == [f"in/{tool['name']}.csv"]
        assert files_used(tool, "writes") == [f"out/{tool['name']}.parquet"]
    for name in names:
        found = stale_after(orch, root / f"in/{name}.csv", "x\n2\n")
        assert found == {name: [f"in/{name}.csv changed"]}
    change(root / "in/t1.csv", "1", "2")
    assert run_changed(orch, env={"ORCH_JOBS": str(jobs)}) == ["t1"]


def test_one_changed_file_of_many_makes_stale_who_reads_it(project: Project, orch: Orch) -> None:
    """Each day is cleaned by one tool and counted by another, all of them with --jobs 4."""
    days = [f"{day:02}" for day in range(12)]
    clean = """
        import polars
        STAGE = "clean"
        AFTER = ()
        def run(): polars.read_csv("in/DAY.csv").write_parquet("mid/DAY.parquet")
        """
    count = """
        import polars
        STAGE = "count"
        AFTER = ()
        def run(): polars.read_parquet("mid/DAY.parquet").sum().write_csv("out/DAY.csv")
        """
    root = project(
        {
            "orch.toml": 'stages = ["clean", "count"]\njobs = 4\n',
            "mid/": "",
            "out/": "",
            **{f"in/{day}.csv": "x\n1\n2\n" for day in days},
            **{f"src/clean_{day}.py": clean.replace("DAY", day) for day in days},
            **{f"src/count_{day}.py": count.replace("DAY", day) for day in days},
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    change(root / "in/03.csv", "2", "3")
    assert sorted(reasons(orch)) == ["clean_03", "count_03"]
    assert sorted(run_changed(orch)) == ["clean_03", "count_03"]
    assert (root / "out/03.csv").read_text() == "x\n4\n"


# ---- where a file lies ----

OUTSIDE = {
    "open": ("sys", "open({0!r}).read()"),
    "pandas": ("pandas", "pandas.read_csv({0!r})"),
    "polars": ("polars", "polars.scan_csv({0!r}).collect()"),
    "pyarrow": ("pyarrow.csv", "pyarrow.csv.read_csv({0!r})"),
    "duckdb": ("duckdb", 'duckdb.sql("select * from read_csv({0!r})").fetchall()'),
    "numpy": ("numpy", "numpy.genfromtxt({0!r}, skip_header=1)"),
    "a child": ("subprocess", "subprocess.check_output(['cat', {0!r}])"),
}


@pytest.mark.parametrize("is_absolute", [True, False])
@pytest.mark.parametrize("way", OUTSIDE)
def test_a_file_beside_the_project_in_the_temporary_folder_is_an_input(
    project: Project, orch: Orch, tmp_path: Path, way: str, is_absolute: bool
) -> None:
    library, call = OUTSIDE[way]
    data = tmp_path / "data" / "a.csv"
    read = call.format(str(data) if is_absolute else "../data/a.csv")
    root = project(
        {
            "../data/a.csv": "x\n1\n",
            "../data/b.csv": "x\n1\n",
            "src/use.py": f"""
import {library}
STAGE = "s"
def run():
    with open("out.txt", "w") as file:
        file.write(str({read}))
""",
        }
    )
    expect_inputs(orch, root, "use", {"../data/a.csv": "x\n2\n"}, {"../data/b.csv": "x\n2\n"})


def test_a_sql_tool_that_reads_a_file_is_stale_when_it_changes(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": 'database = "duckdb:///data.duckdb"\n',
            "../data/a.csv": "x\n1\n",
            "in/one.csv": "x\n1\n",
            "src/load.sql": """
                -- STAGE: s
                CREATE OR REPLACE TABLE t AS SELECT * FROM read_csv('../data/a.csv');
                CREATE OR REPLACE TABLE u AS SELECT * FROM read_csv('in/*.csv');
                """,
        }
    )
    expect_inputs(
        orch,
        root,
        "load",
        {"../data/a.csv": "x\n2\n", "in/one.csv": "x\n2\n", "in/two.csv": "x\n2\n"},
        {"notes.md": "", "../data/b.csv": ""},
    )


def test_scratch_of_a_library_in_the_temporary_folder_is_nobodys(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "a.csv": "x\n1\n",
            "src/use.py": """
                import os, polars, tempfile
                STAGE = "s"
                def run():
                    with tempfile.TemporaryDirectory() as folder:
                        polars.read_csv("a.csv").write_parquet(os.path.join(folder, "a.parquet"))
                        polars.read_parquet(f"{folder}/*.parquet").write_csv("b.csv")
                """,
        }
    )
    assert orch("run").code == 0
    assert run_changed(orch) == []
    (tool,) = orch("status", "--json").json["tools"]
    assert files_used(tool, "reads") == ["a.csv"]
    assert files_used(tool, "writes") == ["b.csv"]


def test_a_file_in_the_temporary_folder_that_one_tool_leaves_for_another_is_followed(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["make", "use"]\n',
            "a.csv": "x\n1\n",
            "src/make.py": """
                import polars
                STAGE = "make"
                def run(): polars.read_csv("a.csv").write_parquet("../left.parquet")
                """,
            "src/use.py": """
                import polars
                STAGE = "use"
                def run(): polars.read_parquet("../left.parquet").write_csv("b.csv")
                """,
        }
    )
    assert orch("run").code == 0
    assert run_changed(orch) == []
    change(root / "a.csv", "1", "2")
    assert sorted(reasons(orch)) == ["make", "use"]
    assert run_changed(orch) == ["make", "use"]
    assert (root / "b.csv").read_text() == "x\n2\n"
    (root.parent / "left.parquet").unlink()
    assert "use" in reasons(orch)


# ---- joblib, and threads of libraries ----


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_what_a_worker_of_joblib_reads_and_imports_is_the_tools(
    project: Project, orch: Orch, backend: str
) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    root = project(
        {
            "a.csv": "1",
            "b.csv": "2",
            "c.csv": "3",
            "src/lib.py": "def read(path):\n    with open(path) as file:\n        return file.read()\n",
            "src/spread.py": f"""
                import joblib
                STAGE = "s"
                def work(path):
                    from src.lib import read
                    return read(path)
                def run():
                    texts = joblib.Parallel(n_jobs=2, backend="{backend}")(joblib.delayed(work)(one) for one in ("a.csv", "b.csv"))
                    with open("out.txt", "w") as file:
                        file.write(repr(texts))
                """,
        }
    )
    text = (root / "src/lib.py").read_text()
    expect_inputs(
        orch,
        root,
        "spread",
        {"a.csv": "10", "b.csv": "20", "src/lib.py": text.replace("read()", "read() + '!'")},
        {"c.csv": "30", "src/lib.py": f"# a comment\n{text}"},
    )


def test_a_file_that_a_library_of_c_opens_in_a_thread_is_an_input(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "a.dat": "1",
            "src/use.py": """
                import ctypes, threading
                STAGE = "s"
                def read():
                    libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
                    file = libc.open(b"./a.dat", 0)
                    libc.read(file, buffer, 10)
                    libc.close(file)
                def run():
                    thread = threading.Thread(target=read)
                    thread.start()
                    thread.join()
                """,
        }
    )
    expect_inputs(orch, root, "use", {"a.dat": "2"}, {"b.dat": ""})


# ---- what is no longer made ----

SPLIT = {
    "duckdb": """
        import duckdb
        STAGE = "split"
        {keys}
        def run():
            duckdb.sql("copy (select * from read_csv('in.csv')) to 'out' (format csv, partition_by (day), overwrite_or_ignore)")
        """,
    "polars": """
        import os, polars
        STAGE = "split"
        {keys}
        def run():
            os.makedirs("out", exist_ok=True)
            for (day,), frame in polars.read_csv("in.csv").group_by("day"):
                frame.write_parquet(f"out/{{day}}.parquet")
        """,
}
TOTAL = {
    "duckdb": """
        import duckdb
        STAGE = "sum"
        def run():
            rows = duckdb.sql("select sum(x) from read_csv('out/*/*.csv')").fetchall()
            with open("total.txt", "w") as file:
                file.write(str(rows[0][0]))
        """,
    "polars": """
        import polars
        STAGE = "sum"
        def run():
            with open("total.txt", "w") as file:
                file.write(str(polars.read_parquet("out/*.parquet")["x"].sum()))
        """,
}
LAST = {"duckdb": "out/day=3/data_0.csv", "polars": "out/3.parquet"}


def build_split(project: Project, library: str, keys: str) -> Path:
    return project(
        {
            "orch.toml": 'stages = ["split", "sum"]\n',
            "in.csv": "day,x\n1,1\n2,2\n3,3\n",
            "src/split.py": SPLIT[library].format(keys=keys),
            "src/total.py": TOTAL[library],
        }
    )


@pytest.mark.parametrize("library", SPLIT)
def test_who_reads_a_partition_that_is_no_longer_written_is_stale_and_says_so(
    project: Project, orch: Orch, library: str
) -> None:
    root = build_split(project, library, "")
    assert orch("run").code == 0
    assert reasons(orch) == {}
    assert (root / "total.txt").read_text() == "6"
    change(root / "in.csv", "3,3\n", "")
    assert orch("run", "--changed").code == 0
    (sentence,) = reasons(orch)["total"]
    assert LAST[library] in sentence
    assert "which split no longer makes" in sentence
    assert "split" not in reasons(orch)
    assert orch("status", "--exit-code").code == 1
    assert LAST[library] in orch("check").text
    assert LAST[library] in orch("clean").text
    assert orch("clean", "--yes").code == 0
    assert not (root / LAST[library]).exists()
    assert run_changed(orch) == ["total"]
    assert (root / "total.txt").read_text() == "3"


@pytest.mark.parametrize("library", SPLIT)
def test_a_left_over_partition_that_is_accepted_makes_nothing_stale(
    project: Project, orch: Orch, library: str
) -> None:
    root = build_split(project, library, "")
    assert orch("run").code == 0
    change(root / "in.csv", "3,3\n", "")
    assert orch("run", "--changed").code == 0
    assert list(reasons(orch)) == ["total"]
    assert orch("accept", "total").code == 0
    assert reasons(orch) == {}
    assert orch("status", "--exit-code").code == 0


@pytest.mark.parametrize("library", SPLIT)
def test_a_partition_of_a_set_that_a_tool_replaces_is_deleted_with_its_rows(
    project: Project, orch: Orch, library: str
) -> None:
    root = build_split(project, library, 'ORCH = {"replaces": "out/**"}')
    assert orch("run").code == 0, orch("run").text
    (root / "out/mine.txt").write_text("by hand")
    change(root / "in.csv", "3,3\n", "")
    assert run_changed(orch) == ["split", "total"]
    assert not (root / LAST[library]).exists()
    assert (root / "out/mine.txt").read_text() == "by hand"
    assert (root / "total.txt").read_text() == "3"
    change(root / "in.csv", "2,2\n", "2,2\n3,4\n")
    assert run_changed(orch) == ["split", "total"]
    assert (root / "total.txt").read_text() == "7"


# ---- what decides is the content ----

LARGE = 17 << 20


def test_a_large_output_that_is_touched_or_copied_is_no_edit(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["train", "use"]\n',
            "src/train.py": f"""
                import numpy
                STAGE = "train"
                def run():
                    with open("model.bin", "wb") as file:
                        file.write(numpy.zeros({LARGE}, dtype="u1").tobytes())
                """,
            "src/use.py": """
                import numpy
                STAGE = "use"
                def run():
                    with open("size.txt", "w") as file:
                        file.write(str(numpy.fromfile("model.bin", dtype="u1").sum()))
                """,
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    os.utime(root / "model.bin")
    assert reasons(orch) == {}
    assert run_changed(orch) == []
    shutil.copy(root / "model.bin", root / "copy.bin")
    os.replace(root / "copy.bin", root / "model.bin")  # another inode, the same content
    assert run_changed(orch) == []
    assert not (root / ".orch/edited").exists()
    with (root / "model.bin").open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"\1")
    os.utime(root / "model.bin", (0, 0))
    assert sorted(reasons(orch)) == ["train", "use"]
    assert "train" in ran(orch("run", "--changed", "--json"))
    assert len([*(root / ".orch/edited").rglob("model.bin")]) == 1
    assert reasons(orch) == {}


def test_a_project_that_is_copied_with_its_memory_and_a_large_output_is_fresh(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project(
        {
            "src/train.py": f"""
                STAGE = "train"
                def run():
                    with open("model.bin", "wb") as file:
                        file.write(bytes({LARGE}))
                """
        }
    )
    assert orch("run").code == 0
    shutil.copytree(root, tmp_path / "copy")
    assert reasons(orch, "-C", str(tmp_path / "copy")) == {}


# ---- AFTER, and where the kernel is not asked ----


def test_a_tool_that_only_comes_after_one_that_ran_again_is_not_stale(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "a.csv": "x\n1\n",
            "b.csv": "x\n1\n",
            "src/first.py": """
                import polars
                STAGE = "s"
                def run(): polars.read_csv("a.csv").write_csv("first.csv")
                """,
            "src/second.py": """
                import polars, subprocess
                STAGE = "s"
                AFTER = "first"
                def run():
                    polars.read_csv("b.csv").write_csv("second.csv")
                    subprocess.run("cat b.csv > third.csv", shell=True, check=True)
                """,
        }
    )
    assert orch("run").code == 0
    change(root / "a.csv", "1", "2")
    assert reasons(orch) == {"first": ["a.csv changed"]}
    assert run_changed(orch) == ["first"]
    assert orch("run", "first").code == 0
    assert reasons(orch) == {}


def test_a_tool_that_is_not_traced_is_stale_for_what_it_comes_after_and_says_why(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "a.csv": "x\n1\n",
            "b.csv": "x\n1\n",
            "src/first.py": """
                import polars
                STAGE = "s"
                def run(): polars.read_csv("a.csv").write_csv("first.csv")
                """,
            "src/second.py": """
                import polars
                STAGE = "s"
                AFTER = "first"
                ORCH = {"trace": False}
                def run(): polars.read_csv("b.csv").write_csv("second.csv")
                """,
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    told = orch("status", "second").text
    assert '"trace": False' in told, told
    assert "second" in orch("check").text
    change(root / "a.csv", "1", "2")
    assert sorted(reasons(orch)) == ["first", "second"]
    assert run_changed(orch) == ["first", "second"]


@pytest.mark.parametrize("keys", ["", ', "trace": False'])
def test_a_file_that_a_tool_declares_to_read_and_write_is_rebuilt_from_its_first_writer(
    project: Project, orch: Orch, keys: str
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "src/makes.py": f"""
                import polars
                STAGE = "one"
                ORCH = {{"inputs": [], "outputs": "a.csv"{keys}}}
                def run(): polars.DataFrame({{"x": [1]}}).write_csv("a.csv")
                """,
            "src/adds.py": f"""
                import polars
                STAGE = "two"
                ORCH = {{"inputs": "a.csv", "outputs": "a.csv"{keys}}}
                def run(): polars.read_csv("a.csv").select(polars.col("x") + 1).write_csv("a.csv")
                """,
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    assert orch("run", "adds").code == 0
    assert (root / "a.csv").read_text() == "x\n3\n"
    assert sorted(reasons(orch)) == ["adds", "makes"]
    assert run_changed(orch) == ["makes", "adds"]
    assert (root / "a.csv").read_text() == "x\n2\n"

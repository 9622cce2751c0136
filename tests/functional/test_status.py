"""What makes a tool stale and what does not, as `orch status` tells it: nothing is declared beyond AFTER."""

from __future__ import annotations

import ast
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.staleness.memory import Memory
from tests.conftest import Orch, Project
from tests.support.fork_server import ForkServer
from tests.support.remembered import SAMPLE_TOOLS, change, copy_sample, reasons

PACKAGE = Path(__file__).parents[2]

SINCE = "--since: default → 2008-11-01"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Path:
    """The sample project, run once: `parse` has a helper that has a helper."""
    root = copy_sample(tmp_path_factory.mktemp("finished") / "project")
    lib = root / "src" / "lib"
    lib.mkdir()
    (lib / "__init__.py").touch()
    (lib / "missing.py").write_text('MISSING = {"", ".", "NA"}\n')
    (lib / "cells.py").write_text("from src.lib import missing\n\nMISSING = missing.MISSING\n")
    parse = root / "src" / "pipeline" / "parse.py"
    change(parse, 'MISSING = {"", ".", "NA"}\n', "")
    change(
        parse,
        "from datetime import date\n",
        "from datetime import date\nfrom src.lib.cells import MISSING\n",
    )
    answer = fork_server.run(root, "run", "-q")
    assert answer.code == 0, answer.text
    return root


@pytest.fixture
def sample(finished: Path, tmp_path: Path, orch: Orch) -> Path:
    """A copy of it, with its memory."""
    root = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    assert reasons(orch) == {}
    return root


def sources(root: Path) -> list[Path]:
    return sorted((root / "src").rglob("*.py"))


def test_a_touched_project_is_fresh(sample: Path, orch: Orch) -> None:
    for path in sample.rglob("*"):
        if path.is_file() and ".orch" not in path.parts and path.name != "data.db":
            os.utime(path, (1, 1))
    assert reasons(orch) == {}
    assert orch("run", "--changed").out == "nothing to run: all 5 tools are fresh\n"


def test_comments_and_formatting_do_not_count(sample: Path, orch: Orch) -> None:
    for path in sources(sample):
        text = path.read_text(encoding="utf-8")
        path.write_text(f"# a comment\n\n\n{text}\n# and another one\n", encoding="utf-8")
    assert reasons(orch) == {}
    for path in sources(sample):
        formatted = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text(formatted, encoding="utf-8")
    assert reasons(orch) == {}


def test_a_helper_two_imports_deep_makes_its_tools_stale_and_what_follows_by_table(
    sample: Path, orch: Orch
) -> None:
    change(sample / "src" / "lib" / "missing.py", '"NA"', '"NA", "?"')
    assert reasons(orch) == {
        "parse": ["src/lib/missing.py changed"],
        "enrich": ["upstream parse is stale (table penguins)"],
        "summarize": ["upstream enrich is stale (table enriched)"],
        "render": ["upstream summarize is stale (table summary)"],
    }
    change(sample / "src" / "lib" / "missing.py", '"NA", "?"', '"NA"')
    assert reasons(orch) == {}


def test_the_data_file_makes_its_reader_stale_and_everything_after(
    sample: Path, orch: Orch
) -> None:
    data = sample / "data" / "penguins_raw.csv"
    text = data.read_bytes()
    data.write_bytes(text.rpartition(b"\n")[0].rpartition(b"\n")[0] + b"\n")
    found = reasons(orch)
    assert list(found) == SAMPLE_TOOLS
    assert found["fetch"] == ["data/penguins_raw.csv changed"]
    assert found["parse"] == ["upstream fetch is stale (table raw)"]
    data.write_bytes(text)
    assert reasons(orch) == {}
    data.unlink()
    assert reasons(orch)["fetch"] == ["data/penguins_raw.csv is missing"]


def test_the_report_deleted_makes_its_writer_stale(sample: Path, orch: Orch) -> None:
    (sample / "output" / "report.html").unlink()
    assert reasons(orch) == {"render": ["output/report.html is missing"]}
    assert orch("run", "--changed", "-q").code == 0
    assert (sample / "output" / "report.html").exists()
    assert reasons(orch) == {}


def test_an_output_that_was_edited_by_hand_is_made_anew(sample: Path, orch: Orch) -> None:
    report = sample / "output" / "report.html"
    made = report.read_bytes()
    report.write_text("somebody changed it")
    assert reasons(orch) == {"render": ["output/report.html was edited after render made it"]}
    report.write_bytes(made)  # content decides
    assert reasons(orch) == {}
    report.write_text("somebody changed it")
    assert orch("accept", "render").code == 0
    assert reasons(orch) == {}
    report.write_text("somebody changed it again")
    assert reasons(orch) == {"render": ["output/report.html was edited after render made it"]}
    assert orch("run", "--changed", "-q").code == 0
    assert reasons(orch) == {}


def test_a_parameter_is_compared_with_what_the_command_line_would_pass(
    sample: Path, orch: Orch
) -> None:
    expected = {
        "enrich": [SINCE],
        "summarize": [SINCE],
        "render": ["upstream summarize is stale (table summary)"],
    }
    assert reasons(orch, "--since", "2008-11-01") == expected
    assert reasons(orch, "-p", "since=2008-11-01") == expected
    assert reasons(orch, env={"ORCH_PARAM_SINCE": "2008-11-01"}) == expected
    assert reasons(orch, "-p", "summarize.since=2008-11-01")["summarize"] == [SINCE]
    assert orch("run", "-q", "--since", "2008-11-01").code == 0
    assert reasons(orch, "--since", "2008-11-01") == {}
    assert reasons(orch, "--since", "2009-01-01")["enrich"] == ["--since: 2008-11-01 → 2009-01-01"]
    assert reasons(orch)["enrich"] == ["--since: 2008-11-01 → default"]
    plain = orch("status", env={"PYTHONIOENCODING": "ascii"}).out
    assert "--since: 2008-11-01 -> default\n" in plain
    with (sample / "pyproject.toml").open("a") as file:
        file.write('[tool.orch.params]\nsince = "2008-11-01"\n')
    assert reasons(orch) == {}


def test_another_database_makes_every_tool_that_takes_it_stale(sample: Path, orch: Orch) -> None:
    found = reasons(orch, "--database", "sqlite:///other.db")
    assert list(found) == SAMPLE_TOOLS
    assert found["fetch"] == ["database: sqlite:///data.db → sqlite:///other.db"]
    assert not (sample / "other.db").exists()
    assert orch("run", "-q", "--database", "sqlite:///other.db").code == 0
    assert reasons(orch, "--database", "sqlite:///other.db") == {}
    assert reasons(orch)["fetch"] == ["database: sqlite:///other.db → sqlite:///data.db"]


def test_a_removed_database_makes_every_tool_that_takes_it_stale(sample: Path, orch: Orch) -> None:
    (sample / "data.db").unlink()
    found = reasons(orch)
    assert list(found) == SAMPLE_TOOLS
    assert all(one == ["the database sqlite:///data.db is missing"] for one in found.values())
    assert orch("run", "-q", "fetch").code == 0
    assert found["parse"] != []
    later = reasons(orch)
    assert "fetch" not in later
    assert later["parse"][0] == "the database sqlite:///data.db was replaced"
    assert orch("run", "-q", "--changed").code == 0
    assert reasons(orch) == {}


def test_a_swapped_database_is_another_one_and_a_copy_is_not(sample: Path, orch: Orch) -> None:
    shutil.copy(sample / "data.db", sample / "copy.db")
    os.replace(sample / "copy.db", sample / "data.db")
    assert reasons(orch) == {}
    with closing(sqlite3.connect(sample / "new.db")) as conn, conn:
        conn.execute("create table raw (x)")
    os.replace(sample / "new.db", sample / "data.db")
    found = reasons(orch)
    assert list(found) == SAMPLE_TOOLS
    assert found["render"] == ["the database sqlite:///data.db was replaced"]


def install(site: Path, name: str, version: str, *requirements: str, code: str = "") -> None:
    """As pip does, in the place of another version."""
    for old in site.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requirements)
        + "\nRequires-Dist: nothing that a description says\n"
    )
    (folder / "RECORD").write_text(f"{name}/__init__.py,,\n")
    (site / name).mkdir(exist_ok=True)
    (site / name / "__init__.py").write_text(code)


def test_a_library_counts_for_the_tools_whose_code_imports_it_or_what_requires_it(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "numbery", "1.26.0")
    install(
        site,
        "framey",
        "1.0",
        "numbery>=1",
        "loggy; python_version > '3'",
        "plotty; extra == 'plot'",
    )
    install(site, "loggy", "1.0", "framey")
    install(site, "plotty", "1.0")
    install(site, "allery", "1.0", "framey[plot] ; os_name == 'other'")
    tool = "{}\nSTAGE = 's'\nAFTER = ()\ndef run(): {}\n"
    project(
        {
            "orch.toml": 'pythonpath = ["src"]',
            "src/a.py": tool.format("import numbery", "pass"),
            "src/b.py": tool.format("", "import numbery"),
            "src/c.py": tool.format("", "pass"),
            "src/d.py": tool.format("import helper", "helper.frame()"),
            "src/helper.py": "def frame():\n    import framey\n",
            "src/e.py": tool.format(
                "from importlib import import_module", "import_module('allery')"
            ),
            "src/f.py": tool.format(
                "from importlib import import_module", "import_module('plug' + 'in')"
            ),
            "src/plugin.py": "import plotty\n",
        }
    )
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{site}"}}
    assert orch("run", **how).code == 0
    assert reasons(orch, **how) == {}
    install(site, "numbery", "2.0.0")
    changed = ["numbery: 1.26.0 → 2.0.0"]
    assert reasons(orch, **how) == dict.fromkeys("abde", changed)
    assert reasons(orch)["a"] == ["numbery 1.26.0 is no longer installed"]
    assert orch("run", "--changed", **how).code == 0
    assert reasons(orch, **how) == {}
    install(site, "plotty", "2.0")
    assert reasons(orch, **how) == {name: ["plotty: 1.0 → 2.0"] for name in "ef"}
    install(site, "plotty", "1.0")
    install(site, "loggy", "1.1")
    assert reasons(orch, **how) == {name: ["loggy: 1.0 → 1.1"] for name in "de"}


def test_what_other_tools_have_loaded_makes_no_difference(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """`eagery` loads what it does not require, and a tool before the second one has loaded it already."""
    site = tmp_path / "site"
    install(site, "numbery", "1.0")
    install(site, "eagery", "1.0", code="import numbery")
    tool = "import eagery\nSTAGE = 's'\nAFTER = ()\ndef run(): pass\n"
    project({"orch.toml": "", "src/a.py": tool, "src/b.py": tool})
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{site}"}}
    assert orch("run", **how).code == 0
    install(site, "numbery", "2.0")
    assert reasons(orch, **how) == {}
    install(site, "eagery", "2.0")
    assert reasons(orch, **how) == {name: ["eagery: 1.0 → 2.0"] for name in "ab"}


def test_a_library_that_is_installed_later_counts_for_code_that_tries_to_import_it(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    tool = "try:\n    import fasty\nexcept ImportError:\n    fasty = None\nSTAGE = 's'\ndef run(): pass\n"
    project({"orch.toml": "", "src/a.py": tool})
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path / 'site'}"}}
    assert orch("run", **how).code == 0
    assert reasons(orch, **how) == {}
    install(tmp_path / "site", "fasty", "3.1")
    assert reasons(orch, **how) == {"a": ["fasty 3.1 was installed"]}


def test_the_minor_version_of_python_counts(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    assert orch("run").code == 0
    memory = Memory(str(root))
    result = memory.results(["src.a"])["src.a"]
    assert result.success is not None
    inputs = result.success.inputs
    old = replace(inputs, other={**inputs.other, "python": "3.7"})
    memory.write(replace(result, success=replace(result.success, inputs=old)))
    assert reasons(orch) == {"a": [f"Python: 3.7 → {inputs.other['python']}"]}


def test_orchconf_counts_for_those_who_take_something_from_it(project: Project, orch: Orch) -> None:
    conf = "from discover_orch import resource\n@resource\ndef http(): return {n}\n"
    project(
        {
            "orchconf.py": conf.format(n=1),
            "src/a.py": "STAGE = 's'\nAFTER = ()\ndef run(http): pass\n",
            "src/b.py": "STAGE = 's'\nAFTER = ()\ndef run(conn): pass\n",
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    project({"orchconf.py": "# a comment\n" + conf.format(n=1)})
    assert reasons(orch) == {}
    project({"orchconf.py": conf.format(n=2)})
    assert reasons(orch) == {"a": ["orchconf.py changed"]}


def test_operational_keys_do_not_count(project: Project, orch: Orch) -> None:
    tool = "STAGE = 's'\nORCH = {orch}\ndef run(): pass\n"
    project({"orch.toml": "", "src/a.py": tool.format(orch="{'timeout': 5}")})
    assert orch("run").code == 0
    for tag in (
        "{'timeout': 50, 'retries': 3}",
        "{'retries': 1, 'retry_delay': 1, 'cancel': False, 'tokens': {}}",
        "{'max_age': '400d', 'repeatable': True}",
        "{}",
    ):
        project({"src/a.py": tool.format(orch=tag)})
        assert [one["state"] for one in orch("status", "--json").json["tools"]] == ["fresh"], tag
    project({"src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    assert reasons(orch) == {}
    project({"src/a.py": tool.format(orch="{'inputs': 'x.csv', 'timeout': 5}")})
    assert "src/a.py changed" in orch("status", "a").out


def test_a_pipeline_that_updates_in_place_settles(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": "",
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    conn.execute("CREATE TABLE IF NOT EXISTS records (n, seen)")
                    conn.execute("DELETE FROM records WHERE n < ?", (10,))
                    conn.executemany("INSERT INTO records VALUES (?, 0)", [(1,), (2,)])
                """,
            "src/b.py": """
                STAGE = "s"
                AFTER = "a"
                def run(conn):
                    conn.execute("UPDATE records SET seen = 1 WHERE n > ?", (0,))
                """,
        }
    )
    for _ in range(2):
        assert orch("run").code == 0
        assert reasons(orch) == {}
    assert orch("run", "a").code == 0
    assert reasons(orch) == {"b": ["table records was overwritten by a (run 3)"]}
    changed = orch("run", "--changed")
    assert "running 1 tool: b\n" in changed.out
    assert reasons(orch) == {}


def test_create_table_if_not_exists_on_a_table_that_exists_is_a_known_write_that_changes_nothing(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": "stages = ['one', 'two']",
            "in.txt": "1",
            "src/a.py": """
                STAGE = "one"
                def run(conn): conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
                """,
            "src/b.py": """
                STAGE = "two"
                def run(): open("out.txt", "w").write(open("in.txt").read())
                """,
            "src/c.py": """
                STAGE = "two"
                AFTER = "b"
                def run(conn): conn.execute("SELECT count(*) FROM t")
                """,
        }
    )
    for _ in range(2):
        assert orch("run").code == 0
        assert reasons(orch) == {}
    assert orch("run", "a").code == 0
    assert reasons(orch) == {}
    project({"src/a.py": "STAGE = 'one'\ndef run(conn): conn.execute('CREATE TABLE u(a)')\n"})
    assert reasons(orch) == {"a": ["src/a.py changed"]}  # running a again would not empty t


def test_folders_listed_and_files_missed_count(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "inbox/one.txt": "1",
            "src/a.py": """
                import os
                STAGE = "s"
                AFTER = ()
                def run(): print(os.listdir("inbox"))
                """,
            "src/b.py": """
                STAGE = "s"
                AFTER = ()
                def run():
                    try:
                        open("settings.ini")
                    except FileNotFoundError:
                        pass
                """,
        }
    )
    assert orch("run").code == 0
    (root / "inbox" / "one.txt").write_text("another text")
    assert reasons(orch) == {}
    (root / "inbox" / "two.txt").touch()
    assert reasons(orch) == {"a": ["inbox/two.txt now exists"]}
    (root / "inbox" / "two.txt").unlink()
    (root / "settings.ini").touch()
    assert reasons(orch) == {"b": ["settings.ini now exists"]}


def test_declared_inputs_and_outputs_add_to_what_is_observed(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "in/a.csv": "1",
            "src/a.py": """
                import subprocess
                STAGE = "s"
                ORCH = {"inputs": "in/*.csv", "outputs": "out.txt"}
                def run(): subprocess.run(["sh", "-c", "cat in/*.csv > out.txt"], check=True)
                """,
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "in" / "a.csv").write_text("2")
    assert reasons(orch) == {"a": ["in/a.csv changed"]}
    assert orch("run").code == 0
    (root / "in" / "b.csv").write_text("3")
    assert reasons(orch) == {"a": ["in/b.csv now exists"]}
    assert orch("run").code == 0
    (root / "out.txt").unlink()
    assert reasons(orch) == {"a": ["out.txt is missing"]}


def test_a_path_with_the_characters_of_a_glob_is_a_file_where_it_exists(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "data/in [v2].csv": "1",
            "src/a.py": """
                STAGE = "s"
                ORCH = {"inputs": "data/in [v2].csv", "outputs": "out [2024].csv"}
                def run(): open("out [2024].csv", "w").close()
                """,
            "src/b.py": """
                STAGE = "s"
                def run(): open("report [1].csv", "w").close()
                """,
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "data" / "in [v2].csv").write_text("2")
    assert reasons(orch) == {"a": ["data/in [v2].csv changed"]}
    assert orch("run").code == 0
    (root / "out [2024].csv").unlink()
    (root / "report [1].csv").unlink()
    assert reasons(orch) == {
        "a": ["out [2024].csv is missing"],
        "b": ["report [1].csv is missing"],
    }


def test_a_linked_folder_below_an_input_counts(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "shared/a.csv": "1",
            "in/own.csv": "1",
            "src/a.py": """
                STAGE = "s"
                ORCH = {"inputs": "in", "outputs": []}
                def run(): ...
                """,
        }
    )
    (root / "in" / "linked").symlink_to(root / "shared")
    (root / "shared" / "back").symlink_to(root / "in")
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "shared" / "a.csv").write_text("2")
    assert reasons(orch) == {"a": ["in/linked/a.csv changed"]}


def test_a_tool_that_failed_is_stale_though_nothing_changed(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": "import os\nSTAGE = 's'\ndef run(): assert not os.access.__wrapped__('bad', os.F_OK)\n",
            "src/b.py": "STAGE = 's'\nAFTER = 'a'\ndef run(): pass\n",
        }
    )
    assert orch("run").code == 0
    (root / "bad").mkdir()
    assert orch("run").code == 1
    answer = orch("status", "--json").json["tools"]
    assert [(one["state"], one["failed"], one["never"]) for one in answer] == [
        ("failed", True, False),
        ("stale", False, False),
    ]
    assert [one["reasons"] for one in answer] == [
        ["failed (run 2)"],
        ["upstream a is stale"],
    ]
    assert (answer[0]["last_run"], answer[0]["last_status"]) == ("2", "failed")
    (root / "bad").rmdir()
    assert orch("run", "a").code == 0
    assert "a" not in reasons(orch)


def test_a_single_tool_tells_the_variables_and_the_files_that_only_the_system_saw(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": "",
            "in.dat": "1",
            "src/a.py": """
                import os, subprocess
                STAGE = "s"
                def run():
                    os.environ.get("REGION")
                    subprocess.run(["cp", "in.dat", "out.dat"], check=True)
                """,
        }
    )
    assert orch("run", env={"REGION": "eu"}).code == 0
    shown = orch("status", "a", env={"REGION": "eu"}).out
    assert "\nenvironment REGION\n" in shown
    if sys.platform == "linux":
        assert "\nreads       in.dat (by a library, a child process or a shared module)\n" in shown
        assert "\nwrites      out.dat\n" in shown


def test_a_secret_enters_no_fingerprint(project: Project, orch: Orch) -> None:
    project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(*, api_key: str = ''): pass\n"})
    assert orch("run", "--api-key", "one-secret-text").code == 0
    assert reasons(orch) == {}
    assert reasons(orch, "--api-key", "another-secret") == {}


def test_a_table_that_is_copied_whole_is_read(project: Project, orch: Orch) -> None:
    """SQLite copies it page by page, and says nothing of the one that is read."""
    copies = (
        "insert into s0 select * from r",
        'INSERT INTO main.s1 SELECT ALL * FROM main."r"',
        "insert into s2 select /* all of it */ * -- here\n from [r]",
        "insert into temp.t3 select * from r",
    )
    head = 'STAGE = "{}"\ndef run(conn):\n'
    project(
        {
            "orch.toml": 'stages = ["a", "b"]\n',
            "src/x.py": head.format("a")
            + '    conn.execute("create table if not exists r (a)")\n'
            + '    conn.execute("insert into r values (1)")\n',
            **{
                f"src/y{number}.py": head.format("b")
                + f'    conn.execute("create table if not exists s{number} (a)")\n'
                + f'    conn.execute("create temp table t{number} (a)")\n'
                + f"    conn.executescript({copy!r})\n"
                for number, copy in enumerate(copies)
            },
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    assert orch("run", "x").code == 0
    rewritten = ["table r was rewritten by x (run 2)"]
    assert reasons(orch) == {f"y{number}": rewritten for number in range(len(copies))}


def test_a_link_that_leads_to_another_database_makes_its_tools_stale(
    project: Project, orch: Orch
) -> None:
    """Both files are alike but for what they hold."""
    tool = 'STAGE = "a"\ndef run(conn):\n    print(conn.execute("select x from t").fetchall())\n'
    root = project({"src/a.py": tool})
    for name, held in (("one.db", 1), ("two.db", 2)):
        with closing(sqlite3.connect(root / name)) as conn:
            conn.execute("create table t (x)")
            conn.execute("insert into t values (?)", (held,))
            conn.commit()
    (root / "data.db").symlink_to("one.db")
    assert "[(1,)]" in orch("run").out
    assert reasons(orch) == {}
    (root / "data.db").unlink()
    (root / "data.db").symlink_to("two.db")
    assert reasons(orch) == {"a": ["the database sqlite:///data.db was replaced"]}
    assert "[(2,)]" in orch("run", "--changed").out
    assert reasons(orch) == {}
    (root / "two.db").unlink()
    assert reasons(orch) == {"a": ["the database sqlite:///data.db is missing"]}


def test_a_tag_that_says_when_a_tool_is_run_is_no_change_of_its_code(
    project: Project, orch: Orch
) -> None:
    code = "STAGE = 's'\ndef run(): ...\n"
    project({"src/a.py": f"{code}ORCH = {{'always': True}}\n", "src/b.py": code})
    assert orch("run").code == 0
    assert reasons(orch) == {"a": ['"always" is set']}
    project(
        {
            "src/a.py": code,
            "src/b.py": f"{code}ORCH = {{'max_age': '9d', 'repeatable': True}}\n",
        }
    )
    assert reasons(orch) == {}


def test_a_system_without_utf_8_still_answers(project: Project, orch: Orch) -> None:
    project(
        {
            "src/zähl.py": "STAGE = 's'\ndef run(): ...\n",
            "src/a.py": "STAGE = 's'\ndef run(): ...\n",
        }
    )
    assert orch("run").code == 0
    answer = orch("status", env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert answer.code == 0, answer.text
    assert "  a" in answer.out

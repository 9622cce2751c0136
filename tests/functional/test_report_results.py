"""What the tools of a run made is on its report page: files as the run left them, and the first rows of its tables."""

from __future__ import annotations

import os
import re
import shutil
from base64 import b64decode
from html import unescape
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Orch, Project

SECRET = "open-sesame-4711"
DRAW = """
    '''Draws <b>everything</b>.'''
    import os
    from pathlib import Path
    STAGE = "render"
    def run(*, word: str = "one"):
        Path("plot.png").write_bytes(b"\\x89PNG" + bytes(90))
        token = os.environ.get("MY_TOKEN", "")
        image = f"<svg xmlns='http://www.w3.org/2000/svg'><script>x</script>{token}</svg>"
        Path("plot.svg").write_text(image)
        Path("page.html").write_text(f"<h1>{word} & \\"all\\"</h1><script>x</script>")
        Path("rows.csv").write_text("name;note\\n" + "Adelie;<i>\\u202e\\x07\\n" * 11)
        Path("notes.md").write_text(f"# Notes\\nkey {token}\\n")
        Path("binary.txt").write_bytes(bytes(20))
        Path("large.txt").write_text("x\\n" * 100_001)
        Path("model.bin").write_bytes(bytes(2500))
    """
LOAD = """
    STAGE = "ingest"
    def run(conn, *, api_key: str = ""):
        conn.execute("CREATE TABLE birds (name varchar(3000), password varchar(30), mass float)")
        for number in range(12):
            conn.execute(f"INSERT INTO birds VALUES ('bird {number} {api_key}', 'hunter2', NULL)")
        conn.execute("CREATE TABLE texts (a varchar(3000))")
        conn.execute(f"INSERT INTO texts VALUES ('{'y' * 501}'), ('{'z' * 500}')")
    """


def results_of(page: str) -> str:
    """The part of the page that has the results."""
    found = re.search(r'<section aria-labelledby="h-made">.*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def read_page(orch: Orch, run: str = "") -> str:
    answer = orch("report", *filter(None, [run]), "-o", "-", env={"MY_TOKEN": SECRET})
    assert answer.code == 0, answer.err
    return results_of(answer.out)


def test_the_page_of_a_changed_run_has_what_fresh_tools_had_made(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/load.py": """
                STAGE = "ingest"
                def run(conn):
                    conn.execute("DROP TABLE IF EXISTS birds")
                    conn.execute("CREATE TABLE birds (name)")
                    conn.execute("INSERT INTO birds VALUES ('Adelie')")
                    open("notes.md", "w").write("one bird")
                def check_names(conn):
                    return conn.execute("SELECT * FROM birds WHERE name IS NULL")
                """,
            "src/draw.py": """
                STAGE = "render"
                def run(*, word: str = "one"):
                    open("page.md", "w").write(word)
                def warn_always(): return False
                """,
            "orch.toml": "stages = ['ingest', 'render']\n",
        }
    )
    assert orch("run", "-q").code == 0
    assert orch("run", "-q", "--changed", "--word", "two").code == 0
    answer = orch("report", "2", "-o", "-")
    shown = text_of(results_of(answer.out))
    assert "4 results of 2 tools" not in shown
    assert "3 results of 2 tools" in shown
    assert "load fresh, made by an earlier run" in shown
    assert "one bird" in shown
    assert "Adelie" in shown
    assert "replaced by" not in shown
    assert "all tools were selected" not in answer.out
    assert "Checks 1 warned" in text_of(answer.out)
    assert "Checks 1 passed, 1 warned" in text_of(orch("report", "1", "-o", "-").out).replace(
        "1 warned, 1 passed", "1 passed, 1 warned"
    )
    assert "check_names passed" in text_of(orch("report", "1", "-o", "-").out)
    (root / "notes.md").write_text("by hand")
    assert "notes.md (changed since)" in text_of(results_of(orch("report", "2", "-o", "-").out))


def test_the_page_shows_the_files_that_a_tool_made(project: Project, orch: Orch) -> None:
    project({"src/draw.py": DRAW, "orch.toml": ""})
    assert orch("run", env={"MY_TOKEN": SECRET}).code == 0
    page = read_page(orch)
    assert re.findall(r'<img alt="([^"]*)" loading="lazy" src="data:([^,]*),', page) == [
        ("plot.png", "image/png;base64"),
        ("plot.svg", "image/svg+xml;base64"),
    ]
    packed = re.search(r"svg\+xml;base64,([^\"]*)", page)
    assert packed is not None
    assert b64decode(packed[1]).endswith(b"</script>***</svg>")
    frame = re.search(r"<iframe [^>]*>", page)
    assert frame is not None
    assert 'sandbox=""' in frame[0]
    document = unescape(re.search(r'srcdoc="([^"]*)"', frame[0])[1])  # type: ignore[index]
    assert document.startswith('<!DOCTYPE html><meta http-equiv="Content-Security-Policy"')
    assert "default-src 'none'" in document
    assert document.endswith('<h1>one & "all"</h1><script>x</script>')
    assert "<script" not in page
    text = text_of(page)
    assert "8 results of 1 tool draw Draws <b>everything</b>." in text
    assert "rows.csv 175 bytes · first 10 rows name note " + r"Adelie <i>\u202e\x07 " * 10 in text
    assert "# Notes key ***" in text
    assert text.endswith("binary.txt (20 bytes) , large.txt (200 kB) , model.bin (2.5 kB)")


def test_the_page_that_a_run_writes_masks_its_secrets_in_files(
    project: Project, orch: Orch
) -> None:
    tool = """
        STAGE = "s"
        def run(*, api_key: str):
            open("a.txt", "w").write(f"got {api_key}")
        """
    root = project({"src/a.py": tool, "orch.toml": "report = true"})
    assert orch("run", "--api-key", SECRET).code == 0
    page = (root / ".orch/runs/1/report.html").read_text()
    assert "got ***" in page
    assert SECRET not in page


@pytest.mark.parametrize("url", ["sqlite:///x.db", "duckdb:///x.duckdb"])
def test_the_page_has_the_first_rows_of_tables_as_they_were_without_secrets(
    project: Project, orch: Orch, url: str
) -> None:
    check_tables(project, orch, url)


def test_the_first_rows_of_tables_on_a_server_are_shown_too(
    project: Project, orch: Orch, postgres: str
) -> None:
    check_tables(project, orch, postgres)


def check_tables(project: Project, orch: Orch, url: str) -> None:
    root = project({"src/load.py": LOAD, "orch.toml": ""})
    answer = orch("run", "--database", url, "--api-key", SECRET)
    assert answer.code == 0, answer.text
    text = text_of(read_page(orch))
    rows = " ".join(f"bird {number} *** *** NULL" for number in range(10))
    assert f"table birds first 10 rows name password mass {rows} table texts 2 rows" in text
    assert f"a (501 characters) {'z' * 500} Tools" in f"{text} Tools"
    journal = (root / ".orch/runs/1/events.jsonl").read_text()
    assert SECRET not in journal
    assert "hunter2" not in journal
    for path in root.glob("x.*"):
        path.unlink()
    assert text_of(read_page(orch)) == text


def test_with_a_setting_no_rows_are_read_or_kept(project: Project, orch: Orch) -> None:
    root = project({"src/load.py": LOAD, "orch.toml": "table_version_rows = 0"})
    assert orch("run").code == 0
    assert "hunter2" not in (root / ".orch/runs/1/events.jsonl").read_text()
    assert read_page(orch) == ""


def test_a_file_is_shown_only_while_it_is_as_the_run_left_it(project: Project, orch: Orch) -> None:
    root = project({"src/draw.py": DRAW, "orch.toml": ""})
    assert orch("run").code == 0
    notes, rows, plot = root / "notes.md", root / "rows.csv", root / "plot.svg"
    shutil.copy(notes, root / "copy")
    os.replace(root / "copy", notes)  # another file with the same content
    rows.write_text(rows.read_text() + "more\n")
    plot.unlink()
    (root / "model.bin").unlink()
    (root / "model.bin").mkdir()
    text = text_of(read_page(orch))
    assert "# Notes" in text
    assert "plot.svg (deleted since) , rows.csv (changed since)" in text
    assert "model.bin (not a file any more)" in text
    assert "Adelie" not in text
    (root / "model.bin").rmdir()
    rows.write_text("edited")
    assert orch("accept", "draw").code == 0
    assert "rows.csv (edited since, and accepted)" in text_of(read_page(orch))

    assert orch("run", "--word", "two").code == 0
    assert "page.html (replaced by run 2)" in text_of(read_page(orch, "1"))
    assert "two &amp;amp; " not in read_page(orch, "1")
    assert "two &amp; " in read_page(orch, "2")


def test_a_file_that_a_later_tool_replaced_is_shown_as_a_result_of_that_tool(
    project: Project, orch: Orch
) -> None:
    write = "STAGE = 's'\ndef run(): open('x.txt', 'w').write('by {0}')\n"
    project({"src/a.py": write.format("a"), "src/b.py": write.format("b"), "orch.toml": ""})
    assert orch("run", "a", "b").code == 0
    assert text_of(read_page(orch)) == (
        "Results 2 results of 2 tools a x.txt (replaced by b) b x.txt 4 bytes by b"
    )
    assert orch("run", "a").code == 0
    assert text_of(read_page(orch, "1")).endswith(
        "a x.txt (replaced by run 2) b x.txt (replaced by run 2)"
    )


def test_all_files_of_a_page_have_a_limit(project: Project, orch: Orch) -> None:
    lines = "for one in range(27): open(f'{one:02}.txt', 'w').write('x' * 199_999)"
    project({"src/a.py": f"STAGE = 's'\ndef run():\n    {lines}\n", "orch.toml": ""})
    assert orch("run").code == 0
    page = read_page(orch)
    assert len(page) < 5_100_000
    assert '<details class="made">' in page  # many results are folded
    assert text_of(page).endswith("25.txt (200 kB) , 26.txt (200 kB)")


def test_a_csv_file_is_read_as_csv(project: Project, orch: Orch) -> None:
    rows = 'a\tb\n"one\ntwo, \u2028"\t3\n' + "\t".join("x" * 31) + "\n"
    write = f"open('a.csv', 'w').write({rows!r})"
    project({"src/a.py": f"STAGE = 's'\ndef run(): {write}\n", "orch.toml": ""})
    assert orch("run").code == 0
    shown = r"2 rows a b … one\ntwo, \u2028 3 " + " ".join("x" * 30)
    assert text_of(read_page(orch)).endswith(shown)


def test_of_a_csv_file_with_long_rows_only_whole_rows_are_shown(
    project: Project, orch: Orch
) -> None:
    write = "open('a.csv', 'w').write('a,b\\n' + 3 * ('x' * 30_000 + ',1\\n'))"
    project({"src/a.py": f"STAGE = 's'\ndef run(): {write}\n", "orch.toml": ""})
    assert orch("run").code == 0
    assert text_of(read_page(orch)).endswith(
        f"a.csv 90 kB · first 2 rows a b {'x' * 499}… 1 {'x' * 499}… 1"
    )


def test_all_tables_of_a_page_have_a_limit(project: Project, orch: Orch) -> None:
    columns = ", ".join(f"c{number}" for number in range(31))
    values = ", ".join(["printf('%.200c', 'x')"] * 31)
    load = f"""
        STAGE = "s"
        AFTER = ()
        def run(conn):
            for one in range(20):
                table = f"{{__name__.replace('.', '_')}}_{{one}}"
                conn.execute(f"create table {{table}} ({columns})")
                for _ in range(10):
                    conn.execute(f"insert into {{table}} values ({values})")
        """
    project({f"src/t{number}.py": load for number in range(5)} | {"orch.toml": ""})
    assert orch("run").code == 0
    page = read_page(orch)
    assert '<th scope="col">c29</th><th scope="col">…</th></tr>' in page
    assert 4_800_000 < len(page) < 5_100_000
    assert text_of(page).endswith(", table src_t4_8, table src_t4_9")


def test_a_blob_is_shown_as_its_size(project: Project, orch: Orch) -> None:
    load = """
        STAGE = "s"
        def run(conn):
            conn.execute("create table t (a, b)")
            conn.execute("insert into t values (?, 1.5)", (b"\\x00\\xff",))
        """
    project({"src/a.py": load, "orch.toml": ""})
    assert orch("run").code == 0
    assert text_of(read_page(orch)).endswith("table t 1 row a b (2 bytes) 1.5")


def test_what_a_child_process_wrote_is_a_result_from_the_first_run_on(
    project: Project, orch: Orch
) -> None:
    run = (
        "import subprocess\nSTAGE = 's'\ndef run(): subprocess.run(['sh', 'make.sh'], check=True)\n"
    )
    project({"src/a.py": run, "make.sh": "name=made; echo hello > $name.txt\n", "orch.toml": ""})
    assert orch("run").code == 0
    assert text_of(read_page(orch)).endswith("made.txt 6 bytes hello")


def test_a_page_has_the_files_of_its_own_run_alone(project: Project, orch: Orch) -> None:
    write = "def run(*, day: str): open(f'{day}.txt', 'w').write(day)"
    project({"src/a.py": f"STAGE = 's'\n{write}\n", "orch.toml": ""})
    for day in ("monday", "tuesday"):
        assert orch("run", "--day", day).code == 0
    assert (
        text_of(read_page(orch, "2")) == "Results 1 result of 1 tool a tuesday.txt 7 bytes tuesday"
    )
    assert text_of(read_page(orch, "1")) == "Results 1 result of 1 tool a monday.txt 6 bytes monday"


def test_what_was_rolled_back_or_failed_is_no_result(project: Project, orch: Orch) -> None:
    load = dedent(LOAD) + "    open('made.txt', 'w').write('made')\n"
    fail = """
        STAGE = "z"
        def run(conn):
            conn.execute("pragma foreign_keys = on")
            conn.execute("create table a (one integer primary key)")
            deferred = "references a deferrable initially deferred"
            conn.execute(f"create table b (word, one integer {deferred})")
            conn.execute("insert into b values ('half-done', 7)")
            open("half.txt", "w").write("half")
        """
    config = "stages = ['ingest', 'z']"
    root = project({"src/load.py": load, "src/z.py": fail, "orch.toml": config})
    assert orch("run", env={"ORCH_TRANSACTION": "run"}).code == 1
    assert read_page(orch) == ""
    answer = orch("run")  # the commit fails
    assert answer.code == 1
    assert "FOREIGN KEY" in answer.text
    text = text_of(read_page(orch))
    assert "table birds" in text
    assert "made.txt" in text
    assert "table b " not in text
    assert "half.txt" not in text
    assert "half-done" not in (root / ".orch/runs/2/events.jsonl").read_text()


def test_damaged_lines_and_memory_cost_results_and_nothing_else(
    project: Project, orch: Orch
) -> None:
    root = project({"src/draw.py": DRAW, "src/load.py": LOAD, "orch.toml": ""})
    assert orch("run").code == 0
    journal = root / ".orch/runs/1/events.jsonl"
    damaged = journal.read_text().replace('"tables":[', '"tables":[7,')
    journal.write_text(damaged)
    for path in Path(root, ".orch/tools").iterdir():
        path.write_text("damaged")
    assert read_page(orch) == ""

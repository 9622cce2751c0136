"""What child processes and native code use counts: the code that a child runs, the folders that they list, and the
files that a command looks for in vain. Seen through the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons
from tests.support.running import running

needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="what native code lists is seen on Linux only"
)


def tool(name: str, *lines: str) -> str:
    """A tool that writes what `text` is."""
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "import os, subprocess, sys\nSTAGE = 's'\nAFTER = ()\n"
        f"def run():\n{body}    open('out/{name}.txt', 'w').write(text)\n"
    )


def runs(*words: str, **more: str) -> str:
    """A line that runs a command; `more` are arguments of `check_output`, as source."""
    shown = ", ".join("sys.executable" if word == "python" else repr(word) for word in words)
    given = "".join(f", {name}={source}" for name, source in more.items())
    return f"text = subprocess.check_output([{shown}]{given}, text=True)"


def shell(command: str) -> str:
    return f"text = subprocess.check_output({command!r}, shell=True, text=True)"


def check_each(
    orch: Orch, root: Path, changes: Mapping[str, tuple[str, ...]], text: str = "X = 2\n"
) -> None:
    """Each of these files, added to, makes exactly these tools stale."""
    for path, tools in changes.items():
        file = root / path
        before = file.read_text() if file.exists() else None
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text((before or "") + text)
        found = reasons(orch)
        assert sorted(found) == sorted(tools), (path, found)
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert reasons(orch) == {}


CODE = {
    "orch.toml": 'packages = ["src/tools"]\npythonpath = ["src"]\n',
    "out/": "",
    "src/myproj/__init__.py": "",
    "src/myproj/helper.py": "from myproj import deep\nprint(deep.X)\n",
    "src/myproj/deep.py": "X = 1\n",
    "src/myproj/single.py": "X = 1\n",
    "src/myproj/unused.py": "X = 1\n",
    "scripts/plot.py": "import beside\nprint(beside.X)\n",
    "scripts/beside.py": "X = 1\n",
    "scripts/stage.one.py": "print(1)\n",
    "scripts/etl.sh": '# not scripts/beside.py\nset -e\n"$PYTHON" scripts/called.py \\\n  --all\n',
    "scripts/called.py": "print(1)\n",
    "scripts/all.py": (
        "import subprocess, sys\nprint(subprocess.check_output([sys.executable, 'scripts/step.py']))\n"
    ),
    "scripts/step.py": "print(1)\n",
    "app/__main__.py": "print(1)\n",
    "src/tools/one.py": tool("one", runs("python", "scripts/plot.py", "--fast")),
    "src/tools/two.py": tool(
        "two", runs("python", "-m", "myproj.helper", env="{**os.environ, 'PYTHONPATH': 'src'}")
    ),
    "src/tools/three.py": tool(
        "three", "os.environ['PYTHON'] = sys.executable", runs("bash", "scripts/etl.sh")
    ),
    "src/tools/four.py": tool("four", runs("python", "scripts/stage.one.py")),
    "src/tools/five.py": tool(
        "five", runs("python", "-c", "from myproj.single import X; print(X)", cwd="'src'")
    ),
    "src/tools/six.py": tool(
        "six",
        "os.system(f'cd app/.. && {sys.executable} app > out/six.tmp')",
        "text = open('out/six.tmp').read()",
    ),
    "src/tools/eight.py": tool(
        "eight", "open('out/made.py', 'w').write('print(1)')", runs("python", "out/made.py")
    ),
    "src/tools/seven.py": tool("seven", runs("python", "scripts/all.py")),
}


@needs_kernel_events
def test_project_code_that_a_child_process_runs_counts_with_all_that_it_imports(
    project: Project, orch: Orch
) -> None:
    root = project(CODE)
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    check_each(
        orch,
        root,
        {
            "scripts/plot.py": ("one",),
            "scripts/beside.py": ("one",),
            "src/myproj/helper.py": ("two",),
            "src/myproj/deep.py": ("two",),
            "scripts/etl.sh": ("three",),
            "scripts/called.py": ("three",),
            "scripts/stage.one.py": ("four",),
            "src/myproj/single.py": ("five",),
            "app/__main__.py": ("six",),
            "scripts/all.py": ("seven",),
            "scripts/step.py": ("seven",),
            "src/myproj/unused.py": (),
        },
    )
    check_each(orch, root, {"scripts/plot.py": ()}, "# a comment\n")
    # Of another size: the child trusts its bytecode by that.
    (root / "scripts/beside.py").write_text("X = 200\n")
    answer = orch("run", "--changed", "--json")
    assert ran(answer) == ["one"], answer.text
    assert (root / "out/one.txt").read_text() == "200\n"
    assert reasons(orch) == {}


DUCK = "import duckdb; text = str(duckdb.sql(\"select * from read_csv('{0}')\").fetchall())"
LISTED = {
    "orch.toml": 'packages = ["src"]\n',
    "out/": "",
    "1/a.csv": "x\n1\n",
    "2/a.csv": "x\n1\n",
    "3/a.csv": "x\n1\n",
    "4/": "",
    "5/": "",
    "6/2023/a.csv": "x\n1\n",
    "7/a.csv": "x\n1\n",
    "8/a.csv": "x\n1\n",
    "src/a.dat": "1\n",
    "top.tsv": "1\n",
    "src/one.py": tool("one", DUCK.format("1/*.csv")),
    "src/two.py": tool("two", shell("cat 2/*.csv")),
    "src/three.py": tool("three", "os.system('cd 3 && cat *.csv > ../out/3.tmp')", "text = ''"),
    "src/four.py": tool("four", shell("cat 4/*.csv 2> /dev/null || true")),
    "src/five.py": tool("five", shell("ls 5 | wc -l > out/count.txt")),
    "src/six.py": tool("six", DUCK.format("6/*/*.csv")),
    "src/seven.py": tool("seven", shell("cat 7/a.csv 7/more.csv config/own.ini 2> /dev/null || true")),
    "src/log.py": tool("log", shell("cat .orch/runs/*/events.jsonl .orch/runs/*/logs/*; ls -R .orch; tar cf - .orch | wc -c")),
    "src/eight.py": tool("eight", runs("python", "-c", "import glob; print([open(one).read() for one in glob.glob('8/*')])")),
    "src/nine.py": tool("nine", shell("cat src/*.dat *.tsv; mkdir -p out/made; ls out/made; rm -r out/made")),
}  # fmt: skip


@needs_kernel_events
def test_a_folder_that_native_code_or_a_child_lists_and_a_file_that_it_misses_count(
    project: Project, orch: Orch
) -> None:
    root = project({**LISTED, "config/": ""})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    check_each(
        orch,
        root,
        {
            "1/new.csv": ("one",),
            "2/new.csv": ("two",),
            "3/new.csv": ("three",),
            "4/new.csv": ("four",),
            "5/new.csv": ("five",),
            "6/2024": ("six",),
            "6/2023/new.csv": ("six",),
            "7/more.csv": ("seven",),
            "config/own.ini": ("seven",),
            "7/other.csv": (),
            "8/new.csv": ("eight",),
            "src/new.dat": ("nine",),
            "new.tsv": ("nine",),
            "src/new.py": (),
            "src/notes.txt": (),
            "notes.txt": (),
            "out/other.txt": (),
        },
    )
    (root / "1/new.csv").write_text("x\n2\n")
    assert reasons(orch) == {"one": ["1/new.csv now exists"]}
    answer = orch("run", "--changed", "--json")
    assert ran(answer) == ["one"], answer.text
    assert "2" in (root / "out/one.txt").read_text()
    assert reasons(orch) == {}


@needs_kernel_events
def test_what_another_worker_writes_at_the_same_time_is_not_what_a_tool_wrote(
    project: Project, orch: Orch
) -> None:
    """All three tools have the kernel's events, and each writes while the others run."""
    names = ("one", "two", "three")
    body = """
        import os, subprocess, sys, time
        STAGE = "s"
        AFTER = ()
        def meet(kind, run):
            open(f"../{kind}-{run}-NAME", "w").close()
            deadline = time.monotonic() + 60
            while not all(os.path.exists(f"../{kind}-{run}-{one}") for one in ALL):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        def run(*, number: int):
            subprocess.run([sys.executable, "-c", ""], check=True)
            meet("began", number)
            open("NAME.txt", "w").close()
            meet("wrote", number)
        """
    project(
        {
            "orch.toml": "jobs = 3\n",
            **{
                f"src/{one}.py": body.replace("NAME", one).replace("ALL", str(names))
                for one in names
            },
        }
    )
    for number in ("1", "2", "3"):
        assert orch("run", "--number", number).code == 0
        tools = orch("status", "--json", "--number", number).json["tools"]
        assert {tool["name"]: tool["state"] for tool in tools} == dict.fromkeys(names, "fresh")
    assert "by a library" not in orch("status", "one").out


@pytest.mark.slow
@needs_kernel_events
def test_what_either_of_two_workers_may_have_written_belongs_to_the_one_that_wrote_it_when_alone(
    project: Project, orch: Orch
) -> None:
    """Both have the kernel's events. Wherever they run side by side, `makes` writes while `other` runs."""
    wait = """
        import ctypes, numpy, os, time
        STAGE = "a"
        AFTER = ()
        def wait(name):
            if not os.path.exists("../side-by-side"): return
            deadline = time.monotonic() + 60
            while not os.access.__wrapped__(f"../{name}", os.F_OK):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        """
    other = """
        def run():
            open("../began", "w").close()
            wait("made")
            open("other.txt", "w").close()
        """
    makes = """
        def run():
            wait("began")
            libc, content = ctypes.CDLL(None), open("in.csv").read().encode()
            file = libc.open(b"made.dat", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            libc.write(file, content, len(content))
            libc.close(file)
            open("../made", "w").close()
        """
    root = project(
        {
            "orch.toml": 'jobs = 2\nstages = ["a", "b"]\n',
            "in.csv": "x = 1",
            "src/other.py": dedent(wait) + dedent(other),
            "src/makes.py": dedent(wait) + dedent(makes),
            "src/uses.py": "STAGE = 'b'\ndef run(): open('uses.txt', 'w').write(open('made.dat').read())\n",
        }
    )

    def run(*, is_side_by_side: bool) -> None:
        for name in ("began", "made", "side-by-side"):
            (root.parent / name).unlink(missing_ok=True)
        if is_side_by_side:
            (root.parent / "side-by-side").touch()
        answer = orch("run")
        assert answer.code == 0, answer.text
        assert ("one after another this time" in answer.text) == (not is_side_by_side)
        assert reasons(orch) == {}

    for is_side_by_side in (True, False, True, True):
        run(is_side_by_side=is_side_by_side)
    assert "made.dat" not in orch("status", "other").out
    assert "both write" not in orch("check").text
    made, before = root / "made.dat", (root / "made.dat").read_text()
    made.unlink()
    missing = ["made.dat is missing"]
    assert reasons(orch) == {"makes": missing, "uses": missing}
    made.write_text(before)
    for name in ("other", "makes"):  # what was known of either before it was edited helps the other
        change(root / f"src/{name}.py", "def run():", "def run(): # edited\n    x = 1")
        assert name in reasons(orch)
        run(is_side_by_side=True)
        assert "made.dat" not in orch("status", "other").out
    made.unlink()
    assert reasons(orch) == {"makes": missing, "uses": missing}
    change(root / "in.csv", "x = 1", "x = 2")
    assert {"makes", "uses"} <= {*reasons(orch)}


@needs_kernel_events
def test_what_another_worker_reads_at_the_same_time_is_no_input_of_a_tool_that_is_known(
    project: Project, orch: Orch
) -> None:
    """Of a tool that has always run beside others it is not known: what both may have read counts for both."""
    body = """
        import ctypes, numpy, os, time
        STAGE = "s"
        AFTER = ()
        def read(name):
            libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
            file = libc.open(name.encode(), 0)
            libc.read(file, buffer, 10)
            libc.close(file)
        def meet(kind):
            open(f"../{kind}-{os.environ['TURN']}-NAME", "w").close()
            deadline = time.monotonic() + 60
            while not all(os.path.exists(f"../{kind}-{os.environ['TURN']}-{one}") for one in ALL):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        def run():
            if "TURN" in os.environ: meet("began")
            open("NAME.csv").close()
            read("NAME.dat")
            read("both.dat")
            if "TURN" in os.environ: meet("read")
        """
    names = ("one", "two")
    root = project(
        {
            "orch.toml": "",
            "both.dat": "x",
            **{f"{one}.{end}": "x" for one in names for end in ("csv", "dat")},
            **{
                f"src/{one}.py": body.replace("NAME", one).replace("ALL", str(names))
                for one in names
            },
        }
    )
    how = {"env": {"TURN": "1"}}
    assert orch("run", "--jobs", "2", **how).code == 0
    for path, least in (("both.dat", {*names}), ("one.dat", {"one"}), ("two.csv", {"two"})):
        change(root / path, "x", "y")
        assert least <= {*reasons(orch, **how)}, path  # nothing is lost
        change(root / path, "y", "x")
    assert orch("run").code == 0  # one after the other
    for turn in ("2", "3"):
        how = {"env": {"TURN": turn}}
        assert orch("run", "--jobs", "2", **how).code == 0
        for path, tools in (("one.csv", ["one"]), ("two.dat", ["two"]), ("both.dat", [*names])):
            change(root / path, "x", "y")
            assert sorted(reasons(orch, **how)) == tools, (turn, path, reasons(orch, **how))
            change(root / path, "y", "x")


@needs_kernel_events
def test_a_new_file_that_a_known_tool_reads_beside_another_one_is_its_input(
    project: Project, orch: Orch
) -> None:
    """Only the kernel sees it, and the other tool ends first."""
    body = """
        import ctypes, numpy, os, time
        STAGE = "s"
        AFTER = ()
        def wait(name):
            deadline = time.monotonic() + 60
            while not os.access.__wrapped__(name, os.F_OK):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        def run():
            open("NAME.csv").close()
            if "TURN" in os.environ:
                TOGETHER
        """
    read = """libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
                file = libc.open(b"new.dat", 0)
                libc.read(file, buffer, 10)
                libc.close(file)
                open("../read", "w").close()
                wait("../ended")"""
    other = """open("../began", "w").close()
                wait("../read")"""
    root = project(
        {
            "orch.toml": "",
            **{f"{one}.csv": "x" for one in ("first", "reads")},
            "src/first.py": body.replace("NAME", "first").replace("TOGETHER", other),
            "src/reads.py": body.replace("NAME", "reads").replace("TOGETHER", read),
        }
    )
    assert orch("run").code == 0  # one after the other
    (root / "new.dat").write_text("x")
    how = {"env": {"TURN": "1"}}
    with running(root, "run", "--jobs", "2", "--json", **how["env"]) as run:
        run.wait_for('"tool_finished"')
        (root.parent / "ended").touch()
        assert run.wait() == 0, run.text
    change(root / "new.dat", "x", "y")
    assert "reads" in reasons(orch, **how)


@needs_kernel_events
def test_what_another_worker_writes_while_a_module_is_loaded_is_no_input_of_later_tools(
    project: Project, orch: Orch
) -> None:
    """`later` takes `conn`, which `loads` has opened after its module was loaded."""
    wait = """
        def wait(name):
            deadline = time.monotonic() + 60
            while not os.access.__wrapped__(name, os.F_OK):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        """
    project(
        {
            "orch.toml": 'jobs = 2\nstages = ["one", "two"]\n',
            "side.txt": "1",
            "src/loads.py": f"""
        import os, subprocess, sys, time
        STAGE = "one"
        AFTER = ()
        {wait}
        subprocess.run([sys.executable, "-c", ""], check=True)
        open("../follows", "w").close()
        wait("../wrote")
        def run(conn):
            conn.execute("SELECT 1").fetchall()
        """,
            "src/writes.py": f"""
        import os, subprocess, time
        STAGE = "one"
        AFTER = ()
        {wait}
        def run():
            wait("../follows")
            subprocess.run("cat side.txt; echo 2 >> side.txt", shell=True, check=True)
            open("../wrote", "w").close()
        """,
            "src/later.py": "STAGE = 'two'\ndef run(conn): conn.execute('SELECT 2').fetchall()\n",
        }
    )
    assert orch("run").code == 0
    tools = {tool["name"]: tool for tool in orch("status", "--json").json["tools"]}
    assert not any("side.txt" in one for one in tools["later"]["reasons"])


@needs_kernel_events
def test_a_file_that_only_the_kernel_saw_being_read_is_made_anew_before_it_is_read_again(
    project: Project, orch: Orch
) -> None:
    """A later tool has replaced it. The reader comes after its maker in no data flow."""
    root = project(
        {
            "orch.toml": 'stages = ["load", "show"]\n',
            "src/make.py": """
                from pathlib import Path
                STAGE = "load"
                def run():
                    Path("made.txt").write_text("made")
                """,
            "src/read.py": """
                import ctypes
                STAGE = "load"
                ORCH = {"outputs": []}
                def run():
                    libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(100)
                    fd = libc.open(b"made.txt", 0)
                    libc.read(fd, buffer, 100)
                    libc.close(fd)
                    print("read", buffer.value.decode())
                """,
            "src/replace.py": """
                from pathlib import Path
                STAGE = "show"
                ORCH = {"inputs": []}
                def run():
                    Path("made.txt").write_text("replaced")
                """,
        }
    )
    for begin in (
        lambda: orch("run", "read"),  # reads what a later tool has left
        lambda: change(root / "src/read.py", "print(", "print('again', "),
    ):
        assert orch("run").code == 0
        begin()
        assert "a stale tool needs made.txt as make made it" in reasons(orch)["make"]
        answer = orch("run", "--changed", "--json")
        assert ran(answer) == ["make", "read", "replace"], answer.text
        assert "read made" in answer.text.replace("again ", "")
        assert reasons(orch) == {}


SED = "subprocess.run(['sed', '-i', f's/$/{S}/', NAME], check=True)"
#: How a file is made, and how a later tool changes it. Of a child process only the kernel tells.
CHANGED_IN_PLACE = {
    "one": ("child", SED),
    "two": ("child", "text = open(NAME).read().strip(); open(NAME, 'w').write(text + S)"),
    "three": ("python", SED),
    "four": ("python", "subprocess.run(f'echo {S} >> {NAME}', shell=True, check=True)"),
}
MAKE_BY = {
    "child": "subprocess.run(f'echo {S} > {NAME}', shell=True, check=True)",
    "python": "open(NAME, 'w').write(S)",
}


@needs_kernel_events
def test_a_file_that_a_child_process_made_or_changed_is_rebuilt_from_its_first_writer(
    project: Project, orch: Orch
) -> None:
    def use(stage: str, name: str, sign: str, line: str) -> str:
        tag = "ORCH = {'inputs': []}"
        return f"import subprocess\nSTAGE = {stage!r}\n{tag}\nS, NAME = {sign!r}, '{name}.txt'\ndef run(): {line}\n"

    files = {"orch.toml": "stages = ['make', 'change']\n"}
    for name, (how, line) in CHANGED_IN_PLACE.items():
        files[f"src/make_{name}.py"] = use("make", name, "1", MAKE_BY[how])
        files[f"src/change_{name}.py"] = use("change", name, "!", line)
    root = project(files)
    assert orch("run").code == 0

    def check(sign: str) -> None:
        assert orch("run", "--changed").code == 0
        assert reasons(orch) == {}
        for name in CHANGED_IN_PLACE:
            assert (root / f"{name}.txt").read_text().split() in ([f"1{sign}"], ["1", sign]), name

    check("!")
    for name in CHANGED_IN_PLACE:
        change(root / f"src/change_{name}.py", "'!'", "'?'")
    check("?")
    assert orch("run", "change").code == 0
    stale = reasons(orch)
    assert {f"{verb}_{name}" for verb in ("make", "change") for name in CHANGED_IN_PLACE} == {
        *stale
    }
    check("?")


@needs_kernel_events
def test_a_log_that_child_processes_append_to_settles(project: Project, orch: Orch) -> None:
    log = "import subprocess\nSTAGE = '{0}'\nORCH = {{'inputs': []}}\ndef run(): {1}\n"
    child = "subprocess.run('echo x >> run.log', shell=True, check=True)"
    root = project(
        {
            "orch.toml": "stages = ['s', 't', 'u']\n",
            "src/a.py": log.format("s", child),
            "src/b.py": log.format("t", child),
            "src/c.py": log.format("u", "open('run.log', 'a').write('x')"),
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    change(root / "src/b.py", "echo x", "echo y")
    assert ran(orch("run", "--changed", "--json"))[:1] != ["a"]
    assert orch("run", "b").code == 0
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}

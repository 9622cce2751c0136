"""What processes that a tool starts read, run, list and look for belongs to the tool, and to no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Orch, Project
from tests.support.edits import GONE, expect_inputs, stale_after
from tests.support.marks import slow_but
from tests.support.programs import find_program
from tests.support.remembered import change, files_used, ran, reasons

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what child processes open is seen on Linux only"
)


Files = Mapping[str, str | bytes]

# ---- code that a child process runs ----

POOL = """
    import multiprocessing
    STAGE = "s"
    def square(x):
        from src.models.x import factor
        return x * factor()
    def run():
        with multiprocessing.get_context("METHOD").Pool(2) as pool:
            numbers = pool.map(square, [1, 2, 3])
        with open("out.txt", "w") as file:
            file.write(repr(numbers))
    """


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_module_that_the_processes_of_a_pool_import_is_code_of_the_tool(
    project: Project, orch: Orch, method: str
) -> None:
    root = project(
        {
            "src/train.py": dedent(POOL).replace("METHOD", method),
            "src/models/x.py": "def factor():\n    return 2\n",
            "src/models/y.py": "def factor():\n    return 3\n",
        }
    )
    expect_inputs(
        orch,
        root,
        "train",
        {"src/models/x.py": "def factor():\n    return 2000\n"},
        {
            "src/models/x.py": "# twice as much\ndef factor():\n    return 2\n",
            "src/models/y.py": "def factor():\n    return 4000\n",
        },
    )
    (root / "src/models/x.py").write_text("def factor():\n    return 2000\n")
    assert ran(orch("run", "--changed", "--json")) == ["train"]
    assert (root / "out.txt").read_text() == "[2000, 4000, 6000]"
    assert reasons(orch) == {}


WAYS = {
    "a script": ("[sys.executable, 'steps/step.py']", {}),
    "a module": ("[sys.executable, '-m', 'steps.step']", {}),
    "bytecode elsewhere": ("[sys.executable, 'steps/step.py']", {"PYTHONPYCACHEPREFIX": "../bytecode"}),
    "no bytecode": ("[sys.executable, 'steps/step.py']", {"PYTHONDONTWRITEBYTECODE": "1"}),
    "a shell": ("['sh', '-c', f'cd steps && exec {sys.executable} step.py']", {}),
    "make": ("['make', '-s', f'PYTHON={sys.executable}']", {}),
}  # fmt: skip


@pytest.mark.parametrize("way", slow_but(["a script", "make"], WAYS))
def test_what_a_child_that_runs_python_imports_is_code_of_the_tool(
    project: Project, orch: Orch, way: str
) -> None:
    command, variables = WAYS[way]
    if way == "make":
        find_program("make")
    root = project(
        {
            "Makefile": "all:\n\t$(PYTHON) steps/step.py\n",
            "src/calls.py": f"""
                import os, subprocess, sys
                STAGE = "s"
                def run():
                    env = {{**os.environ, "PYTHONPATH": os.getcwd(), **{variables}}}
                    text = subprocess.check_output({command}, env=env, text=True)
                    with open("out.txt", "w") as file:
                        file.write(text)
                """,
            "steps/__init__.py": "",
            "steps/step.py": "import sys\nfrom steps.lib import VALUE\nprint(VALUE)\n",
            "steps/lib.py": "VALUE = 1\n",
            "steps/unused.py": "VALUE = 1\n",
        }
    )
    expect_inputs(
        orch,
        root,
        "calls",
        {
            "steps/lib.py": "VALUE = 1000\n",
            "steps/step.py": "from steps.lib import VALUE\nprint(VALUE, VALUE)\n",
        },
        {
            "steps/lib.py": "VALUE = 1  # one\n",
            "steps/unused.py": "VALUE = 1000\n",
            **({} if way == "make" else {"notes.txt": "a new file in the root"}),  # make lists it
        },
    )
    (root / "steps/lib.py").write_text("VALUE = 1000\n")
    assert ran(orch("run", "--changed", "--json")) == ["calls"]
    assert (root / "out.txt").read_text() == "1000\n"


def test_a_module_from_a_zip_file_that_a_child_imports_is_an_input(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/calls.py": """
                import os, subprocess, sys
                STAGE = "s"
                def run():
                    env = {**os.environ, "PYTHONPATH": "lib.zip"}
                    text = subprocess.check_output([sys.executable, "-c", "import zipped; print(zipped.VALUE)"], env=env, text=True)
                    with open("out.txt", "w") as file:
                        file.write(text)
                """
        }
    )

    def pack(value: int) -> bytes:
        with zipfile.ZipFile(root / "packed", "w") as archive:
            archive.writestr("zipped.py", f"VALUE = {value}\n")
        content = (root / "packed").read_bytes()
        (root / "packed").unlink()
        return content

    (root / "lib.zip").write_bytes(pack(1))
    expect_inputs(
        orch, root, "calls", {"lib.zip": pack(2), "zipped.py": "VALUE = 3\n"}, {"notes.md": ""}
    )


def test_source_that_a_child_reads_as_text_counts_with_its_comments(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/count.py": """
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run("wc -l lib/*.py > lines.txt", shell=True, check=True)
                """,
            "lib/q.py": "X = 1\n",
        }
    )
    expect_inputs(
        orch, root, "count", {"lib/q.py": "# one\nX = 1\n", "lib/r.py": "# another\n"}, {}
    )


NOTEBOOK = """{
 "cells": [
  {"cell_type": "code", "execution_count": null, "id": "one", "metadata": {"tags": ["parameters"]}, "outputs": [],
   "source": ["import os, sys\\n", "sys.path.insert(0, os.getcwd())\\n", "from lib.q import v\\n", "print(v)"]}
 ],
 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
 "nbformat": 4, "nbformat_minor": 5
}
"""
#: The kernel is killed: one that takes more than 2.5 s to end, as the first one of a new environment may, makes
#: jupyter_client raise CancelledError on Python 3.11.
RUN_NOTEBOOK = {
    "papermill": """
        import papermill
        STAGE = "s"
        def run():
            how = {"progress_bar": False, "log_output": False, "shutdown_kernel": "immediate"}
            papermill.execute_notebook("report.ipynb", "out/report.ipynb", **how)
        """,
    "nbclient": """
        import nbclient, nbformat
        STAGE = "s"
        def run():
            book = nbformat.read("report.ipynb", as_version=4)
            how = {"resources": {"metadata": {"path": "."}}, "shutdown_kernel": "immediate"}
            nbclient.NotebookClient(book, **how).execute()
            with open("out/report.txt", "w") as file:
                file.write(book.cells[0].outputs[0].text)
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize("library", RUN_NOTEBOOK)
def test_what_a_notebook_imports_and_reads_is_the_tools_and_a_new_file_in_the_root_is_nobodys(
    project: Project, orch: Orch, library: str
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    root = project(
        {
            "report.ipynb": NOTEBOOK,
            "lib/q.py": "v = 1\n",
            "out/": "",
            "src/report.py": RUN_NOTEBOOK[library],
        }
    )
    expect_inputs(
        orch,
        root,
        "report",
        {"lib/q.py": "v = 1000\n", "report.ipynb": NOTEBOOK.replace("print(v)", "print(v, v)")},
        {"lib/q.py": "v = 1  # one\n", "NOTES.md": "a new file", "data/new.csv": "x"},
    )


def test_where_python_looks_for_modules_only_modules_count(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/main.py": """
                import importlib, pkgutil
                from src import plugins
                STAGE = "s"
                def run():
                    names = [one.name for one in pkgutil.iter_modules(plugins.__path__)]
                    found = [one.name for one in pkgutil.iter_modules(["."])]
                    values = [importlib.import_module(f"src.plugins.{name}").VALUE for name in names]
                    with open("out.txt", "w") as file:
                        file.write(repr(values))
                """,
            "src/plugins/__init__.py": "",
            "src/plugins/one.py": "VALUE = 1\n",
        }
    )
    expect_inputs(
        orch,
        root,
        "main",
        {
            "src/plugins/one.py": "VALUE = 1000\n",
            "src/plugins/two.py": "VALUE = 2\n",
            "src/plugins/three/__init__.py": "VALUE = 3\n",
        },
        {"NOTES.md": "a new file in the root", "src/plugins/README.md": "about plugins"},
    )


# ---- what a child process reads, lists and looks for ----

#: The script, the files before it, edits of inputs and of other files.
SHELL: dict[str, tuple[str, Files, Files, Files]] = {
    "a pipe": ("cat a.csv | sort > b.csv", {"a.csv": "2\n1\n"}, {"a.csv": "3\n"}, {"c.csv": ""}),
    "a question": ("if [ -f opt ]; then cat opt; fi > b.csv", {}, {"opt": "1\n"}, {"other": ""}),
    "a glob": ("cat in/*.csv > b.csv", {"in/a.csv": "1\n"}, {"in/b.csv": "2\n", "in/a.csv": GONE}, {"out/c.csv": ""}),
    "a folder that it changes to": ("cd in && cat a.csv > ../b.csv", {"in/a.csv": "1\n"}, {"in/a.csv": "2\n"}, {"a.csv": ""}),
    "spaces": ("cat 'in put/a b.csv' > b.csv", {"in put/a b.csv": "1\n"}, {"in put/a b.csv": "2\n"}, {}),
    "a line break": ("cat in/a*v > b.txt", {"in/a\nb.csv": "1\n"}, {"in/a\nb.csv": "2\n"}, {}),
    "a temporary file": ("file=$(mktemp) && cat a.csv > $file && cat $file > b.csv && rm $file", {"a.csv": "1\n"}, {"a.csv": "2\n"}, {}),
    "a file of its own": ("cat a.csv > mid.tmp && cat mid.tmp > b.csv", {"a.csv": "1\n"}, {"a.csv": "2\n"}, {}),
    "a child that goes on": ("(cat a.csv > b.csv) & wait", {"a.csv": "1\n"}, {"a.csv": "2\n"}, {}),
    "a child of a child": ("sh -c 'sh -c \"cat a.csv > b.csv\"'", {"a.csv": "1\n"}, {"a.csv": "2\n"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("way", slow_but(["a pipe", "a question", "a temporary file"], SHELL))
def test_what_a_shell_reads_lists_and_asks_for_is_an_input(
    project: Project, orch: Orch, way: str
) -> None:
    script, files, inputs, others = SHELL[way]
    root = project(
        {
            **files,
            "src/calls.py": f"""
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run({script!r}, shell=True, check=True)
                """,
        }
    )
    expect_inputs(orch, root, "calls", inputs, {"notes.md": "a new file", **others})


def test_a_file_whose_name_is_no_text_is_an_input(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/calls.py": r"""
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run(b"cat caf\xe9.csv > b.csv", shell=True, check=True)
                """
        }
    )
    path = root / os.fsdecode(b"caf\xe9.csv")
    path.write_text("1")
    for _ in range(2):
        assert orch("run").code == 0
        assert reasons(orch) == {}
        (sentence,) = stale_after(orch, path, "2")["calls"]
        assert sentence.startswith("caf")
        assert reasons(orch) == {}


CHILDREN = {
    "fork": """
        pid = os.fork()
        if pid == 0:
            write(open("a.csv").read())
            os._exit(0)
        os.waitpid(pid, 0)
        """,
    "a fork that reads by itself": """
        pid = os.fork()
        if pid == 0:
            fd = os.open("a.csv", os.O_RDONLY)
            write(os.read(fd, 100).decode())
            os._exit(0)
        os.waitpid(pid, 0)
        """,
    "no descriptors": """
        write(subprocess.check_output(["cat", "a.csv"], close_fds=True, text=True))
        """,
    "all descriptors closed": """
        os.closerange(3, 1024)
        write(subprocess.check_output(["cat", "a.csv"], text=True))
        """,
    "posix_spawn": """
        pid = os.posix_spawnp("sh", ["sh", "-c", "cat a.csv > b.csv"], os.environ)
        os.waitpid(pid, 0)
        """,
    "a thread": """
        thread = threading.Thread(target=lambda: os.system("cat a.csv > b.csv"))
        thread.start()
        thread.join()
        """,
    "a session of its own": """
        write(subprocess.check_output(["setsid", "-w", "cat", "a.csv"], text=True))
        """,
    "another folder": """
        os.chdir("in")
        subprocess.run("cat ../a.csv > ../b.csv", shell=True, check=True)
        """,
    "another folder for the child": """
        subprocess.run("cat ../a.csv > ../b.csv", shell=True, check=True, cwd="in")
        """,
}


@pytest.mark.parametrize(
    "way", slow_but(["a fork that reads by itself", "all descriptors closed"], CHILDREN)
)
def test_what_a_child_reads_is_an_input_however_it_was_started(
    project: Project, orch: Orch, way: str
) -> None:
    head = """\
import os, subprocess, threading
STAGE = "s"
def write(text):
    with open("b.csv", "w") as file:
        file.write(text)
def run():
"""
    body = "\n".join(f"    {line}" for line in dedent(CHILDREN[way]).strip().splitlines())
    root = project({"a.csv": "1", "in/": "", "src/calls.py": f"{head}{body}\n"})
    if way == "all descriptors closed":  # such a tool may fail, as the worker speaks by one of them
        answer = orch("run")
        if answer.code:
            assert "Traceback" not in answer.err, answer.text
            assert answer.code == 1, answer.text
            return
    expect_inputs(orch, root, "calls", {"a.csv": "2"}, {"notes.md": "a new file"})


@pytest.mark.parametrize(
    "question", ["os.path.exists('opt')", "Path('opt').is_file()", "os.access('opt', os.R_OK)"]
)
def test_what_a_forked_child_asks_for_is_an_input(
    project: Project, orch: Orch, question: str
) -> None:
    root = project(
        {
            "src/calls.py": f"""
                import os
                from pathlib import Path
                STAGE = "s"
                def run():
                    if (pid := os.fork()) == 0:
                        with open("b.csv", "w") as file:
                            file.write(str({question}))
                        os._exit(0)
                    os.waitpid(pid, 0)
                """
        }
    )
    expect_inputs(orch, root, "calls", {"opt": "1"}, {"notes.md": "a new file"})


def test_what_a_process_does_that_outlives_its_tool_counts_for_the_tool_that_runs_then(
    project: Project, orch: Orch
) -> None:
    """A pool of processes works for the next tool too. The second tool waits until the child of the first one has
    read."""
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "late.csv": "1",
            "pipe/": "",
            "src/leaves.py": """
                import subprocess
                STAGE = "one"
                def run():
                    subprocess.Popen(["sh", "-c", "read line < pipe/go; cat late.csv > /dev/null; echo done > pipe/done; sleep 60"])
                """,
            "src/waits.py": """
                STAGE = "two"
                def run():
                    with open("pipe/go", "w") as file:
                        file.write("go\\n")
                    with open("pipe/done") as file:
                        file.read()
                """,
        }
    )
    for name in ("go", "done"):
        os.mkfifo(root / "pipe" / name)
    assert orch("run").code == 0
    assert "waits" in stale_after(orch, root / "late.csv", "2")


def test_a_nested_run_in_a_tool_is_right_within_and_without(project: Project, orch: Orch) -> None:
    """The inner one is not traced, so its tool declares what its child reads."""
    root = project(
        {
            "a.csv": "1",
            "inner/b.csv": "1",
            "inner/orch.toml": "",
            "inner/src/inside.py": """
                import subprocess
                STAGE = "s"
                ORCH = {"inputs": "b.csv", "outputs": "c.csv"}
                def run():
                    subprocess.run("cat b.csv > c.csv", shell=True, check=True)
                """,
            "src/outside.py": """
                import subprocess, sys
                STAGE = "s"
                def run():
                    subprocess.run([sys.executable, "-m", "discover_orch", "-C", "inner", "run"], check=True)
                    subprocess.run("cat a.csv inner/c.csv > d.csv", shell=True, check=True)
                """,
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    for path in ("a.csv", "inner/b.csv"):
        assert "outside" in stale_after(orch, root / path, "2"), path
    (root / "inner/b.csv").write_text("2")
    inside = orch("status", "--json", "-C", "inner").json["tools"][0]
    assert inside["state"] == "stale", inside
    assert ran(orch("run", "--changed", "--json")) == ["outside"]
    assert (root / "d.csv").read_text() == "12"
    assert reasons(orch) == {}


# ---- programs of C ----

COMPILE = """
    import subprocess
    STAGE = "build"
    def run():
        subprocess.run(["gcc", "-c", "main.c", "-o", "main.o"], check=True)
        subprocess.run(["gcc", "main.o", "-o", "program"], check=True)
    """
MAIN_C = '#include <stdio.h>\n#include "lib.h"\nint main(void) { printf("%d", VALUE); return 0; }\n'


def test_a_file_that_one_child_makes_for_the_next_is_no_input(project: Project, orch: Orch) -> None:
    find_program("gcc")
    root = project(
        {
            "main.c": MAIN_C,
            "lib.h": "#define VALUE 1\n",
            "other.h": "",
            "src/build.py": COMPILE,
        }
    )
    expect_inputs(
        orch,
        root,
        "build",
        {"main.c": MAIN_C.replace("%d", "%d!"), "lib.h": "#define VALUE 2\n"},
        {"other.h": "#define VALUE 3\n", "notes.md": "a new file"},
    )
    (tool,) = orch("status", "--json").json["tools"]
    assert not {"main.o", "program"} & {*files_used(tool, "reads")}, tool
    change(root / "lib.h", "1", "2")
    assert ran(orch("run", "--changed", "--json")) == ["build"]
    assert ran(orch("run", "--changed", "--json")) == []
    assert subprocess.check_output([root / "program"]) == b"2"


READER_C = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void copy(int from) {
    char text[100];
    int to = open("copy.txt", O_CREAT | O_WRONLY | O_TRUNC, 0644);
    long count = from < 0 ? 0 : read(from, text, sizeof text);
    if (write(to, text, count) < count) _exit(9);
    close(to);
}

static char *long_path(int count) {
    static char path[10000] = "in/";
    while (count--) strcat(path, "./");
    return strcat(path, "a.csv");
}

int main(int count, char **words) {
    int folder = open("in", O_RDONLY | O_DIRECTORY);
    (void)count;
    setpgid(0, 0);
    signal(SIGUSR1, words[1][0] == 'k' ? SIG_IGN : SIG_DFL);
    switch (words[1][0]) {
    case 'o': copy(syscall(SYS_openat, AT_FDCWD, "in/a.csv", O_RDONLY)); break;
    case 'd': copy(openat(folder, "a.csv", O_RDONLY)); break;
    case 'u': copy(openat(folder, "../in/./a.csv", O_RDONLY)); break;
    case 'c': if (fchdir(folder) == 0) { int file = open("a.csv", O_RDONLY); if (chdir("..") == 0) copy(file); } break;
    case 'f': if (fork() == 0) { copy(open("in/a.csv", O_RDONLY)); _exit(0); } wait(0); break;
    case 'v': if (vfork() == 0) { execlp("sh", "sh", "-c", "cat in/a.csv > copy.txt", (char *)0); _exit(1); } wait(0); break;
    case 'p': open((char *)8, O_RDONLY); copy(open("in/a.csv", O_RDONLY)); break;
    case 'l': copy(open(long_path(2000), O_RDONLY)); break;
    case 't': open(long_path(3000), O_RDONLY); copy(open("in/a.csv", O_RDONLY)); break;
    case 'k': if (fork() == 0) { signal(SIGUSR1, SIG_DFL); while (1) close(open("in/b.csv", O_RDONLY)); } usleep(20000); kill(0, SIGUSR1); wait(0); copy(open("in/a.csv", O_RDONLY)); break;
    case 'm': copy(open("in/missing.csv", O_RDONLY)); break;
    }
    return 0;
}
"""
C_WAYS = {
    "open": "o",
    "a folder's descriptor": "d",
    "a way around": "u",
    "another folder": "c",
    "a fork": "f",
    "a vfork": "v",
    "a path in no memory": "p",
    "a path of 4,000 characters": "l",
    "a path that is too long": "t",
    "a child that is killed while it opens files": "k",
}


@pytest.fixture(scope="session")
def reader_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same program with shared libraries and without."""
    find_program("gcc")
    folder = tmp_path_factory.mktemp("programs")
    (folder / "reader.c").write_text(READER_C)
    for name, *flags in (("dynamic",), ("static", "-static")):
        subprocess.run(["gcc", "-w", *flags, folder / "reader.c", "-o", folder / name], check=True)
    return folder


@pytest.mark.parametrize("kind", slow_but(["static"], ["dynamic", "static"]))
@pytest.mark.parametrize(
    "way", slow_but(["open", "a folder's descriptor", "a path in no memory"], C_WAYS)
)
def test_what_a_program_of_c_reads_is_an_input(
    project: Project, orch: Orch, reader_programs: Path, way: str, kind: str
) -> None:
    root = project(
        {
            "in/a.csv": "1",
            "src/calls.py": f"""
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run(["rm", "-f", "copy.txt"], check=True)
                    subprocess.run(["bin/reader", {C_WAYS[way]!r}], check=True)
                """,
        }
    )
    (root / "bin").mkdir()
    program = shutil.copy(reader_programs / kind, root / "bin/reader")
    expect_inputs(
        orch,
        root,
        "calls",
        {
            "in/a.csv": "2",
            "bin/reader": Path(program).read_bytes() + b"\0",
        },
        {"in/c.csv": "", "notes.md": "a new file"},
    )


def test_a_file_that_a_program_of_c_does_not_find_is_an_input(
    project: Project, orch: Orch, reader_programs: Path
) -> None:
    root = project(
        {
            "in/": "",
            "src/calls.py": """
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run(["bin/reader", "m"], check=True)
                """,
        }
    )
    (root / "bin").mkdir()
    shutil.copy(reader_programs / "static", root / "bin/reader")
    expect_inputs(orch, root, "calls", {"in/missing.csv": "2"}, {"in/b.csv": "", "notes.md": ""})

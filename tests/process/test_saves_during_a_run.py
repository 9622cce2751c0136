"""What a user saves while a tool runs is never lost, though the kernel does not say who wrote: the tool that used the
file is stale, and the next run has the new content.

Each tool waits until the file that it uses was saved. All write what they have read to `out/`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import in_place, renamed, vim
from tests.support.marks import slow_but
from tests.support.remembered import reasons
from tests.support.running import running, wait_until
from tests.support.watching import watching

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="what native code writes is seen on Linux only"
    ),
]

TOP = """\
import ctypes, os, subprocess, time
STAGE = "s"
NAME = "{name}"
{top}
def wait():
    open(f"../begun-{{NAME}}", "w").close()
    while not os.path.exists(f"../go-{{NAME}}"): time.sleep(0.005)
def run():
{body}
    with open(f"out/{{NAME}}.txt", "w") as file: file.write(text)
"""
WAIT = "touch ../begun-$NAME; while ! test -e ../go-$NAME; do sleep 0.01; done"
NATIVELY = """\
libc = ctypes.CDLL(None)
buffer, file = ctypes.create_string_buffer(100), libc.open(f"{{NAME}}.csv".encode(), 0)
{0}
text = buffer.value.decode()
"""
READ, CLOSE = "libc.read(file, buffer, 100)", "libc.close(file)"


def shell(command: str) -> str:
    return f"text = subprocess.check_output({command!r}, shell=True, text=True, env=os.environ | {{'NAME': NAME}})"


#: How a tool reads `NAME.csv` before and while it is saved: what is at the top of the module, and the body of `run`.
READERS = {
    "library": ("import numpy", "text = open(f'{NAME}.csv').read()\nwait()"),
    "child": ("", "subprocess.run(['true'])\ntext = open(f'{NAME}.csv').read()\nwait()"),
    "late": ("", "text = open(f'{NAME}.csv').read()\nwait()\nsubprocess.run(['true'])"),
    "native": ("import numpy", NATIVELY.format(f"{READ}; {CLOSE}; wait()")),
    "open": ("import numpy", NATIVELY.format(f"{READ}; wait(); {CLOSE}")),
    "named": ("", shell(f"cat named.csv; {WAIT}")),
    "held": ("", shell(f"exec 3< held.csv; cat <&3; {WAIT}; exec 3<&-")),
    "declared": (
        "import numpy\nORCH = {'inputs': 'declared.csv'}",
        NATIVELY.format(f"{READ}; {CLOSE}; wait()"),
    ),
}


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def check_out(path: Path, text: str) -> None:
    """As `git checkout` of another branch does it."""
    git = ("git", "-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main")

    def run(*words: str) -> None:
        subprocess.run((*git, *words), cwd=path.parent, check=True, capture_output=True)

    if not (path.parent / ".git").exists():
        run("init")
    run("add", "-f", path.name)
    run("commit", "--allow-empty", "-m", "old")
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text)
    blob = subprocess.check_output(
        (*git, "hash-object", "-w", beside.name), cwd=path.parent, text=True
    )
    beside.unlink()
    run("update-index", "--cacheinfo", f"100644,{blob.strip()},{path.name}")
    run("commit", "-m", "new")
    run("checkout", "-f", "HEAD", "--", path.name)


SAVES = {"overwritten": in_place, "appended": append, "renamed": renamed, "vim": vim, "git": check_out}  # fmt: skip
Save = Callable[[Path, str], None]


def tool(name: str, top: str, body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return TOP.format(name=name, top=top, body=lines)


def run_with_saves(root: Path, saves: Mapping[str, Callable[[], None]], *words: str) -> None:
    """Run all tools; while each runs, what is saved for it."""
    for path in root.parent.glob("*-*"):
        path.unlink()
    with running(root, "run", *words) as orch:
        for name, act in saves.items():
            wait_until(
                (root.parent / f"begun-{name}").exists, f"the beginning of {name}\n{orch.text}"
            )
            act()
            (root.parent / f"go-{name}").touch()
        assert orch.wait() == 0, orch.text


def run_all(orch: Orch, root: Path, names: Mapping[str, object], *words: str) -> None:
    for name in names:
        (root.parent / f"go-{name}").touch()
    answer = orch("run", *words)
    assert answer.code == 0, answer.text


@pytest.mark.parametrize("how", slow_but(["overwritten"], SAVES))
def test_a_file_that_is_saved_while_its_reader_runs_makes_the_reader_stale(
    project: Project, orch: Orch, how: str
) -> None:
    names = dict.fromkeys(sorted(READERS))
    root = project(
        {
            "orch.toml": "",
            "out/": "",
            **{f"{name}.csv": "old" for name in names},
            **{f"src/{name}.py": tool(name, *READERS[name]) for name in names},
        }
    )

    def saving(text: str) -> dict[str, Callable[[], None]]:
        return {name: partial(SAVES[how], root / f"{name}.csv", text) for name in names}

    run_all(orch, root, names)
    assert reasons(orch) == {}
    for text in ("new", "newer"):  # the second save in a row is not lost either
        run_with_saves(root, saving(text))
        stale = reasons(orch)
        assert {*stale} == {*names}
        for name, sentences in stale.items():
            assert any(f"{name}.csv" in one for one in sentences), stale
    run_all(orch, root, names, "--changed")
    for name in names:
        assert (root / f"out/{name}.txt").read_text() == (root / f"{name}.csv").read_text(), name
    assert reasons(orch) == {}


@pytest.mark.parametrize("pauses", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_saves_during_the_first_run_and_a_later_one_are_no_outputs(
    project: Project, orch: Orch, pauses: int
) -> None:
    """Neither of the tool that Python saw reading the file nor, after quiet runs, of one that never uses it."""
    files = {
        "orch.toml": "",
        "out/": "",
        "library.csv": "old",
        "src/library.py": tool("library", *READERS["library"]),
        "src/other.py": tool("other", "import numpy", "text = ''\nwait()"),
    }
    root, names = project(files), dict.fromkeys(("library", "other"))
    for who in ("library", "other") if pauses else ("library",):
        for text in ("new", "newer"):
            target = root / "library.csv"
            saves = {one: partial(in_place, root / "idle.csv", text) for one in names}
            run_with_saves(root, saves | {who: partial(in_place, target, f"{text} {who}")})
            assert "library" in reasons(orch)
            for _ in range(pauses):
                run_all(orch, root, names)
                assert reasons(orch) == {}
    assert "other" not in (root / "out/library.txt").read_text() or pauses
    run_all(orch, root, names, "--changed")
    assert (root / "out/library.txt").read_text() == (root / "library.csv").read_text()
    assert reasons(orch) == {}


LISTERS = {
    "python": ("import numpy", "text = str(sorted(os.listdir('python')))\nwait()"),
    "plain": ("", "text = str(sorted(os.listdir('plain')))\nwait()"),
    "child": ("", shell(f"cat child/a.csv; ls child; {WAIT}")),
    "globs": ("", shell(f"cat globs/*.csv; {WAIT}")),
    "declares": ("import numpy\nORCH = {'inputs': 'declares/*.csv'}", "text = ''\nwait()"),
}


def test_a_file_that_comes_into_a_listed_folder_makes_who_listed_it_stale(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "out/": "",
            **{f"{name}/a.csv": "a" for name in LISTERS},
            **{f"src/{name}.py": tool(name, *LISTERS[name]) for name in LISTERS},
        }
    )
    run_all(orch, root, LISTERS)
    assert reasons(orch) == {}
    comes = {name: partial(in_place, root / f"{name}/b.csv", "b") for name in sorted(LISTERS)}
    run_with_saves(root, comes)
    for name, sentences in reasons(orch).items():
        assert any(f"{name}/b.csv" in one for one in sentences), sentences
    assert {*reasons(orch)} == {*LISTERS}
    run_all(orch, root, LISTERS, "--changed")
    assert reasons(orch) == {}
    for name in ("python", "plain", "child"):
        assert "b.csv" in (root / f"out/{name}.txt").read_text(), name


def later(name: str, body: str) -> str:
    return tool(name, "import numpy", body).replace('STAGE = "s"', 'STAGE = "t"')


@pytest.mark.parametrize("how", slow_but(["overwritten"], ["overwritten", "renamed"]))
def test_a_file_that_is_saved_while_a_later_tool_runs_makes_its_reader_stale(
    project: Project, orch: Orch, how: str
) -> None:
    """The later tool uses the file not at all, or it has a child that names it."""
    names = dict.fromkeys(("uses", "nothing", "reads"))
    root = project(
        {
            "orch.toml": "stages = ['s', 't']\n",
            "out/": "",
            "in.csv": "old",
            "src/uses.py": tool("uses", "", "text = open('in.csv').read()\nwait()"),
            "src/nothing.py": later("nothing", "wait()\ntext = ''"),
            "src/reads.py": later("reads", shell(f"cat in.csv; {WAIT}; cat in.csv > /dev/null")),
        }
    )
    run_all(orch, root, names)
    assert reasons(orch) == {}
    nothing: dict[str, Callable[[], None]] = {name: lambda: None for name in names}
    for text, late in (("1", "nothing"), ("2", "nothing"), ("3", "reads"), ("4", "reads")):
        saves: dict[str, Callable[[], None]] = {
            **nothing,
            late: partial(SAVES[how], root / "in.csv", text),
        }
        run_with_saves(root, {name: saves[name] for name in ("uses", "nothing", "reads")})
        assert any("in.csv" in one for one in reasons(orch)["uses"]), (text, reasons(orch))
    run_all(orch, root, names, "--changed")
    assert (root / "out/uses.txt").read_text() == "4"
    assert reasons(orch) == {}


def test_an_undo_during_the_run_is_a_change(project: Project, orch: Orch) -> None:
    """The file is as at the last success, and was another one when the tool began."""
    root = project(
        {"orch.toml": "", "out/": "", "plain.csv": "old", "src/plain.py": tool("plain", "", "text = open('plain.csv').read()\nwait()")}
    )  # fmt: skip
    run_all(orch, root, {"plain": None})
    (root / "plain.csv").write_text("new")
    run_with_saves(root, {"plain": lambda: in_place(root / "plain.csv", "old")})
    assert (root / "out/plain.txt").read_text() == "new"
    assert reasons(orch) == {"plain": ["plain.csv changed while the tool ran"]}


def test_an_output_that_is_edited_during_a_run_is_copied_before_its_tool_runs_again(
    project: Project, orch: Orch
) -> None:
    names = dict.fromkeys(("a", "b", "c", "d"))
    root = project(
        {"orch.toml": "", "out/": "", **{f"src/{one}.py": tool(one, "", "wait()\ntext = 'made'") for one in names}}
    )  # fmt: skip
    run_all(orch, root, names)
    nothing: dict[str, Callable[[], None]] = {name: lambda: None for name in names}
    run_with_saves(root, nothing | {"a": lambda: in_place(root / "out/d.txt", "mine")})
    assert (root / "out/d.txt").read_text() == "made"
    assert (root / ".orch/edited/2/out/d.txt").read_text() == "mine"


def test_what_is_touched_during_a_run_and_stays_as_it_was_is_no_change(
    project: Project, orch: Orch
) -> None:
    body = (
        "text = open('in.csv').read()\nif os.path.exists('again'): os.link('in.csv', 'out/in.csv')"
    )
    root = project({"orch.toml": "", "out/": "", "in.csv": "", "src/a.py": tool("a", "", body)})
    run_all(orch, root, {})
    (root / "again").touch()
    run_all(orch, root, {})
    assert reasons(orch) == {}


@pytest.mark.parametrize("kind", ["library", "child", "declared"])
def test_each_save_under_watch_is_run(project: Project, kind: str) -> None:
    root = project(
        {
            "orch.toml": "",
            "out/": "",
            f"{kind}.csv": "0",
            f"src/{kind}.py": tool(kind, *READERS[kind]),
        }
    )
    begun, go = root.parent / f"begun-{kind}", root.parent / f"go-{kind}"

    def let_run(text: str) -> None:
        wait_until(begun.exists, "the beginning")
        begun.unlink()
        if text:
            in_place(root / f"{kind}.csv", text)
        go.touch()
        watch.next_run(then_idle=False)
        go.unlink()

    with watching(root, waits=False) as watch:
        let_run("")
        in_place(root / f"{kind}.csv", "1")
        let_run("2")
        let_run("3")
        let_run("")
        assert watch.settle() == []
    assert (root / f"out/{kind}.txt").read_text() == "3"

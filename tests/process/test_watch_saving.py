"""One save is one run, in whatever way an editor does it; what changes no meaning runs nothing."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import EDITORS, in_place, reformat, save
from tests.support.marks import slow_but
from tests.support.running import running
from tests.support.watching import Watching, tool_text, watching

FILES = {"orch.toml": "", "src/a.py": tool_text(0), "src/b.py": tool_text(0, stage="t")}


def save_versions(
    watch: Watching, editor: Callable[[Path, str], None], versions: range, name: str = "a"
) -> None:
    """Each save is a run that prints its version; between them nobody waits longer than for that."""
    for version in versions:
        editor(watch.root / f"src/{name}.py", tool_text(version))
        run = watch.next_run()
        assert (run.tools, run.status) == ((name,), "passed"), watch.story()
        assert run.output[name] == f"{version}\n", watch.story()


def test_one_save_is_one_run_whatever_the_editor(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for number, (name, editor) in enumerate(EDITORS.items(), start=1):
            save_versions(watch, editor, range(10 * number, 10 * number + 2))
            assert watch.settle() == [], f"{name}\n{watch.story()}"


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("editor", EDITORS)
def test_500_saves_are_500_runs(project: Project, editor: str) -> None:
    root = project(FILES)
    with watching(root) as watch:
        save_versions(watch, EDITORS[editor], range(1, 501))
        assert watch.settle() == [], watch.story()


def test_all_that_is_saved_at_once_is_one_run(project: Project) -> None:
    root = project({f"src/t{i}.py": tool_text(0) for i in range(12)})
    with watching(root) as watch:
        with watch.held():
            for i in range(12):
                save(root / f"src/t{i}.py", tool_text(1))
        run = watch.next_run()
        assert set(run.output.values()) == {"1\n"}
        assert len(run.output) == 12
        assert watch.settle() == [], watch.story()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, pytest.param(5, marks=pytest.mark.full)])
def test_auto_save_on_each_keystroke_is_few_runs_and_the_last_content_wins(
    project: Project, seconds: int
) -> None:
    """10 saves a second, of a tool that takes longer than from one to the next."""
    takes_long = {"top": "import time", "body": "time.sleep(0.3)"}
    root = project({"src/a.py": tool_text(0, **takes_long)})
    with watching(root) as watch:
        for version in range(1, seconds * 10 + 1):
            in_place(root / "src/a.py", tool_text(version, **takes_long))
            time.sleep(0.1)
        last = f"{seconds * 10}\n"
        watch.until(lambda: watch.runs[-1].output.get("a") == last, "the last content")
        assert watch.runs[-1].status == "passed"
        runs = len(watch.runs) - 1
        assert runs <= 6, f"{runs} runs\n{watch.story()}"


# What changes no meaning


def expect_unchanged(watch: Watching, path: str = "src/a.py") -> None:
    said = watch.wait_for("unchanged")
    assert said["paths"] == [path]


@pytest.mark.parametrize(
    "times", [500, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
)
def test_saves_that_change_nothing_run_nothing(project: Project, times: int) -> None:
    """Reading, touching, other permissions, the same bytes, a comment, another layout, and the first text again.

    All by rename: a busy machine may stop the test between the truncation of a file and its new content.
    """
    root = project(FILES)
    path = root / "src/a.py"
    text = path.read_text()
    ways = (
        path.read_bytes,
        lambda: path.open("a").close(),
        lambda: os.utime(path),
        lambda: path.chmod(path.stat().st_mode ^ 0o044),
        lambda: save(path, text),
        lambda: save(path, text + "# a comment\n"),
        lambda: save(path, text.replace(" = ", "  =  ")),
    )
    with watching(root) as watch:
        for number in range(times):
            ways[number % len(ways)]()
        save(path, text)
        assert watch.settle() == [], watch.story()


def test_a_change_without_meaning_runs_nothing_and_says_so(project: Project) -> None:
    root = project(FILES)
    text = tool_text(0)
    changed = (
        text + "# a comment\n",
        "# at the top\n" + text,
        reformat(text),
        text.replace("\n", "\r\n"),
        text.replace('"s"', "'s'"),
        text,
    )
    with watching(root) as watch:
        for one in changed:
            (root / "src/a.py").write_bytes(one.encode())
            expect_unchanged(watch)
        assert watch.settle() == [], watch.story()


def test_an_edit_taken_back_at_once_runs_nothing(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for editor in (in_place, save):
            with watch.held():
                editor(root / "src/a.py", tool_text(1))
                editor(root / "src/a.py", tool_text(0))
            assert watch.settle() == [], watch.story()


def test_a_docstring_is_a_change_only_where_it_is_read_and_a_constant_is_one(
    project: Project,
) -> None:
    """Else the tests above would prove little."""
    root = project(FILES)
    with watching(root) as watch:
        save(root / "src/a.py", '"""Said."""\n' + tool_text(0))
        assert watch.settle() == [], watch.story()
        save(root / "src/a.py", '"""Said."""\n' + tool_text("1 - 1"))
        assert watch.next_run().tools == ("a",)
        save(root / "src/a.py", '"""Said."""\n' + tool_text("1 - 1") + "DOC = __doc__\n")
        assert watch.next_run().tools == ("a",)
        save(root / "src/a.py", '"""Says."""\n' + tool_text("1 - 1") + "DOC = __doc__\n")
        assert watch.next_run().tools == ("a",)
        assert watch.settle() == [], watch.story()


def test_reading_the_tree_runs_nothing(project: Project) -> None:
    root = project({**FILES, **{f"src/lib/m{i}.py": f"X = {i}\n" for i in range(50)}})
    with watching(root) as watch:
        for _ in range(20):
            for folder, _, names in os.walk(root / "src"):
                for name in names:
                    Path(folder, name).read_bytes()
        assert watch.settle() == [], watch.story()
        assert watch.all_events("unchanged") == []
        assert [one["paths"] for one in watch.all_events("changed")] == [["src/sentinel.py"]]


def test_what_editors_leave_beside_a_file_is_nothing(project: Project) -> None:
    root = project(FILES)
    src = root / "src"
    left = [src / name for name in ("#a.py#", "a.py~", ".a.py.swp", ".a.py.AbC123", ".#a.py")]
    with watching(root) as watch:
        for path in left[:-1]:
            path.write_text(tool_text(5))
        left[-1].symlink_to("me@host.1234:1700000000")
        assert watch.settle() == [], watch.story()
        for path in left:
            path.unlink()
        assert watch.settle() == [], watch.story()
        assert watch.all_events("broken") == []


def test_the_state_folder_and_commands_that_only_look_wake_nothing(
    project: Project, orch: Orch
) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for number in range(100):
            (root / ".orch/chatter.json").write_text(str(number))
            (root / f".orch/chatter{number}.py").write_text(tool_text(number))
        for command in (["list"], ["run", "-n"], ["check"], ["graph"]):
            assert orch(*command).code == 0
        (root / "src/__pycache__").mkdir(exist_ok=True)
        (root / "src/__pycache__/a.cpython-311.pyc").write_bytes(b"xx")
        assert watch.settle() == [], watch.story()
        paths = [path for one in watch.all_events("changed") for path in one["paths"]]
        assert paths == ["src/sentinel.py"]


# Many files at once

GIT = (
    "git",
    "-c",
    "user.name=me",
    "-c",
    "user.email=me@example.org",
    "-c",
    "advice.detachedHead=0",
)


def git(root: Path, *words: str) -> None:
    subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("files", "count"),
    [(100, 4), pytest.param(1000, 50, marks=[pytest.mark.full, pytest.mark.timeout(900)])],
)
def test_each_checkout_is_one_run(project: Project, files: int, count: int) -> None:
    def branch(version: int) -> dict[str, str]:
        modules = {f"src/lib/m{i}.py": f"X = {i} + {version}\n" for i in range(files)}
        top = "\n".join(f"import src.lib.m{i}" for i in range(files))
        return {"src/a.py": tool_text(version, top=top), **modules}

    root = project({"orch.toml": "", ".gitignore": ".orch\ndata.db\n", **branch(0)})
    project({"src/sentinel.py": tool_text(0, stage="zz_sentinel")})
    git(root, "init", "-q", "-b", "one")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "checkout", "-qb", "two")
    project({**branch(1), "src/only_two.py": tool_text(1, stage="only")})
    git(root, "add", ".")
    git(root, "commit", "-qm", "two")
    with watching(root) as watch:
        for number in range(count):
            version = number % 2
            git(root, "checkout", "-q", ("one", "two")[version])
            run = watch.next_run()
            assert run.output["a"] == f"{version}\n", watch.story()
            assert "src/only_two.py" in watch.wait_for("changed")["paths"]
        # The sentinel goes last: git would mind a file that was changed under it.
        assert watch.settle() == [], watch.story()


@pytest.mark.parametrize(
    "place", slow_but({"", "linked/inner"}, ["", "linked", "linked/inner", "inner"])
)
def test_a_checkout_is_one_change_in_worktrees_and_in_folders_below_the_repository(
    project: Project, tmp_path: Path, place: str
) -> None:
    inner = "inner/" if "inner" in place else ""

    def files(version: int) -> dict[str, str]:
        modules = {
            f"{inner}src/{name}.py": f"STAGE = 's'\ndef run(): print({version})\n" for name in "ab"
        }
        return {f"{inner}orch.toml": "", ".gitignore": ".orch\n", **modules}

    folder = repository = project({})
    git(repository, "init", "-q", "-b", "main")
    for version in range(2):
        project(files(version))
        git(repository, "add", ".")
        git(repository, "commit", "-qm", "a version")
    if "linked" in place:
        folder = tmp_path / "linked"
        git(repository, "worktree", "add", "-q", "--detach", str(folder))
    with running(folder / inner, "watch", "--no-initial") as watch:
        watch.wait_for("watching 3 files")
        git(folder, "checkout", "-q", "--detach", "HEAD~1")
        watch.wait_for(r"src/a.py, src/b.py changed → s: 2 tools stale")


def test_folders_that_come_and_go_are_seen(project: Project, tmp_path: Path) -> None:
    root = project(FILES)
    outside = tmp_path / "outside/deep"
    outside.mkdir(parents=True)
    (outside / "n.py").write_text(tool_text(1, stage="n"))
    with watching(root) as watch:
        for number in range(3):
            shutil.copytree(tmp_path / "outside", tmp_path / "copy")
            os.rename(tmp_path / "copy", root / f"src/new{number}")
            assert watch.next_run().output == {"n": "1\n"}
            save(root / f"src/new{number}/deep/n.py", tool_text(2, stage="n"))
            assert watch.next_run().output == {"n": "2\n"}
            shutil.rmtree(root / f"src/new{number}")
            watch.wait_for_one(
                lambda one: one["event"] == "changed" and one["tools"] == [], "the tool to go"
            )
        assert watch.settle() == [], watch.story()


def test_a_module_made_in_a_folder_made_in_the_same_moment_is_seen(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for number in range(8):
            folder = root / f"src/p{number}/q/r"
            folder.mkdir(parents=True)
            (folder / f"n{number}.py").write_text(tool_text(number, stage="n"))
            run = watch.next_run()
            assert run.output[f"n{number}"] == f"{number}\n"


def test_the_packages_folder_deleted_and_made_again_is_still_watched(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for version in range(1, 4):
            shutil.rmtree(root / "src")
            project({"src/a.py": tool_text(version), "src/b.py": tool_text(0, stage="t")})
            watch.until(
                lambda version=version: watch.runs[-1].output.get("a") == f"{version}\n",  # type: ignore[misc]
                "the new content",
            )
        project({"src/sentinel.py": tool_text(1, stage="zz_sentinel")})
        watch.until(lambda: "sentinel" in watch.runs[-1].output, "the sentinel to come back")


def test_the_packages_folder_may_be_gone_when_a_run_ends(project: Project) -> None:
    """The tool takes it away, and reads a file that counts from then on: so the watch finds out anew what to watch."""
    keeps = {"top": "import os", "body": "open('data.txt').read()"}
    takes_away = {**keeps, "body": f"{keeps['body']}\nos.rename('src', 'away')"}
    root = project({**FILES, "orch.toml": 'packages = ["src"]', "data.txt": ""})
    with watching(root, PYTHONDONTWRITEBYTECODE="1") as watch:
        save(root / "src/a.py", tool_text(1, **takes_away))
        assert watch.next_run().output == {"a": "1\n"}
        watch.wait_for("broken")
        os.rename(root / "away", root / "src")
        save(root / "src/a.py", tool_text(2, **keeps))
        watch.until(lambda: watch.runs[-1].output.get("a") == "2\n", "the tool to come back")
        project({"src/new.py": tool_text(3, stage="new")})
        watch.until(lambda: watch.runs[-1].output.get("new") == "3\n", "the new module")


# Without events, or with too many


def test_polling_finds_changes(project: Project) -> None:
    root = project(FILES)
    with watching(root, "--poll") as watch:
        assert watch.all_events("watching")[-1]["mode"] == "polling"
        for version, editor in enumerate(("in_place", "vim", "pycharm", "rsync"), start=1):
            save_versions(watch, EDITORS[editor], range(version, version + 1))
        assert watch.settle() == [], watch.story()


def test_what_happens_while_it_is_stopped_is_found_afterwards(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        lose_events(watch, files=1000)


@pytest.mark.full
def test_an_overflow_of_the_kernels_queue_costs_no_change(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        lose_events(watch, files=20_000)


def lose_events(watch: Watching, files: int) -> None:
    with watch.held():
        for number in range(files):
            (watch.root / f"src/x{number}.py").write_text("X = 1\n")
        sub = watch.root / "src/sub"
        sub.mkdir()
        (sub / "n.py").write_text(tool_text(1, stage="n"))
        save(watch.root / "src/a.py", tool_text(1))
    run = watch.next_run()
    assert run.output == {"a": "1\n", "n": "1\n"}, watch.story()
    save(sub / "n.py", tool_text(2, stage="n"))
    assert watch.next_run().output == {"n": "2\n"}
    assert watch.settle() == [], watch.story()


# Nothing is missed (C10)

MODULES = 8
STATIC = "found = []\n" + "".join(
    f"try:\n    from src.lib.m{i} import X\nexcept ImportError:\n    X = None\nfound.append(X)\n"
    for i in range(MODULES)
)


@pytest.mark.parametrize(
    "operations",
    [
        100,
        pytest.param(500, marks=pytest.mark.slow),
        pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
def test_no_change_is_missed(project: Project, operations: int) -> None:
    """After each handful the last run has seen what is on the disk."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    root = project(
        {
            "src/a.py": STATIC + 'STAGE = "s"\ndef run(): print(found)\n',
            "src/lib/m0.py": "X = 0\n",
        }
    )
    disk: dict[int, int] = {0: 0}
    with watching(root) as watch:
        done = 0
        while done < operations:
            for _ in range(chance.randrange(1, 50)):
                done += 1
                operate(chance, root / "src/lib", disk, done)
                if chance.random() < 0.1:
                    time.sleep(chance.random() * 0.05)
            wanted = f"{[disk.get(i) for i in range(MODULES)]}\n"
            watch.until(
                lambda wanted=wanted: watch.runs[-1].output.get("a") == wanted,  # type: ignore[misc]
                f"{wanted} (seed {seed}, {done} operations)",
            )


def operate(chance: random.Random, folder: Path, disk: dict[int, int], value: int) -> None:
    """One thing that can happen to one of the modules; `disk` says what each holds then."""
    number = chance.randrange(MODULES)
    path = folder / f"m{number}.py"
    what = chance.choice(["write", "write", "rename", "vim", "delete", "move", "touch", "comment"])
    if what == "write":
        in_place(path, f"X = {value}\n")
        disk[number] = value
    elif what == "rename":
        save(path, f"X = {value}\n")
        disk[number] = value
    elif number not in disk:
        return
    elif what == "vim":
        os.rename(path, folder / f"m{number}.py~")
        path.write_text(f"X = {value}\n")
        (folder / f"m{number}.py~").unlink()
        disk[number] = value
    elif what == "delete":
        path.unlink()
        del disk[number]
    elif what == "move":
        other = chance.randrange(MODULES)
        os.replace(path, folder / f"m{other}.py")
        disk[other] = disk.pop(number)
    elif what == "touch":
        path.touch()
    else:
        with path.open("a") as file:
            file.write("# comment\n")

"""Each run is a process of its own, as good as new, though it starts at once; and a day of them costs nothing."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.running import wait_until
from tests.support.watching import Event, Watching, tool_text, watching

pytestmark = pytest.mark.slow

PACKAGE = str(Path(__file__).parents[2])
TOOL = ("--scope", "tool")


def test_two_runs_share_no_process_and_no_random_state(project: Project) -> None:
    body = "print(os.getpid(), random.random(), uuid.uuid4(), len(os.listdir('/proc/self/fd')))"
    top = "import os, random, uuid"
    root = project({"src/a.py": tool_text(0, top=top, body=body)})
    with watching(root, *TOOL, forks=False) as watch:
        printed = [watch.runs[0].output["a"]]
        for version in range(1, 5):
            save(root / "src/a.py", tool_text(version, top=top, body=body))
            printed.append(watch.next_run().output["a"])
        pids, numbers, names, descriptors = zip(*(one.split()[:4] for one in printed), strict=True)
        assert len({*pids}) == len({*numbers}) == len({*names}) == 5
        assert len({*descriptors}) == 1


def test_what_one_run_has_left_in_its_modules_is_not_there_in_the_next(project: Project) -> None:
    body = "import decimal, json, src.lib\nprint(hasattr(json, 'left'), src.lib.count, decimal.getcontext().prec)\njson.left = 1\nsrc.lib.count += 1\ndecimal.getcontext().prec = 5"
    root = project({"src/a.py": tool_text(0, body=body), "src/lib.py": "count = 0\n"})
    with watching(root, *TOOL, forks=False) as watch:
        for version in range(1, 4):
            save(root / "src/a.py", tool_text(version, body=body))
            assert watch.next_run().output["a"] == f"False 0 28\n{version}\n"


def test_no_project_module_is_imported_ahead(project: Project) -> None:
    body = "print(sorted(n for n in sys.modules if n.startswith('src.') or n.startswith('lib')))"
    root = project({"src/a.py": tool_text(0, top="import sys", body=body), "src/lib.py": "X = 1\n"})
    with watching(root, *TOOL, forks=False) as watch:
        save(root / "src/a.py", tool_text(1, top="import sys", body=body))
        assert watch.next_run().output["a"] == "['src.a']\n1\n"


# What is preloaded


@pytest.fixture
def library(tmp_path: Path) -> Callable[[str, str], str]:
    """Puts a module of somebody else's beside the project; gives the PYTHONPATH with it."""

    def write(name: str, text: str) -> str:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        (folder / "pyvenv.cfg").touch()
        (folder / f"{name}.py").write_text(text)
        return f"{PACKAGE}{os.pathsep}{folder}"

    return write


# Only the tool's own import is late.
AHEAD = "import sys, os\nis_ahead = 'src.a' not in sys.modules\n"


@pytest.mark.parametrize(
    ("end", "configured"),
    [
        ("raise RuntimeError('no')", False),
        ("os._exit(7)", True),
        pytest.param("os.kill(os.getpid(), 11)", False, marks=pytest.mark.slow),
        pytest.param("sys.exit(3)", True, marks=pytest.mark.slow),
    ],
)
def test_a_preload_that_fails_is_a_cold_start(
    project: Project, library: Callable[[str, str], str], end: str, configured: bool
) -> None:
    path = library("touchy", f"{AHEAD}if is_ahead:\n    {end}\n")
    table = '[watch]\npreload = ["touchy"]\n' if configured else ""
    root = project({"orch.toml": table, "src/a.py": tool_text(0, top="import touchy")})
    with watching(root, *TOOL, PYTHONPATH=path, forks=False) as watch:
        assert watch.runs[0].ended["a"] == "passed"
        for version in range(1, 4):
            save(root / "src/a.py", tool_text(version, top="import touchy"))
            run = watch.next_run()
            assert (run.status, run.output) == ("passed", {"a": f"{version}\n"}), watch.story()
        assert watch.all_events("notice") == [], watch.story()
        assert watch.settle() == [], watch.story()


@pytest.mark.parametrize("preload", ["", "preload = false"])
def test_a_library_is_preloaded_unless_it_is_not_wanted(
    project: Project, library: Callable[[str, str], str], preload: str
) -> None:
    path = library("heavy", f"{AHEAD}print('noise')\nprint('noise', file=sys.stderr)\n")
    top, body = "import heavy", "print(heavy.is_ahead)"
    root = project(
        {"orch.toml": f"[watch]\n{preload}\n", "src/a.py": tool_text(0, top=top, body=body)}
    )
    with watching(root, *TOOL, PYTHONPATH=path, forks=False) as watch:
        noise = "" if not preload else "noise\n"
        for version in range(1, 3):
            save(root / "src/a.py", tool_text(version, top=top, body=body))
            output = watch.next_run().output["a"]
        # What a module prints while it is preloaded is not the output of a tool.
        assert output.replace("noise\n", "") == f"{not preload}\n2\n"
        assert ("noise" in output) == bool(noise)
        assert "noise" not in watch.stderr


def test_a_module_of_the_project_goes_before_a_library_of_its_name(
    project: Project, library: Callable[[str, str], str]
) -> None:
    library("two", "X = 'installed'\n")
    path = library("one", "import two\n")
    text = {"top": "import one, two", "body": "print(two.X)"}
    root = project(
        {"orch.toml": 'pythonpath = ["src"]\n', "src/a.py": tool_text(0, **text), "src/two.py": "X = 'own'\n"}
    )  # fmt: skip
    with watching(root, *TOOL, PYTHONPATH=path, forks=False) as watch:
        for version in range(1, 3):
            save(root / "src/a.py", tool_text(version, **text))
            assert watch.next_run().output["a"] == f"own\n{version}\n"


def test_a_library_that_reads_the_environment_ahead_finds_what_env_file_has_now(
    project: Project, library: Callable[[str, str], str]
) -> None:
    path = library("reader", "import os\nREGION = os.environ['REGION']\n")
    body = "print(os.environ['REGION'], reader.REGION)"
    root = project(
        {
            "orch.toml": 'env_file = ".env"\n',
            ".env": "REGION=north\n",
            "src/a.py": tool_text(0, top="import os, reader", body=body),
        }
    )
    with watching(root, *TOOL, PYTHONPATH=path, forks=False) as watch:
        for region in ("south", "west"):
            save(root / ".env", f"REGION={region}\n")
            assert watch.next_run().output["a"] == f"{region} {region}\n0\n"


@pytest.mark.skipif(sys.platform != "linux", reason="what native code reads is seen on Linux only")
def test_what_others_do_while_a_warm_worker_waits_is_not_the_tool_s(project: Project) -> None:
    """It follows the files of the project before its run begins."""
    body = "duckdb.sql(\"select * from read_csv('in/x.csv')\").fetchall()"
    text = [tool_text(version, top="import duckdb", body=body) for version in range(3)]
    root = project({"src/a.py": text[0], "in/x.csv": "n\n1\n", "in/other.csv": "n\n1\n"})
    with watching(root, forks=False) as watch:
        for version in (1, 2):
            (root / "in/other.csv").read_text()
            (root / f"in/new{version}.csv").write_text("n\n1\n")
            save(root / "src/a.py", text[version])
            assert watch.next_run().output == {"a": f"{version}\n"}
        save(root / "in/x.csv", "n\n2\n")
        assert watch.next_run().tools == ("a",)
        for path in (root / "in").glob("[no]*.csv"):
            save(path, "n\n2\n")
        assert watch.settle() == [], watch.story()


def test_a_new_import_is_preloaded_for_the_runs_after_it(
    project: Project, library: Callable[[str, str], str]
) -> None:
    path = library("heavy", AHEAD)
    root = project({"src/a.py": tool_text(0)})
    with watching(root, *TOOL, PYTHONPATH=path, forks=False) as watch:
        top, body = "import heavy", "print(heavy.is_ahead)"
        save(root / "src/a.py", tool_text(1, top=top, body=body))
        assert watch.next_run().status == "passed"
        save(root / "src/a.py", tool_text(2, top=top, body=body))
        assert watch.next_run().output["a"] == "True\n2\n"


# Tools that end their process


def test_the_run_after_a_tool_that_ends_its_process_is_fine(project: Project) -> None:
    root = project({"src/a.py": tool_text(0)})
    ends = (
        "os._exit(0)",
        "os._exit(0)",
        "sys.exit(0)",
        "os.kill(os.getpid(), 11)",
        "os.kill(0, 9)",
        "os.closerange(0, 4096)",
    )
    with watching(root, *TOOL, forks=False) as watch:
        for version, body in enumerate(ends, start=1):
            save(root / "src/a.py", tool_text(0, top="import os, sys", body=body))
            assert watch.next_run().ended["a"] == "failed", f"{body}\n{watch.story()}"
            save(root / "src/a.py", tool_text(version))
            run = watch.next_run()
            assert (run.status, run.output) == ("passed", {"a": f"{version}\n"}), watch.story()


# Warm and cold (C15)

PIECES = (
    "print(os.getcwd() == root(), __name__, os.path.basename(__file__))",
    "print(sys.argv, sys.flags.optimize, sys.dont_write_bytecode, sys.path[0])",
    "print(sorted(k for k in os.environ if k not in ('OLDPWD', '_', 'LINES')))",
    "print(sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold())",
    "print(threading.active_count(), threading.current_thread() is threading.main_thread())",
    "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.getsignal(signal.SIGPIPE))",
    "print(locale.getlocale(), sys.getdefaultencoding(), sys.stdout.encoding, sys.stdout.isatty())",
    "logging.warning('warned'); logging.info('not seen'); print(logging.getLogger().handlers)",
    "warnings.warn('careful'); print([f[0] for f in warnings.filters])",
    "print(os.umask(0o022), os.getpriority(os.PRIO_PROCESS, 0))",
    "random.seed(7); print(random.random(), hash(1.5), decimal.getcontext().prec)",
    "print(subprocess.run(['sh', '-c', 'echo child; echo err >&2; pwd'], cwd='/', check=False))",
    "print(asyncio.run(asyncio.sleep(0, 'slept')))",
    "print(sys.stdin.read(), sys.stdin.isatty())",
    "conn.execute('CREATE TABLE IF NOT EXISTS t (x)'); print(conn.execute('SELECT count(*) FROM t').fetchone())",
    "conn.execute('CREATE TABLE gone (x)'); raise ValueError('rolled back')",
    "print(sorted(m for m in sys.modules if m.split('.')[0] in ('src', 'pandas', 'numpy')))",
    "print(multiprocessing.get_start_method(), socket.getdefaulttimeout(), resource.getrlimit(7))",
    "raise KeyError('a key')",
    "sys.exit('said')",
    "os._exit(4)",
    "1 / 0",
    "return {'rows': 3, 'name': 'x'}",
    "import src.not_there",
    "from src.lib import helper; print(helper('é'), helper.__module__)",
    "open('made.txt', 'w').write('x'); print('made.txt' in os.listdir('.'))",
    "print('half a line', end=''); sys.stdout.flush(); print(' and the rest')",
    "os.write(1, b'bytes \\xff\\n'); os.write(2, b'to stderr\\n')",
    "print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())",
    "class A: pass\n    print(A.__qualname__, A.__module__, pickle.loads(pickle.dumps(root)) is root)",
    "os.environ['LEFT'] = '1'; os.chdir('/'); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "atexit.register(print, 'at exit'); print(time.tzname, tempfile.gettempdir())",
)  # fmt: skip
IMPORTS = "import asyncio, atexit, decimal, gc, locale, logging, multiprocessing, os, pickle, random, resource, signal, socket, subprocess, sys, tempfile, threading, time, warnings"


def script(chance: random.Random, number: int) -> str:
    pieces = chance.sample(PIECES, 4)
    pieces.sort(key=lambda one: one.startswith(("raise", "1 /", "return", "os._exit", "sys.exit")))
    lines = "\n".join(f"    {piece}" for piece in pieces)
    return f'{IMPORTS}\nSTAGE = "s"\nROOT = os.getcwd()\ndef root():\n    return ROOT\ndef run(conn):\n    print({number})\n{lines}\n'


@pytest.mark.parametrize(
    "count", [5, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
def test_warm_and_cold_runs_give_the_same_results(project: Project, orch: Orch, count: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    lib = "def helper(text): return text.upper()\n"
    root = project({"orch.toml": "", "src/a.py": tool_text(0), "src/lib.py": lib})
    environment = {"WATCH_TEST_MARK": ""}
    with watching(root, "a", keys="nothing", forks=False) as watch:
        for number in range(count):
            text = script(chance, number)
            save(root / "src/a.py", text)
            warm = watch.next_run()
            # The watch releases the lock a moment after the end of its run. With standard input nothing is a fork.
            cold = orch("run", "a", "--json", "--if-busy", "wait", env=environment, stdin="")
            events = cold.events
            ends = [one for one in events if one["event"] == "tool_finished"]
            assert ends, cold.text
            (end,) = ends
            where = f"seed {seed}, script {number}:\n{text}"
            seen = watch.events[len(watch.events) - size_of_last_run(watch) :]
            for stream in ("stdout", "stderr"):  # between the two there is no order
                assert texts(seen, stream) == texts(events, stream), where
            assert warm.ended["a"] == end["status"], where
            assert warm.errors.get("a") == end["error"], where
        assert len(watch.runs) == count + 1


def size_of_last_run(watch: Watching) -> int:
    started = max(at for at, one in enumerate(watch.events) if one["event"] == "run_started")
    return len(watch.events) - started


def texts(events: Sequence[Event], stream: str) -> str:
    return "".join(
        one["text"] for one in events if one["event"] == "tool_output" and one["stream"] == stream
    )


# All day long (C16)


@pytest.mark.slow
def test_40_saves_are_40_runs_and_nothing_grows(project: Project) -> None:
    soak(project, cycles=40, kept=(1.10, 4_000_000))


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_10000_saves_are_10000_runs_and_nothing_grows(project: Project) -> None:
    soak(project, cycles=10_000, kept=(1.05, 0))


def soak(project: Project, cycles: int, kept: tuple[float, int]) -> None:
    root = project({"orch.toml": "keep_runs = 5\n", "src/a.py": tool_text(0)})
    with watching(root, *TOOL, forks=False) as watch:
        for version in range(1, cycles + 11):
            save(root / "src/a.py", tool_text(version))
            run = watch.next_run()
            assert run.output == {"a": f"{version}\n"}, watch.story()
            if version == 10:
                before = size(watch)
        after = size(watch)
        assert watch.settle() == [], watch.story()
        assert after[:3] == before[:3], "descriptors, threads, processes"
        assert after[3] <= before[3] * kept[0] + kept[1], f"memory: {before[3]} → {after[3]}"
        assert len(watch.runs) == cycles + 10 + 2


def size(watch: Watching) -> tuple[int, int, int, int]:
    """Descriptors and threads of orch, its processes once the next warm worker is there, its memory in bytes."""
    wait_until(lambda: len(watch.processes()) == 2, "orch and its warm worker alone")
    at = Path(f"/proc/{watch.pid}")
    pages = int((at / "statm").read_text().split()[1])
    return (
        len(os.listdir(at / "fd")),
        len(os.listdir(at / "task")),
        2,
        pages * os.sysconf("SC_PAGESIZE"),
    )


# Packages that come and go (G12)


@pytest.mark.slow
def test_a_package_that_is_upgraded_runs_its_importers_again_with_it(
    project: Project, tmp_path: Path
) -> None:
    site = tmp_path / "site-packages"

    def install(version: str) -> None:
        site.mkdir(exist_ok=True)
        for old in site.glob("*.dist-info"):
            shutil.rmtree(old)
        (site / f"arrived-{version}.dist-info").mkdir()
        (site / f"arrived-{version}.dist-info/top_level.txt").write_text("arrived\n")
        # Of another length: Python knows its bytecode by size and by whole seconds.
        save(site / "arrived.py", f"X = {version!r}\n")

    install("1.0")
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool_text(top="import arrived", body="print(arrived.X)"),
            "src/b.py": tool_text(),
        }
    )
    with watching(root, PYTHONPATH=f"{PACKAGE}{os.pathsep}{site}", forks=False) as watch:
        assert watch.runs[0].output["a"] == "1.0\n0\n"
        install("2.0.0")
        changed = watch.wait_for("changed")
        assert changed["reasons"] == {"a": "arrived: 1.0 → 2.0.0"}
        run = watch.next_run()
        assert run.tools == ("a",)
        assert run.output["a"] == "2.0.0\n0\n"

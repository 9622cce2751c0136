"""The bar of tqdm or rich: live in the status line of a terminal, and one line in all that stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.running import on_terminal

BARS = """
    from tqdm import tqdm
    STAGE = "s"
    def run():
        print("before")
        for _ in tqdm(range(300), desc="first"):
            pass
        print("between")
        for _ in tqdm(range(3), desc="gone", leave=False):
            pass
        tqdm.write("after")
"""
RICH = """
    from rich.progress import Progress
    STAGE = "s"
    def run():
        with Progress() as progress:
            task = progress.add_task("one", total=3)
            for n in range(3):
                progress.advance(task)
                progress.console.print(f"step {n}")
                progress.refresh()
        print("after")
"""
WAITS = """
    import os, time
    from tqdm import tqdm
    STAGE = "s"
    def run():
        with tqdm(total=10, desc="loading") as bar:
            bar.update(4)
            while not os.access.__wrapped__("go", os.F_OK):
                bar.refresh()
                time.sleep(0.01)
            print("a line")
            while not os.access.__wrapped__("go on", os.F_OK):
                time.sleep(0.01)
            bar.update(6)
        print("loaded")
"""


def without_numbers(text: str) -> list[str]:
    """The lines with the name and percentage of each bar, and without the times."""
    bar = r"(\w+):? +(?:\d+%)?\S*? *[^\w\s]* *(\d+)%.*|(\w+): +(\d+)%.*"
    return [re.sub(bar, r"\1\3 \2\4%", line.strip()) for line in text.splitlines()]


def log(root: Path) -> str:
    (found,) = root.glob(".orch/runs/1/logs/*")
    return found.read_text()


def test_one_line_of_each_bar_stays_in_a_pipe_in_json_and_in_the_log(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/a.py": BARS})
    answer = orch("run", "--json")
    assert answer.code == 0, answer.text
    texts = [one["text"] for one in answer.events if one["event"] == "tool_output"]
    kept = "".join(texts)
    assert sorted(without_numbers(kept)) == [
        "after",
        "before",
        "between",
        "first 100%",
    ]
    assert sorted(log(root).splitlines()) == sorted(kept.splitlines())
    assert not set("\r\x1b") & set(kept + log(root))
    shown = orch("run").out
    assert "    first: 100%|" in shown
    assert not set("\r\x1b") & set(shown)
    assert "\r" not in orch("logs", "a").out


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1", "NO_COLOR": ""}])
def test_of_rich_the_last_state_stays_whether_or_not_it_believes_in_a_terminal(
    project: Project, orch: Orch, environment: dict[str, str]
) -> None:
    root = project({"orch.toml": "", "src/a.py": RICH})
    assert orch("run", env=environment).code == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", log(root))
    assert without_numbers(plain) == ["step 0", "step 1", "step 2", "one 100%", "after"]


def test_a_bar_that_never_ends_is_a_line_and_line_ends_of_windows_are_no_bars(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                STAGE = "s"
                def run():
                    print("one\\r\\n\\r\\ntwo\\r")
                    for n in range(100):
                        print(f"\\r{n} of 99", end="")
            """,
        }
    )
    assert "    one\n\n    two\n    99 of 99\n    ✓" in orch("run").out
    assert log(root) == "one\n\ntwo\n99 of 99\n"


def test_a_terminal_shows_the_state_of_a_bar_in_the_status_line_and_its_last_one_as_output(
    project: Project,
) -> None:
    root = project({"orch.toml": "", "src/a.py": WAITS})
    with on_terminal(root, "run", columns=120) as orch:
        orch.wait_for(r"\r\x1b\[K    loading:  40%\|\S+ +\| 4/10 \[.*?\]  \(a 0\.\d\d s\)")
        (root / "go").touch()
        # The bar stays below a line that is printed.
        orch.wait_for(r"\r\x1b\[K    a line\n\r\x1b\[K    loading:  40%")
        (root / "go on").touch()
        orch.wait_for(r"\r\x1b\[K    loading: 100%\|\S+\| 10/10 \[.*\]\n    loaded\n    ✓")
        assert orch.wait() == 0, orch.text
    assert "loading: 100%" in log(root)
    assert log(root).count("loading") == 1


def test_a_bar_that_does_not_fit_beside_the_rest_stands_alone_and_is_cut(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                import os, time
                STAGE = "s"
                def run():
                    for file, width in (("go", 70), ("go on", 90)):
                        while not os.access.__wrapped__(file, os.F_OK):
                            print(chr(13) + "[" + "#" * width + "]", end="", flush=True)
                            time.sleep(0.01)
                """,
        }
    )
    with on_terminal(root, "run") as orch:
        orch.wait_for(r"\r\x1b\[K    \[#{70}\](?! )")
        (root / "go").touch()
        orch.wait_for(r"\r\x1b\[K    \[#+…#+\](?! )")
        (root / "go on").touch()
        assert orch.wait() == 0, orch.text
    own = orch.text.partition("s › a")[2]
    assert max(len(line) for line in re.split(r"\n|\r\x1b\[K", own.partition("✓")[0])[:-2]) <= 80


@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(["--output", one], marks=pytest.mark.slow) for one in ("none", "fail")),
        ["-q"],
    ],
)
def test_no_bar_is_shown_where_output_is_not(project: Project, words: list[str]) -> None:
    root = project({"orch.toml": "", "src/a.py": WAITS})
    (root / "go on").touch()
    with on_terminal(root, "run", *words) as orch:
        orch.wait_for(r"\r\x1b\[K    a \d\.\d\d s")
        (root / "go").touch()
        assert orch.wait() == 0, orch.text
    assert "loading" not in orch.text


def test_a_secret_in_a_bar_is_masked(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                import os, time
                STAGE = "s"
                def run(*, token: str):
                    while not os.access.__wrapped__("go", os.F_OK):
                        print(f"\\rusing {token} now", end="", flush=True)
                        time.sleep(0.01)
            """,
        }
    )
    with on_terminal(root, "run", "--token", "hunter2-hunter2") as orch:
        orch.wait_for(r"using \S+ now  \(a")
        (root / "go").touch()
        assert orch.wait() == 0, orch.text
    assert "hunter2" not in orch.text + log(root)

"""The documentation names only files, sections, commands and options that exist.

The terminal output in the README is what the commands print today.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from discover_orch import __version__
from discover_orch.cli.app import COMMANDS
from tests.conftest import Orch, Project
from tests.support.fork_server import ForkServer

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "README.md",
]
SAMPLE = ROOT / "sample_project"
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: Flags of the tools in the pages.
PARAMETERS = {
    *("--since", "--name", "--limit", "--rows", "--dry", "--no-dry", "--item", "--day", "--sample"),
    *("--title", "--shop-token", "--pages", "--lowest"),
}
REMOVED = re.compile(r"^### Removed$.*?(?=^###? )", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names of the sections, as GitHub makes them from headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_section(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, name = target.partition("#")
        if "://" in path:
            continue
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (name and name not in anchors(other)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^\$ )orch ([a-z]+)", text, re.MULTILINE))
    assert named <= {*COMMANDS, "ls"}


@pytest.fixture(scope="module")
def help_texts(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> dict[str, str]:
    """What `orch COMMAND --help` shows in an empty project."""
    root = tmp_path_factory.mktemp("project")
    wide = {"COLUMNS": "200"}
    return {name: fork_server.run(root, name, "--help", env=wide).out for name in COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_has_only_options_that_exist(
    page: Path, help_texts: dict[str, str]
) -> None:
    """Also those in code blocks, but for what the changelog says is gone. The parameters of tools are given by name."""
    text = REMOVED.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"\s+(?=[^`\n]*`)", " ", text)  # a span may wrap
    lines = re.findall(
        r"(?:`|\$ |&& |^|run: |- )orch ((?:[a-z]+)(?: [^`\n#|'>]+)?)", text, re.MULTILINE
    )
    wrong = []
    for line in lines:
        name, _, rest = line.partition(" ")
        name = "list" if name == "ls" else name
        known = options(help_texts[name]) if name in help_texts else set()
        wrong += [f"orch {line}" for one in options(rest) - known - PARAMETERS]
    assert wrong == []


def test_the_tests_that_the_page_on_promises_names_exist() -> None:
    text = " ".join((ROOT / "docs" / "promises.md").read_text(encoding="utf-8").split())
    commands = re.findall(r"`pytest ([^`]+)`", text)
    assert len(commands) >= 10
    for command in commands:
        is_slow = "-m slow" in command
        for name in re.findall(r"tests/\S+", command):
            has_slow = "mark.slow" in (ROOT / name).read_text(encoding="utf-8")
            assert has_slow or not is_slow, f"{name} has no slow test"


def test_the_reasons_that_the_page_on_deciding_shows_are_those_of_its_scene() -> None:
    """Its scene shows what `orch status` prints today. Numbers and spans of time differ."""

    def plain(text: str) -> str:
        return " ".join(re.sub(r"\b\d+(\.\d+)?[smhd]?\b", "N", text).split())

    page = (ROOT / "docs" / "deciding.md").read_text(encoding="utf-8")
    shown = plain((ROOT / "tests" / "scenes" / "deciding.scene").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| \*\*.+? \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) == 9
    for row in rows:
        for sentence in re.findall(r"`([^`]+)`", row):
            assert plain(sentence) in shown


def test_the_pages_that_name_the_version_name_this_one() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert __version__ in re.findall(r"^## (.+)$", changes, re.MULTILINE)[0]
    for name in ("README.md", "docs/tutorial.md", "docs/ci.md"):
        shown = re.findall(
            r"(?:^orch|rev:) v?(\d\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE
        )
        assert set(shown) == {__version__}, name


def test_the_readme_counts_what_the_page_on_peers_shows() -> None:
    """Situations in which a system runs what is needed, too little (▼), too much (▲), and lines of declarations."""
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8").split("| what happens |")[1]
    rows = [line.split("|")[3:-1] for line in page.split("\n\n")[0].splitlines()[2:]]
    shown = [
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in README.split("| | orch | pytask |")[1].split("\n\n")[0].splitlines()[2:]
    ]
    for number, (*cells, _) in enumerate(zip(*rows, strict=True)):
        little, much, unknown = (sum(mark in one for one in cells) for mark in "▼▲—")
        needed = len(cells) - little - much - unknown
        assert [row[number] for row in shown[:3]] == [str(needed), str(little), str(much)]
    assert shown[3] == [cell.strip() for cell in rows[-1]]


def shown_in_readme(*words: str) -> str:
    """What the README shows below `$ orch WORDS`, without times and folders."""
    text = README.split(f"\n$ {' '.join(('orch', *words))}\n")[1]
    return without_times_and_folders(re.split(r"\n\n\$ |\n```", text)[0])


def without_times_and_folders(text: str) -> str:
    return re.sub(r"(?<=· )/\S+", "ROOT", re.sub(r"\d+\.\d\d s", "0.00 s", text)).strip()


def test_the_readme_shows_what_the_sample_project_prints(project: Project, orch: Orch) -> None:
    root = project({})
    for name in ("pyproject.toml", "src", "data", "templates"):
        copy = shutil.copytree if (SAMPLE / name).is_dir() else shutil.copy
        copy(SAMPLE / name, root / name)
    wide = {"COLUMNS": "100"}
    assert orch("run", env=wide).code == 0
    enrich = root / "src" / "pipeline" / "enrich.py"
    enrich.write_text(enrich.read_text(encoding="utf-8").replace("< '07'", "< '12'"))
    for words in (("status",), ("run", "--changed", "--quiet")):
        answer = orch(*words, env=wide)
        assert without_times_and_folders(answer.out) == shown_in_readme(*words)


def test_the_first_tool_of_the_readme_runs_as_shown(project: Project, orch: Orch) -> None:
    code = re.findall(r"`src/hello.py`:\n\n```python\n(.+?)```", README, re.DOTALL)
    project({"src/hello.py": code[0]})
    for words in (("run", "--name", "Ada"), ("run", "helo")):
        answer = orch(*words, env={"COLUMNS": "100"})
        assert without_times_and_folders(answer.out + answer.err) == shown_in_readme(*words)

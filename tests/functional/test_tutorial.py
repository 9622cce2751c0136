"""Every command of the tutorial is run, in order, and prints what the page shows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.test_documentation import ROOT, without_times_and_folders
from tests.support.plugin import PLUGIN
from tests.support.project_builder import clean_environment

TUTORIAL = ROOT / "docs" / "tutorial.md"
#: A block of code, with the name of the file that the text above it says to write.
BLOCK = re.compile(r"(?:Write\s+`([\w/.]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(line: str, root: Path) -> str:
    """What the command prints."""
    here = f"{shutil.which('orch', path=str(Path(sys.executable).parent))}"
    words = line
    if line.startswith("orch "):
        words = here + line.removeprefix("orch")
    if line.startswith("python -m pytest"):
        words = " ".join((sys.executable, *line.split()[1:], "-p no:cacheprovider", *PLUGIN))
    done = subprocess.run(
        ["/bin/sh", "-c", words],
        cwd=root,
        env=clean_environment(COLUMNS="100"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def plain(text: str) -> str:
    text = re.sub(r" +\[100%\]", " [100%]", without_times_and_folders(text))
    return re.sub(r"in \d+\.\d\ds", "in 0.00s", text)


@pytest.mark.slow
def test_every_command_of_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    commands = 0
    for file, language, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if language == "python":
            assert file, text
            (tmp_path / file).write_text(text, encoding="utf-8")
            continue
        assert text.startswith("$ "), text
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            assert plain(run(line, tmp_path)) == plain(shown), line
            commands += 1
    assert commands >= 10

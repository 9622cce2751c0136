"""The screens in the documentation show what the sample project prints today.

`python -m tests.functional.test_screens` makes them anew, from real runs. They load nothing from elsewhere.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from tests.support.project_builder import run_orch

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "docs" / "screens"
WIDTH = 88
TIME = re.compile(r"\d+\.\d\d s")
#: The fonts that rich's SVG loads from another server, and its comment.
REMOTE = re.compile(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)


def make_screens(folder: Path) -> dict[str, str]:
    """An SVG by the name of its file, of three commands in a copy of the sample project below `folder`."""
    root = folder / "sample_project"
    left = shutil.ignore_patterns(".orch", "__pycache__", "data.db*", "output")
    shutil.copytree(ROOT / "sample_project", root, ignore=left)
    screens = {"list": draw(root, "list"), "run": draw(root, "run")}
    enrich = root / "src" / "pipeline" / "enrich.py"
    enrich.write_text(enrich.read_text(encoding="utf-8").replace("< '07'", "< '08'"))
    return {**screens, "status": draw(root, "status")}


def draw(root: Path, command: str) -> str:
    answer = run_orch(
        root, command, "--color", "always", env={"COLUMNS": str(WIDTH), "NO_COLOR": ""}
    )
    assert answer.code == 0, answer.text
    shown = answer.out.replace(str(root), "/home/ada/sample_project")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(shown.rstrip()), soft_wrap=True)
    return REMOTE.sub("", console.export_svg(title=f"orch {command}", unique_id=command))


def words(svg: str) -> str:
    """What the screen says, without times."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return TIME.sub("0.00 s", html.unescape("".join(texts)).replace("\xa0", " "))


@pytest.mark.slow
def test_the_screens_show_what_the_sample_project_prints(tmp_path: Path) -> None:
    for name, svg in make_screens(tmp_path).items():
        stored = (SCREENS / f"{name}.svg").read_text(encoding="utf-8")
        assert words(svg) == words(stored), f"python -m {__spec__.name} makes the screens anew"


def test_the_screens_load_nothing_and_name_no_folder_of_this_machine() -> None:
    screens = sorted(SCREENS.glob("*.svg"))
    assert [one.stem for one in screens] == ["list", "run", "status"]
    for screen in screens:
        text = screen.read_text(encoding="utf-8")
        assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"url\((?!#)", text)
        assert tempfile.gettempdir() not in text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        SCREENS.mkdir(exist_ok=True)
        for stem, drawing in make_screens(Path(made)).items():
            (SCREENS / f"{stem}.svg").write_text(drawing, encoding="utf-8")

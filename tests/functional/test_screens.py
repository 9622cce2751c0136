"""The pictures in the documentation show what `orch` shows today: a watch, a graph and the page about a run.

`python -m tests.functional.test_screens` makes them anew, from real runs. They load nothing from elsewhere.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

from tests.support.project_builder import clean_environment, run_orch

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "docs" / "screens"
THEMES: Mapping[str, TerminalTheme] = {"light": DEFAULT_TERMINAL_THEME, "dark": SVG_EXPORT_THEME}
#: Columns of the terminal, and pixels of the page.
WIDTH = 96
PAGE = {"width": 1200, "height": 1290, "deviceScaleFactor": 0.85, "mobile": False}
PICTURE = {"format": "webp", "quality": 80}
TIME = re.compile(r"\d+\.\d\d s|\d\d:\d\d:\d\d")
#: The fonts that rich's SVG loads from another server, and its comment.
REMOTE = re.compile(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)


def make_screens(folder: Path) -> dict[str, str]:
    """An SVG by the name of its file: of a watch in a copy of the sample project, and of the graph of a new project,
    both below `folder`."""
    sample, shop = folder / "sample_project", folder / "shop"
    left = shutil.ignore_patterns(".orch", "__pycache__", "data.db*", "output")
    shutil.copytree(ROOT / "sample_project", sample, ignore=left)
    watched = watch(sample).replace(str(sample), "/home/ada/sample_project")
    screens = {f"watch-{name}": draw(watched, theme) for name, theme in THEMES.items()}
    shop.mkdir()
    for command in ("init", "run", "run"):
        assert run_orch(shop, command).code == 0
    answer = run_orch(shop, "graph", "--format", "svg")
    assert answer.code == 0, answer.text
    return {**screens, "graph": answer.out}


def watch(root: Path) -> str:
    """What a watch shows in colours: its first run, an edit of a tool, and the run that follows from it."""
    command = [sys.executable, "-m", "discover_orch", "watch", "--color", "always"]
    environment = clean_environment(COLUMNS=str(WIDTH))
    shown = ""
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "watching" in line:
                enrich = root / "src" / "pipeline" / "enrich.py"
                edited = enrich.read_text("utf-8").replace("< '07'", "< '12'")
                (root / "edited").write_text(edited, "utf-8")
                os.replace(root / "edited", enrich)  # as editors save
            if "nothing to run" not in line:  # a late event about the same save
                shown += line
            if "passed" in line and "changed" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
    return shown


def draw(shown: str, theme: TerminalTheme) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(shown.rstrip()), soft_wrap=True)
    svg = console.export_svg(title="orch watch", unique_id="watch", theme=theme)
    return REMOTE.sub("", svg).replace("rgba(255,255,255,0.35)", "rgba(128,128,128,0.35)")


def photograph(folder: Path) -> dict[str, bytes]:
    """A WebP image by the name of its file: the page about a run of the last tools of the sample project below `folder`, with a
    table and a chart that they made."""
    from selenium import webdriver

    page, sample = folder / "report.html", folder / "sample_project"
    for words in (("run", "summarize", "render"), ("report", "-o", str(page))):
        answer = run_orch(sample, *words)
        assert answer.code == 0, answer.text
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    pictures = {}
    with webdriver.Chrome(options=options, service=service) as browser:
        for theme in THEMES:
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PAGE)
            feature = {"name": "prefers-color-scheme", "value": theme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            browser.get(page.as_uri())
            shot = browser.execute_cdp_cmd("Page.captureScreenshot", PICTURE)
            pictures[f"report-{theme}"] = base64.b64decode(shot["data"])
    return pictures


def words(svg: str) -> str:
    """What the picture says, without times."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return TIME.sub("0.00 s", html.unescape("".join(texts)).replace("\xa0", " "))


@pytest.mark.slow
def test_the_pictures_show_what_orch_shows(tmp_path: Path) -> None:
    for name, svg in make_screens(tmp_path).items():
        stored = (SCREENS / f"{name}.svg").read_text(encoding="utf-8")
        assert words(svg) == words(stored), f"python -m {__spec__.name} makes the pictures anew"


def test_the_pictures_load_nothing_and_name_no_folder_of_this_machine() -> None:
    names = [f"{one}-{theme}" for one in ("report", "watch") for theme in THEMES]
    assert sorted(one.stem for one in SCREENS.iterdir()) == sorted([*names, "graph"])
    for page, folder in (("README.md", "docs/screens/"), ("docs/index.md", "screens/")):
        text = (ROOT / page).read_text(encoding="utf-8")
        shown = re.findall(rf'(?:src|srcset)="{folder}([^"#]+)', text)
        assert sorted(shown) == sorted(one.name for one in SCREENS.iterdir()), page
    for screen in SCREENS.glob("*.svg"):
        text = screen.read_text(encoding="utf-8")
        assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"url\((?!#)", text)
        assert tempfile.gettempdir() not in text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        shutil.rmtree(SCREENS, ignore_errors=True)
        SCREENS.mkdir()
        for stem, drawing in make_screens(Path(made)).items():
            (SCREENS / f"{stem}.svg").write_text(drawing, encoding="utf-8")
        for stem, picture in photograph(Path(made)).items():
            (SCREENS / f"{stem}.webp").write_bytes(picture)

"""The report page in a real browser: opened from a file, with and without JavaScript, wide and narrow, light and dark."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import pytest

from discover_orch.render import report_page
from tests.browser.conftest import DEADLINE, Driver, View
from tests.conftest import Orch, Project
from tests.unit.render.test_hostile_text import HOSTILE_NAMES, source_of

pytestmark = pytest.mark.slow
#: A key, as the driver of the browser takes it (https://www.w3.org/TR/webdriver2/#keyboard-actions).
ENTER = "\ue007"

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "analyze", "render"]',
    "src/fetch.py": """
        from pathlib import Path
        STAGE = "ingest"
        def run(*, since: str = "2020"):
            print("\\x1b[31mfetching\\x1b[0m <b>all</b>\\x07")
            Path("raw.csv").write_text(since)
            return {"rows": 344}
        """,
    "src/parse.py": """
        from pathlib import Path
        STAGE = "ingest"
        ORCH = {"inputs": ["raw.csv"], "outputs": ["clean.csv"]}
        def run():
            Path("clean.csv").write_text(Path("raw.csv").read_text())
        """,
    "src/enrich.py": """
        STAGE = "analyze"
        AFTER = "parse"
        def run():
            print("one line before the end")
            raise ValueError("no <species> & no 'island'")
        """,
    "src/draw.py": "STAGE = 'render'\nAFTER = 'enrich'\ndef run(): ...\n",
    "src/index.py": "STAGE = 'render'\nORCH = {'inputs': ['raw.csv'], 'outputs': []}\ndef run(): ...\n",
}


@pytest.fixture
def page(project: Project, orch: Orch) -> Path:
    """The page of a run in which one tool failed, after another run."""
    root = project(PIPELINE)
    orch("run", "fetch")
    assert orch("run", "--since", "2024").code == 1
    answer = orch("report")
    assert (answer.code, answer.out) == (0, ".orch/runs/2/report.html\n")
    return root / answer.out.strip()


def one(driver: Driver, selector: str) -> Driver:
    return driver.find_element("css selector", selector)


def many(driver: Driver, selector: str) -> list[Driver]:
    return [*driver.find_elements("css selector", selector)]


def shown(driver: Driver, selector: str) -> list[str]:
    """The texts of the elements that can be seen."""
    return [found.text for found in many(driver, selector) if found.is_displayed()]


def wait_for_text(driver: Driver, selector: str) -> str:
    deadline = time.monotonic() + DEADLINE
    while not (found := shown(driver, selector)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def complaints(driver: Driver) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


def find_barriers(driver: Driver, inside: str = "html") -> list[str]:
    """What axe-core finds wrong with the page as it is, for people who use a keyboard or a screen reader."""
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    driver.execute_script((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    found = driver.execute_async_script(
        "axe.run(arguments[0], {iframes: false}).then(arguments[1])", inside
    )
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def test_it_shows_filters_selects_and_opens_logs_without_a_complaint(
    page: Path, view: View
) -> None:
    driver = view(page)
    assert driver.title == "Run 2 of project"
    said = one(driver, ".said").text
    assert said.startswith("failed in ")
    assert "Failed: enrich." in said
    assert "no <species> & no 'island'" in one(driver, ".failure").text
    assert "Traceback" in one(driver, ".failure pre").text
    assert len(many(driver, "#graph [data-tool]")) == 5
    assert many(driver, ".timeline rect.bar")

    field = one(driver, "#filter")
    field.send_keys("fetch")
    assert [text.split()[0] for text in shown(driver, "details.tool > summary b")] == ["fetch"]
    assert one(driver, "#found").text == "1 of 5 tools"
    field.clear()
    field.send_keys(" ")
    assert len(shown(driver, "details.tool")) == 5
    one(driver, ".filter button[data-s=passed]").click()
    assert len(shown(driver, "details.tool")) == 3  # one failed and two are blocked
    one(driver, ".filter button[data-s=passed]").click()

    place = one(driver, "details.tool:not([open])").get_attribute("data-t")
    driver.execute_script(
        "document.querySelector(`#graph [data-tool='${arguments[0]}'] text`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))",
        place,
    )
    assert one(driver, f"#t{place}").get_attribute("open")
    selected = many(driver, ".is-selected")
    assert len(selected) >= 3  # in the graph, in the timeline, in the list
    assert {found.tag_name for found in selected} >= {"g", "details"}

    fetch = next(tool for tool in many(driver, "details.tool") if "fetch" in tool.text)
    if not fetch.get_attribute("open"):
        fetch.find_element("css selector", "summary").click()
    fetch.find_element("css selector", "button.log").click()
    assert wait_for_text(driver, "details.tool pre") == "fetching <b>all</b>\\x07"

    many(driver, ".zoom button")[0].click()
    driver.execute_script("location.hash = '#t0'")
    assert complaints(driver) == []


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_it_has_no_barriers_and_fits_the_window(
    page: Path, view: View, width: int, is_dark: bool
) -> None:
    driver = view(page, width=width, is_dark=is_dark)
    driver.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
    )
    assert driver.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not is_dark
    assert find_barriers(driver) == []
    assert complaints(driver) == []


def test_without_javascript_everything_but_the_logs_can_be_read(page: Path, view: View) -> None:
    driver = view(page, has_script=False)
    assert len(shown(driver, "details.tool")) == 5
    assert shown(driver, "#graph svg")
    assert shown(driver, ".timeline")
    assert "Traceback" in one(driver, ".failure pre").text
    assert shown(driver, "#filter") == []
    one(driver, "details.tool > summary").click()
    assert "Module" in one(driver, "details.tool[open] .more").text
    assert shown(driver, "button.log") == []


def test_a_graph_is_an_image_that_follows_the_theme(page: Path, view: View, orch: Orch) -> None:
    root = page.parents[3]
    assert orch("graph", "-o", "graph.svg").code == 0
    colours = []
    for is_dark in (False, True):
        driver = view(root / "graph.svg", is_dark=is_dark)
        colours.append(
            driver.execute_script("return getComputedStyle(document.documentElement).background")
        )
        assert complaints(driver) == []
    assert colours[0] != colours[1]


@pytest.mark.parametrize("opens_by_stage", [False, True], ids=["few tools", "many tools"])
def test_names_are_text_and_nothing_else_in_the_browser(
    tmp_path: Path, view: View, monkeypatch: pytest.MonkeyPatch, opens_by_stage: bool
) -> None:
    monkeypatch.setattr(report_page, "MANY_TOOLS", 1 if opens_by_stage else 300)
    names = [*HOSTILE_NAMES, "__proto__.constructor", "a b" * 3000]
    path = tmp_path / "page.html"
    path.write_text(
        report_page.report_html(source_of(names), names[0]),
        "utf-8",
    )
    driver = view(path, width=390 if opens_by_stage else 1440)
    driver.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
    )
    drawn = many(driver, "#graph a" if opens_by_stage else "#graph [data-tool]")
    assert len(drawn) == len(names)
    assert len(many(driver, "script")) == 1
    assert many(driver, "img, iframe, object, [onerror], [onload]") == []
    assert driver.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert complaints(driver) == []


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


MADE_PAGE = """
    <html lang="en"><head><title>A</title><meta http-equiv="refresh" content="0;url={0}/refresh">
    <link rel="stylesheet" href="{0}/style.css"><style>h1 {{ color: rgb(1, 2, 3) }}</style></head>
    <body onload="top.document.title='hacked'"><h1>Islands</h1><img src="{0}/image.png" alt="">
    <script>top.document.title = "hacked"; document.querySelector("h1").textContent = "hacked"</script>
    <iframe src="{0}/frame"></iframe><a href="{0}/link">leave</a></body></html>
    """
MADE_IMAGE = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='80' height='50' "
    "onload='parent.document.title=\"hacked\"'><image href='{0}/inner.png' width='9' height='9'/>"
    "<script>parent.document.title = 'hacked'</script><rect width='40' height='40'/></svg>"
)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_results_are_shown_run_no_script_and_load_nothing(
    project: Project,
    orch: Orch,
    view: View,
    listener: tuple[str, list[str]],
    width: int,
    is_dark: bool,
) -> None:
    address, asked = listener
    texts = {"a.html": MADE_PAGE.format(address), "b.svg": MADE_IMAGE.format(address)}
    texts |= {"c.csv": "name,long\n<b>x</b>," + "y " * 90 + "\n", "d.md": "# Title\n<img src=x>"}
    write = "STAGE = 's'\ndef run(conn):\n"
    write += "".join(f"    open({name!r}, 'w').write({text!r})\n" for name, text in texts.items())
    columns = ", ".join(f"c{number}" for number in range(40))
    write += f"    conn.execute('create table wide ({columns})')\n"
    root = project({"src/make.py": write, "orch.toml": ""})
    assert orch("run").code == 0
    driver = view(root / orch("report").out.strip(), width=width, is_dark=is_dark)
    assert driver.title == "Run 1 of project"
    assert one(driver, ".made summary").text == "5 results of 1 tool"
    assert one(driver, ".made td").text == "<b>x</b>"
    assert one(driver, ".made pre").text == "# Title\n<img src=x>"
    image = one(driver, ".made img")
    driver.execute_script("arguments[0].scrollIntoView()", image)
    driver.execute_async_script("arguments[0].decode().then(arguments[1])", image)
    assert image.size["width"] == 82  # with its border
    assert driver.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert find_barriers(driver) == []

    frame = one(driver, ".made iframe")
    driver.execute_script("arguments[0].scrollIntoView()", frame)
    driver.switch_to.frame(frame)
    deadline = time.monotonic() + DEADLINE
    while not many(driver, "h1"):
        assert time.monotonic() < deadline
    heading = one(driver, "h1")
    assert heading.text == "Islands"
    assert heading.value_of_css_property("color") == "rgba(1, 2, 3, 1)"
    one(driver, "a").click()
    driver.switch_to.default_content()
    assert driver.title == "Run 1 of project"
    one(driver, ".made h3 a").click()
    assert one(driver, "#t0").get_attribute("open")
    assert asked == []


def check_the_stages(driver: Driver) -> None:
    """A stage in the graph leads to its tools in the list: with the keyboard, and by the address."""
    links = [found.get_dom_attribute("href") for found in many(driver, "#graph a")]
    assert links == [f"#s{place}" for place in range(8)]
    assert find_barriers(driver, "section[aria-labelledby=h-graph]") == []
    height = one(driver, "#graph svg").size["height"]
    one(driver, "#graph").send_keys("+")
    assert one(driver, "#graph svg").size["height"] > height
    driver.execute_script("document.querySelector('#graph a[href=\"#s2\"]').focus()")
    driver.switch_to.active_element.send_keys(ENTER)
    assert driver.current_url.endswith("#s2")
    assert len(shown(driver, "#s2 details.tool")) == 125
    driver.execute_script("location.hash = '#t300'")
    assert wait_for_text(driver, "#t300 .more")
    driver.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = false; })"
    )


def test_a_thousand_tools_with_a_hundred_runs_stay_usable(
    project: Project, orch: Orch, view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints the time until the page is loaded. The goal, on an idle machine, is one second."""
    tool = "STAGE = 'stage_{}'\nAFTER = ()\ndef run():\n    print('tool {}')\n    return {{'rows': {}}}\n"
    root = project(
        {f"src/tool_{n:04}.py": tool.format(n % 8, n, n) for n in range(1000)} | {"orch.toml": ""}
    )
    assert orch("run", "-q").code == 0
    runs = root / ".orch" / "runs"
    for number in range(2, 101):
        shutil.copytree(runs / "1", runs / str(number))
    start = time.monotonic()
    answer = orch("report")
    wrote = time.monotonic() - start
    path = root / answer.out.strip()
    assert path.parent.name == "100"
    driver = view(path)
    timing = driver.execute_script(
        "return JSON.stringify(performance.getEntriesByType('navigation')[0])"
    )
    loaded = json.loads(timing)["loadEventEnd"] / 1000
    with capsys.disabled():
        print(
            f"\n1,000 tools: written in {wrote:.2f} s, {path.stat().st_size / 1e6:.2f} MB, "
            f"loaded in {loaded:.2f} s"
        )
    assert len(many(driver, "details.tool")) == 1000
    assert not shown(driver, "details.tool")  # it opens by stage
    check_the_stages(driver)
    one(driver, "#filter").send_keys("tool_0123")
    assert shown(driver, "details.tool b")[0].startswith("tool_0123")
    assert len(shown(driver, "details.tool")) == 1
    assert "median" in driver.execute_script(
        "return document.querySelector('details.tool:not([hidden]) .more').textContent"
    )
    assert complaints(driver) == []

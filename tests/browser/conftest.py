"""A real headless Chromium, driven through its driver; tests that need it are skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import find_program

#: Seconds after which a page that does not load, or a condition that does not come true, fails the test.
DEADLINE = 120

Driver = Any  # selenium has no types for what it returns
View = Callable[..., Driver]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver

    chromium = find_program("chromium", "chromium-browser", "google-chrome")
    service = webdriver.ChromeService(executable_path=find_program("chromedriver"))
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless",
        "no-sandbox",  # needed for root, as in a container
        "disable-gpu",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_page_load_timeout(DEADLINE)
    browser.set_script_timeout(DEADLINE)
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def view(driver: Driver) -> View:
    """Opens a file in a window of this width, in the light or the dark theme, with JavaScript or without."""

    def open_page(
        path: Path, *, width: int = 1440, is_dark: bool = False, has_script: bool = True
    ) -> Driver:
        send = driver.execute_cdp_cmd
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        send("Emulation.setDeviceMetricsOverride", size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        send("Emulation.setEmulatedMedia", {"features": [theme]})
        send("Emulation.setScriptExecutionDisabled", {"value": not has_script})
        driver.get_log("browser")  # what earlier pages left
        driver.get("about:blank")
        driver.get(path.as_uri())
        return driver

    return open_page

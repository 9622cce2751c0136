"""The parts of the reference that are made from the code are those that the code makes today.

`python -m tests.functional.test_reference` makes them anew.
"""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

import discover_orch.api
from discover_orch.config.settings import KEYS
from tests.support.reference import (
    API_GROUPS,
    MARK,
    MORE,
    PAGES,
    ROOT,
    made_anew,
    made_part,
)

#: Where the links of `MORE` are, where their key does not say it.
PARTS = {"setting": "settings", "key": "keys of ORCH", "option": "options of all commands"}


@pytest.mark.parametrize("name", PAGES)
def test_the_parts_made_from_the_code_are_as_the_code_is(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert made_anew(text) == text, "python -m tests.functional.test_reference makes the page anew"


def test_the_pages_have_every_part() -> None:
    """All commands, documents, settings, keys and names of the Python API, each once."""
    parts = [
        found[2] for name in PAGES for found in MARK.finditer((ROOT / name).read_text("utf-8"))
    ]
    wanted = {
        *("keys of ORCH", "settings", "settings of watch", "options of all commands"),
        *("commands", "documents"),
        *("API Project", *(f"API {one}" for one in API_GROUPS)),
    }
    assert sorted(parts) == sorted(wanted)
    names = ["Project", *(one for group in API_GROUPS.values() for one in group)]
    assert sorted(names) == sorted(discover_orch.api.__all__)


def test_a_change_of_the_code_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "settings.md"
    other = replace(KEYS["jobs"], meaning="another meaning")
    monkeypatch.setitem(KEYS, "jobs", other)
    assert made_anew(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")


def test_every_link_and_name_that_is_added_belongs_to_something() -> None:
    for key, link in MORE.items():
        where, word = key.rsplit(" ", 1)
        part = made_part(PARTS.get(where, where))
        assert re.search(rf"`\"?{word}\b.*{re.escape(link)}", part), key


def main() -> None:
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        (ROOT / name).write_text(made_anew(text), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Shell completion of words that name tools: reads source only and prints nothing."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from discover_orch.cli.options import TARGETS, Context
from tests.support.project_builder import write_files

FILES = {
    "orch.toml": "stages = ['ingest']\ngroups = {nightly = ['fetch']}",
    "src/fetch.py": '"""Gets it."""\nSTAGE = "ingest"\ndef run(): ...',
    "src/find.py": 'STAGE = "ingest"\ndef run(): ...',
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the project of this test."""
    write_files(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(incomplete: str, folder: str | None = None) -> dict[str, str | None]:
    """The words for a shell, with what each is."""
    context = Context()
    context.folder = folder
    ctx = click.Context(
        click.Command("run"), parent=click.Context(click.Group("orch"), obj=context)
    )
    items = TARGETS.shell_complete(ctx, click.Argument(["targets"]), incomplete)
    assert {item.type for item in items} <= {"plain"}
    return {item.value: item.help for item in items}


@pytest.mark.usefixtures("root")
def test_every_word_that_can_be_a_target_is_offered_with_what_it_is() -> None:
    assert completed("") == {
        "ingest": "stage",
        "full": "all stages in order",
        "nightly": "group",
        "fetch": "Gets it.",
        "find": "",
    }


@pytest.mark.parametrize("config", ["stages = [", "jobs = 'x'", "packages = ['nowhere']"])
def test_a_broken_project_completes_nothing_and_says_nothing(
    root: Path, capfd: pytest.CaptureFixture[str], config: str
) -> None:
    write_files(root, {"orch.toml": config})
    assert completed("") == {}
    assert capfd.readouterr() == ("", "")


def test_a_deleted_current_folder_completes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()
    assert completed("") == {}

"""Declared outputs: what counts as there."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.worker.outputs import MissingOutput, check_outputs, find_missing


def test_files_folders_and_globs_that_mean_something_are_there(tmp_path: Path) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/a.csv").write_text("")
    (tmp_path / "report.html").write_text("")
    declared = ("report.html", "out", "out/", "out/deep/a.csv", "out/*/*.csv", "**/a.csv")
    assert find_missing(str(tmp_path), declared) == []


def test_what_means_nothing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    declared = ("a.txt", "out/*.csv", "broken", "out")
    assert find_missing(str(tmp_path), declared) == ["a.txt", "out/*.csv", "broken"]


def test_a_path_out_of_the_project_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert find_missing(str(tmp_path / "root"), (str(tmp_path / "x"),)) == []


def test_the_sentence_names_all_that_is_missing(tmp_path: Path) -> None:
    check_outputs(str(tmp_path), ())
    with pytest.raises(MissingOutput, match=r"^a is declared as output, and not there$"):
        check_outputs(str(tmp_path), ("a",))
    with pytest.raises(MissingOutput, match=r"^a, b are declared"):
        check_outputs(str(tmp_path), ("a", "b"))

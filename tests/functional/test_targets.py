"""The words behind `orch run`: what each of them chooses, in which order, and how it is refused."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": """
        stages = ["ingest", "analyze", "render"]
        groups = {nightly = ["render", "fetch"], all = ["nightly", "analyze"]}
        """,
    "src/pipeline/fetch.py": "STAGE = 'ingest'\ndef run(): ...\n",
    "src/pipeline/parse.py": "STAGE = 'ingest'\nAFTER = 'fetch'\ndef run(): ...\n",
    "src/pipeline/enrich.py": "STAGE = 'analyze'\ndef run(): ...\n",
    "src/analysis/summarize.py": "STAGE = 'analyze'\nAFTER = 'enrich'\ndef run(): ...\n",
    "src/pipeline/render.py": "STAGE = 'render'\ndef run(): ...\n",
}


@pytest.mark.parametrize(
    ("words", "tools"),
    [
        ("", "fetch parse enrich summarize render"),
        ("full", "fetch parse enrich summarize render"),
        ("analyze", "enrich summarize"),
        ("fetch enrich render", "fetch enrich render"),
        ("render fetch", "render fetch"),
        ("parse ingest", "parse fetch"),
        ("nightly", "render fetch"),
        ("all", "render fetch enrich summarize"),
        ("pipeline.*", "fetch parse enrich render"),
        ("*.summarize", "summarize"),
        ("*s*", "fetch parse enrich summarize render"),
        ("fetch ingest fetch", "fetch parse"),
        ("+parse", "fetch parse"),
        ("+enrich", "fetch parse enrich"),
        ("enrich+", "enrich summarize render"),
        ("+enrich+", "fetch parse enrich summarize render"),
        ("stage:analyze+", "enrich summarize render"),
        ("--exclude analyze", "fetch parse render"),
        ("--exclude +parse --exclude tool:render", "enrich summarize"),
        ("ingest --exclude pipeline.f*", "parse"),
        ("-- fetch", "fetch"),
    ],
)
def test_a_word_chooses_exactly_what_it_names(
    words: str, tools: str, project: Project, orch: Orch
) -> None:
    project(PIPELINE)
    answer = orch("run", "-n", "--json", *words.split())
    assert answer.code == 0, answer.text
    assert [step["name"] for step in answer.json["tools"]] == tools.split()


def test_a_file_is_relative_to_where_it_was_typed(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    here = root / "src" / "pipeline"
    for word in ("fetch.py", "../pipeline/fetch.py", str(here / "fetch.py")):
        answer = orch("run", "-n", "--json", word, cwd=here)
        assert [step["name"] for step in answer.json["tools"]] == ["fetch"], word
    wrong = orch("run", "-n", "src/pipeline/fetch.py", cwd=root / "src")
    assert wrong.code == 2
    assert 'hint: did you mean "pipeline/fetch.py"?' in wrong.err


def test_all_unknown_words_are_told_at_once(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    answer = orch("run", "one", "fetch", "two", "--exclude", "three")
    assert [line for line in answer.err.splitlines() if line.startswith("error")] == [
        f'error: unknown target "{word}"' for word in ("one", "two", "three")
    ]


def test_a_word_that_means_a_module_without_a_tag_says_so(project: Project, orch: Orch) -> None:
    tag = "STAGE = 'ingest'\n"
    odd = {"src/my-tool.py": f"{tag}def run(): ...\n", "src/norun.py": tag, "src/util.py": ""}
    project({**PIPELINE, **odd})
    answer = orch("run", "fetch", "util", "norun", "my-tool")
    assert answer.code == 2
    assert "error: src/util.py: not a tool: it has no STAGE\n" in answer.err
    assert "error: src/norun.py:1: not a tool: has STAGE but no run()\n" in answer.err
    assert "error: src/my-tool.py:1: not a tool: contains STAGE, but its file name" in answer.err


def test_a_run_that_could_reach_a_broken_file_is_refused_and_another_goes_on(
    project: Project, orch: Orch
) -> None:
    project({**PIPELINE, "src/broken.py": "STAGE = 'analyze'\ndef run(:\n"})
    for line in ("", "analyze", "broken", "src/broken.py", "enrich+", "src.b*"):
        answer = orch("run", *line.split())
        assert (answer.code, answer.out) == (4, ""), line
        assert "error: src/broken.py:2: not valid Python" in answer.err
    for line in ("ingest", "enrich", "fetch summarize", "+parse"):
        answer = orch("run", "-n", *line.split())
        assert answer.code == 0, line
        assert "warning: src/broken.py:2: not valid Python" in answer.err


def test_orch_with_a_target_says_orch_run(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for words in (("ingest",), ("fetch",), ("nightly",), ("+render",), ("fetch", "render")):
        answer = orch(*words)
        assert answer.code == 2
        assert f'error: "{words[0]}" is not an orch command' in answer.err
        assert f"hint: run it with: orch run {' '.join(words)}\n" in answer.err
    assert 'hint: did you mean "orch list"?' in orch("lisst").err
    assert 'hint: did you mean "orch run ingest --limit 3"?' in orch("ingst", "--limit", "3").err

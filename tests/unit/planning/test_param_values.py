"""Where a value comes from: command line over environment over file over default."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from discover_orch.config.project import ParamDefault, Project
from discover_orch.discovery.names import build_names
from discover_orch.planning.param_values import GivenParams, KeyValue, find_value, is_same_name
from tests.support.values import make_param, make_project, make_tool

NAMES = build_names([("src.parse", None), ("src.fetch", None)])
PARSE = make_tool("src.parse", params=[make_param("since")])


def given(text: str) -> KeyValue:
    key, _, value = text.partition("=")
    tool, _, name = key.rpartition(".")
    return KeyValue(tool=tool or None, name=name, text=value)


def value(
    *pairs: str,
    options: Mapping[str, tuple[str, ...]] | None = None,
    project: Project | None = None,
    folder: str = "",
    kind: str = "str",
    many: bool = False,
) -> ParamDefault | None:
    assert kind in ("str", "path")
    param = make_param("since", "path" if kind == "path" else "str", many=many)
    values = GivenParams(options=options or {}, pairs=tuple(map(given, pairs)), folder=folder)
    return find_value(param, PARSE, values, project or make_project(), NAMES)


def test_what_is_not_given_is_nothing() -> None:
    assert value() is None
    assert value("until=1", "fetch.since=2", options={"until": ("3",)}) is None


def test_the_nearer_place_wins() -> None:
    table = {"params": {"since": "file", "parse": {"since": "file for parse"}}}
    environ = {"ORCH_PARAM_SINCE": "environment"}
    everything = make_project(table, **environ)
    typed = {"since": ("option",)}
    sources: list[tuple[ParamDefault | None, str, str]] = [
        (
            value("since=p", "parse.since=own", options=typed, project=everything),
            "own",
            "-p parse.since",
        ),
        (value("since=p", options=typed, project=everything), "option", "--since"),
        (value("since=p", project=everything), "p", "-p since"),
        (value(project=everything), "environment", "ORCH_PARAM_SINCE"),
        (value(project=make_project(table)), "file for parse", "orch.toml"),
        (value(project=make_project({"params": {"since": "file"}})), "file", "orch.toml"),
    ]
    for setting, text, origin in sources:
        assert setting == ParamDefault(texts=(text,), origin=origin)


def test_a_table_of_another_tool_is_no_matter() -> None:
    project = make_project({"params": {"fetch": {"since": "x"}}})
    assert value(project=project) is None


@pytest.mark.parametrize("word", ["parse", "src.parse"])
def test_a_tool_is_named_by_any_word_for_it(word: str) -> None:
    found = value(f"{word}.since=x")
    assert found is not None
    assert found.texts == ("x",)


def test_dashes_and_underscores_are_alike() -> None:
    assert is_same_name("start-date", "start_date")
    assert not is_same_name("start", "start_date")
    tool = make_tool("src.parse", params=[make_param("start_date")])
    for text in ("start-date=x", "parse.start-date=x"):
        values = GivenParams(pairs=(given(text),))
        found = find_value(tool.params[0], tool, values, make_project(), NAMES)
        assert found is not None
        assert found.texts == ("x",)


def test_a_list_keeps_every_repetition() -> None:
    found = value("since=a", "since=b", many=True)
    assert found is not None
    assert found.texts == ("a", "b")


def test_a_list_from_the_environment_is_cut_at_commas() -> None:
    project = make_project(ORCH_PARAM_SINCE="a, b,,c")
    many, one = value(project=project, many=True), value(project=project)
    assert many is not None
    assert one is not None
    assert (many.texts, one.texts) == (("a", "b", "c"), ("a, b,,c",))


def test_a_path_on_the_command_line_is_relative_to_where_it_was_typed() -> None:
    def path(text: str, folder: str, **environ: str) -> tuple[str, ...]:
        options = {"since": (text,)} if text else {}
        found = value(
            options=options, folder=folder, kind="path", project=make_project(None, **environ)
        )
        assert found is not None
        return found.texts

    assert path("x.csv", "/project/data") == ("/project/data/x.csv",)
    assert path("../x.csv", "/project/data") == ("/project/x.csv",)
    assert path("/x.csv", "/project/data") == ("/x.csv",)
    assert path("x.csv", "/project") == ("x.csv",)
    assert path("", "/project/data", ORCH_PARAM_SINCE="x.csv") == ("x.csv",)

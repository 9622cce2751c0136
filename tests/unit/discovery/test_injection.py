"""What a `run()` asks for: resources, parameters, and what nobody can give."""

from __future__ import annotations

from discover_orch.discovery.injection import conf_problems, offered_resources, split_arguments
from discover_orch.source.facts import ArgumentFacts, RunFacts, UnknownType
from tests.support.values import make_argument, make_conf, make_type, said


def unknown(name: str, default_source: str | None) -> ArgumentFacts:
    kind = UnknownType(text="DataFrame")
    return ArgumentFacts(name=name, line=3, type=kind, default_source=default_source)


def positional(name: str, default_source: str | None = None) -> ArgumentFacts:
    return ArgumentFacts(
        name=name,
        line=3,
        type=make_type(),
        is_positional_only=True,
        default_source=default_source,
    )


def split(
    *arguments: ArgumentFacts, resources: dict[str, list[str]] | None = None
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """(resources, names of parameters, problems)."""
    conf = None if resources is None else make_conf(resources)
    run = RunFacts(line=3, arguments=arguments)
    injected, params, problems = split_arguments(run, conf, "src/x.py")
    return injected, [param.name for param in params], said(problems)


def test_conn_is_injected_with_and_without_an_orchconf() -> None:
    assert split(make_argument("conn"), make_argument("since")) == (("conn",), ["since"], [])
    assert split(make_argument("conn"), resources={"http": []}) == (("conn",), [], [])


def test_a_resource_of_orchconf_is_injected_whatever_its_annotation() -> None:
    http = unknown("http", None)
    assert split(http, resources={"http": []}) == (("http",), [], [])
    assert split(make_argument("http", "int"), resources={"http": []}) == (("http",), [], [])
    assert split(make_argument("http"))[:2] == ((), ["http"])


def test_a_parameter_keeps_all_that_its_signature_says() -> None:
    argument = ArgumentFacts(
        name="since",
        line=3,
        type=make_type("date", optional=True),
        default=None,
        default_source="None",
        help="From here on.",
    )
    _, (param,), problems = split_arguments(RunFacts(line=3, arguments=(argument,)), None, "x.py")
    assert problems == ()
    assert (param.name, param.type, param.default_source, param.help) == (
        "since",
        make_type("date", optional=True),
        "None",
        "From here on.",
    )
    assert not param.required


def test_an_unknown_annotation_with_a_default_is_no_option_and_no_problem() -> None:
    assert split(unknown("frame", "None")) == ((), [], [])


def test_an_unknown_annotation_without_a_default_is_an_error() -> None:
    (line,) = split(unknown("frame", None))[2]
    assert line.startswith(
        'src/x.py:3: argument "frame" of run() is neither a resource nor of a supported type'
    )
    assert "give it a default, define a @resource of that name in orchconf.py" in line


def test_a_mistyped_resource_is_told_with_the_nearest() -> None:
    (line,) = split(unknown("htp", None), resources={"http": []})[2]
    assert line.endswith('(did you mean the resource "http"?)')


def test_what_can_only_be_given_by_position_is_an_error_unless_it_has_a_default() -> None:
    assert split(positional("x", "1")) == ((), [], [])
    (line,) = split(positional("conn"))[2]
    assert line.startswith('src/x.py:3: argument "conn" of run() is positional-only')


# orchconf.py.


def test_resources_may_use_resources_and_conn() -> None:
    conf = make_conf({"http": ["conn"], "api": ["http"]})
    assert conf_problems(conf) == ()
    assert offered_resources(conf) == ("conn", "http", "api")


def test_a_resource_that_takes_what_nobody_gives_is_told_on_its_line() -> None:
    conf = make_conf({"http": [], "api": ["htp"]})
    assert said(conf_problems(conf)) == [
        'orchconf.py:2: resource "api" requires "htp", which is not defined (did you mean "http"?)'
    ]


def test_resources_in_a_circle_are_told_with_each_place() -> None:
    (line,) = said(conf_problems(make_conf({"a": ["b"], "b": ["a"]})))
    assert "a (orchconf.py:1)" in line
    assert "b (orchconf.py:2)" in line


def test_conn_cannot_be_a_resource_of_the_users() -> None:
    (line,) = said(conf_problems(make_conf({"conn": []})))
    assert line.startswith('orchconf.py:1: a resource cannot be named "conn"')

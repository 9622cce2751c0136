"""Words typed, and the tools that they choose: every form, and every way to get one wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import DiscoveryError, EmptyError, ExitCode, UsageError
from discover_orch.planning.selection import Selection, TypedAt, completions, select
from discover_orch.source.facts import PassedOver
from tests.support.values import ROOT, make_broken, make_conf, make_facts, make_registry, said

STAGES = ("ingest", "analyze", "render")


def sample(*more: object, **options: object) -> Registry:
    """The project of the idea page."""
    return make_registry(
        make_facts("src.analysis.summarize", "analyze", after="enrich"),
        make_facts("src.pipeline.enrich", "analyze"),
        make_facts("src.pipeline.fetch", "ingest"),
        make_facts("src.pipeline.parse", "ingest", after="fetch"),
        make_facts("src.pipeline.render", "render"),
        *more,  # type: ignore[arg-type]
        stages=STAGES,
        **options,  # type: ignore[arg-type]
    )


def shown(selection: Selection) -> str:
    return " ".join(module.rsplit(".", 1)[-1] for module in selection.tools)


def chosen(
    targets: str,
    registry: Registry | None = None,
    *,
    exclude: Sequence[str] = (),
    folder: str = "",
) -> str:
    place = TypedAt(root=ROOT, folder=folder)
    return shown(select(targets.split(), registry or sample(), exclude=exclude, place=place))


def wrong(
    targets: str, registry: Registry | None = None, *, exclude: Sequence[str] = ()
) -> list[str]:
    with pytest.raises(UsageError) as caught:
        chosen(targets, registry, exclude=exclude)
    assert caught.value.exit_code == ExitCode.USAGE
    return said(caught.value.problems)


def refused(targets: str, registry: Registry, *, exclude: Sequence[str] = ()) -> list[str]:
    with pytest.raises(DiscoveryError) as caught:
        chosen(targets, registry, exclude=exclude)
    assert caught.value.exit_code == ExitCode.DISCOVERY
    return [problem.message for problem in caught.value.problems]


def goes_on(targets: str, registry: Registry, *, exclude: Sequence[str] = ()) -> list[str]:
    selection = select(targets.split(), registry, exclude=exclude)
    assert {problem.severity for problem in selection.warnings} == {"warning"}
    return [problem.message for problem in selection.warnings]


# What each form of a target means.


@pytest.mark.parametrize(
    ("targets", "tools"),
    [
        ("", "fetch parse enrich summarize render"),
        ("full", "fetch parse enrich summarize render"),
        ("ingest", "fetch parse"),
        ("stage:analyze", "enrich summarize"),
        ("fetch enrich render", "fetch enrich render"),
        ("render enrich fetch", "render enrich fetch"),
        ("pipeline.parse", "parse"),
        ("src.pipeline.parse", "parse"),
        ("tool:parse", "parse"),
        ("src/pipeline/parse.py", "parse"),
        ("./src/pipeline/../pipeline/parse.py", "parse"),
        ("/project/src/pipeline/parse.py", "parse"),
        ("pipeline.*", "fetch parse enrich render"),
        ("*e", "parse summarize"),
        ("?arse", "parse"),
        ("[fp]a*", "parse"),
        ("+enrich", "fetch parse enrich"),
        ("enrich+", "enrich summarize render"),
        ("+enrich+", "fetch parse enrich summarize render"),
        ("+analyze", "fetch parse enrich summarize"),
        ("stage:analyze+", "enrich summarize render"),
        ("+stage:render", "fetch parse enrich summarize render"),
        ("+src/pipeline/parse.py", "fetch parse"),
        ("parse+", "parse enrich summarize render"),
        ("render parse render ingest", "render parse fetch"),
        ("analyze full", "enrich summarize fetch parse render"),
    ],
)
def test_each_form_of_a_target_means_its_tools(targets: str, tools: str) -> None:
    assert chosen(targets) == tools


def test_a_stage_wins_over_a_tool_of_its_name() -> None:
    registry = sample(make_facts("src.draw", "render"))
    assert chosen("render", registry) == "draw render"
    assert chosen("tool:render", registry) == "render"
    assert chosen("stage:render", registry) == "draw render"


def test_a_group_wins_over_a_tool_and_is_expanded_in_the_order_written() -> None:
    registry = sample(groups={"parse": ["render", "parse", "ingest"], "all": ["parse", "analyze"]})
    with pytest.raises(UsageError):  # it names itself
        chosen("parse", registry)
    registry = sample(
        groups={"nightly": ["render", "tool:parse", "ingest"], "all": ["nightly", "+enrich"]}
    )
    assert chosen("nightly", registry) == "render parse fetch"
    assert chosen("all", registry) == "render parse fetch enrich"
    assert chosen("+nightly", registry) == "fetch parse enrich summarize render"
    fetching = sample(groups={"parse": ["fetch"]})
    assert chosen("parse", fetching) == "fetch"
    assert chosen("tool:parse", fetching) == "parse"


def test_a_file_in_a_group_is_relative_to_the_root() -> None:
    registry = sample(groups={"nightly": ["src/pipeline/parse.py"]})
    assert chosen("nightly", registry, folder="src/analysis") == "parse"


def test_a_glob_never_matches_a_stage() -> None:
    with pytest.raises(UsageError):
        chosen("ing*")
    assert chosen("rend*", sample(make_facts("src.draw", "render"))) == "render"


def test_the_name_from_orch_is_a_target() -> None:
    registry = sample(make_facts("src.load", "ingest", orch={"name": "load-all"}))
    assert chosen("load-all load", registry) == "load"


def test_the_word_that_chose_a_tool_first_is_remembered() -> None:
    selection = select(["parse", "ingest", "+enrich"], sample())
    assert list(selection.chosen_by.values()) == ["parse", "ingest", "+enrich"]
    assert selection.directions == {}
    assert select(["+parse+"], sample()).directions == {
        "src.pipeline.fetch": "upstream",
        "src.pipeline.enrich": "downstream",
        "src.analysis.summarize": "downstream",
        "src.pipeline.render": "downstream",
    }


TARGETS = [
    "fetch",
    "parse",
    "enrich",
    "ingest",
    "analyze",
    "render",
    "full",
    "+enrich",
    "parse+",
    "pa*",
]


@given(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=5))
def test_the_typed_order_is_kept_and_duplicates_are_dropped_at_their_second_place(
    words: list[str],
) -> None:
    registry = sample()
    each = [module for word in words for module in select([word], registry).tools]
    assert select(words, registry).tools == tuple(dict.fromkeys(each))


@given(
    st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3),
    st.lists(st.sampled_from(TARGETS), max_size=3),
)
def test_what_is_excluded_is_never_chosen_and_nothing_else_is_lost(
    words: list[str], exclude: list[str]
) -> None:
    registry = sample()
    whole = select(words, registry).tools
    out = {module for word in exclude for module in select([word], registry).tools}
    left = tuple(module for module in whole if module not in out)
    if left:
        assert select(words, registry, exclude=exclude).tools == left
    else:
        with pytest.raises(EmptyError):
            select(words, registry, exclude=exclude)


# What means nothing.


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("ingst", '-: unknown target "ingst" (did you mean "ingest"? '),
        ("prase", '-: unknown target "prase" (did you mean "parse"? '),
        ("+prase", '-: unknown target "+prase" (did you mean "parse"? '),
        ("zzz", '-: unknown target "zzz" (orch list shows all stages and tools)'),
        ("stage:ingst", '-: unknown stage "ingst" (did you mean "ingest"? '),
        ("stage:fetch", '-: unknown stage "fetch" ("fetch" is a tool: leave "stage:" out)'),
        ("tool:ingest", '-: unknown target "tool:ingest" ("ingest" is a stage: leave "tool:" out)'),
        ("x*", '-: no tool matches "x*"'),
        (
            "src/pipeline/prase.py",
            '-: "src/pipeline/prase.py" is not the file of a tool (did you mean',
        ),
        ("+", '-: unknown target "+"'),
        ("stage:", '-: unknown target "stage:"'),
        ("pipeline", '-: "pipeline" is a folder, not a tool (to select all tools below it, use'),
        (
            "fetch,parse",
            '-: unknown target "fetch,parse" (separate targets with spaces, not commas)',
        ),
        ("since=2024", '-: unknown target "since=2024" (set a parameter with: -p since=2024)'),
        (
            "parse.py",
            '-: "parse.py" is not the file of a tool (did you mean "src/pipeline/parse.py"?',
        ),
    ],
)
def test_an_unknown_word_is_an_error_with_the_nearest_name(word: str, line: str) -> None:
    (found,) = wrong(word)
    assert found.startswith(line)


@pytest.mark.parametrize("orch", [None, {"retrys": 1}])
def test_an_ambiguous_word_lists_the_candidates_also_those_with_problems(
    orch: Mapping[str, object] | None,
) -> None:
    registry = make_registry(make_facts("src.a.parse", orch=orch), make_facts("src.b.parse"))
    assert wrong("parse", registry) == [
        '-: "parse" matches several tools (use one of a.parse, b.parse)'
    ]
    assert chosen("b.parse", registry) == "parse"


def test_a_wrong_word_in_a_group_is_told_with_the_group() -> None:
    registry = sample(groups={"nightly": ["ingest", "prase"]})
    (line,) = wrong("nightly", registry)
    assert line.startswith('-: unknown target "prase" (in group "nightly")')


def test_a_group_that_contains_itself_is_an_error() -> None:
    registry = sample(groups={"a": ["b"], "b": ["fetch", "a"]})
    (line,) = wrong("a", registry)
    assert line.startswith('-: group "a" contains itself')


@pytest.mark.parametrize("word", ["old", "src.old", "src/old.py", "tool:old"])
def test_a_disabled_tool_that_is_named_says_that_it_is_disabled(word: str) -> None:
    (line,) = wrong(word, sample(make_facts("src.old", None)))
    assert line == 'src/old.py:3: "old" is disabled (its module sets STAGE = None)'


def test_a_file_that_is_no_tool_says_why() -> None:
    over = PassedOver(path="src/test_x.py", reason="files of this name are not scanned")
    (line,) = wrong("src/test_x.py", sample(passed_over=[over]))
    assert line.startswith("src/test_x.py: not a tool: files of this name")


@pytest.mark.parametrize("word", ["util", "src.util", "src/util.py", "+util", "tool:util"])
def test_a_scanned_module_that_is_no_tool_says_why(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        select([word], sample(), files=["src/pipeline/parse.py", "src/util.py"])
    (line,) = said(caught.value.problems)
    assert line.startswith("src/util.py: not a tool: it has no STAGE (a tool has a top-level STAGE")


@pytest.mark.parametrize(
    ("targets", "exclude", "message"),
    [
        ("ingest", ("ingest",), "no tools left to run"),
        ("empty", (), "no tools in empty"),
    ],
)
def test_nothing_left_is_its_own_exit_code(
    targets: str, exclude: Sequence[str], message: str
) -> None:
    registry = make_registry(make_facts("a"), stages=("ingest", "empty"))
    with pytest.raises(EmptyError) as caught:
        chosen(targets, registry, exclude=exclude)
    assert caught.value.exit_code == ExitCode.EMPTY
    assert caught.value.problems[0].message == message


def test_a_project_without_tools_says_what_a_tool_is() -> None:
    with pytest.raises(EmptyError) as caught:
        select([], make_registry())
    (problem,) = caught.value.problems
    assert problem.message == "no tools found"


# Files that cannot be read.


@pytest.mark.parametrize(
    "targets",
    [
        "",
        "full",
        "render",
        "stage:render",
        "fetch render",
        "+render",
        "fetch+",
        "+tool:render",
        "summarize+",
        "broken",
        "src.broken",
        "tool:broken",
        "src/broken.py",
        "bro*",
        "nightly",
    ],
)
def test_a_run_that_could_reach_a_broken_file_is_refused(targets: str) -> None:
    registry = sample(make_broken("src.broken", "render"), groups={"nightly": ["fetch", "render"]})
    assert refused(targets, registry) == ["src.broken is broken"]


@pytest.mark.parametrize(
    "targets", ["fetch", "ingest", "analyze", "pipeline.*", "tool:render", "+enrich", "+parse"]
)
def test_another_run_goes_on_with_a_warning(targets: str) -> None:
    assert goes_on(targets, sample(make_broken("src.broken", "render"))) == ["src.broken is broken"]


@pytest.mark.parametrize("targets", ["", "ingest", "render", "+fetch", "render+"])
def test_a_broken_file_of_no_known_stage_could_be_of_any(targets: str) -> None:
    assert refused(targets, sample(make_broken("src.broken"))) == ["src.broken is broken"]
    assert goes_on("fetch tool:render", sample(make_broken("src.broken")))


def test_a_stage_that_only_a_broken_file_has_is_known() -> None:
    registry = make_registry(make_facts("a"), make_broken("b", "render"))
    assert refused("render", registry) == ["b is broken"]
    assert refused("stage:render", registry) == ["b is broken"]


@pytest.mark.parametrize("word", ["render", "broken", "src/broken.py", "src.b*"])
def test_a_broken_file_that_is_excluded_cannot_be_reached(word: str) -> None:
    registry = sample(make_broken("src.broken", "render"))
    assert goes_on("full", registry, exclude=[word]) == ["src.broken is broken"]


def test_a_broken_file_that_is_only_perhaps_excluded_can_be_reached() -> None:
    assert refused("full", sample(make_broken("src.broken")), exclude=["render"])


def test_a_tool_with_a_problem_is_refused_by_the_name_from_orch_too() -> None:
    bad = make_facts("src.load", "ingest", orch={"name": "load-all", "retrys": 1})
    assert refused("load-all", sample(bad)) == ['unknown key "retrys" in ORCH']
    assert goes_on("fetch", sample(bad))


def test_a_cycle_is_reported_once() -> None:
    registry = make_registry(
        make_facts("a", after="b"), make_facts("b", after="a"), make_facts("c")
    )
    assert len(refused("", registry)) == 1
    assert len(goes_on("c", registry)) == 1


def test_a_problem_of_orchconf_concerns_every_run() -> None:
    registry = sample(conf=make_conf({"http": ["x"]}))
    for targets in ("", "fetch", "src/pipeline/fetch.py"):
        assert refused(targets, registry) == ['resource "http" requires "x", which is not defined']
    assert refused("full", registry, exclude=["fetch"])


def test_a_wrong_word_is_reported_before_a_broken_file() -> None:
    assert wrong("full zzz", sample(make_broken("src.broken")))


def test_completion_offers_what_can_be_typed() -> None:
    words = [word for word, _ in completions(sample(groups={"nightly": ["fetch"]}))]
    assert words == [
        *("ingest", "analyze", "render", "full", "nightly"),
        *("fetch", "parse", "enrich", "summarize", "render"),
    ]


def test_completion_offers_stage_and_tool_prefixes_on_demand() -> None:
    words = {word for word, _ in completions(sample(), forced=True)}
    assert {"stage:render", "tool:render", "stage:ingest", "tool:fetch"} <= words
    assert all(chosen(word) for word in words)

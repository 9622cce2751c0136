"""The parts of the reference pages that are made from the code: options, settings, keys, JSON and the API.

A page marks the place of such a part by two comments, and all between them is made anew:

    <!--made: orch list-->
    ...
    <!--end-->
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

import discover_orch.api
from discover_orch.cli.app import COMMANDS, app
from discover_orch.config.project import Project
from discover_orch.config.settings import KEYS as SETTINGS
from discover_orch.config.settings import WATCH
from discover_orch.discovery.orch_tag import RULES as ORCH_KEYS
from tests.support.json_shapes import Shape

ROOT = Path(__file__).parents[2]
PAGES = ("docs/tags.md", "docs/settings.md", "docs/commands.md", "docs/json.md", "docs/api.md")
RECORDED = ROOT / "tests" / "cases" / "documents"
WIDTH = 118
MARK = re.compile(r"(<!--made: ([^\n]+)-->\n)(.*?)(<!--end-->)", re.DOTALL)

#: Where the pages say more about an option, a setting or a key.
MORE: Mapping[str, str] = {
    "orch run --jobs": "[Several at a time](parallel.md)",
    "orch run --executor": "[Executors](scaling.md)",
    "option --junit": "[CI](ci.md)",
    "option --trace": "[Traces](events.md#traces)",
    "option --openlineage": "[OpenLineage](events.md#openlineage)",
    "orch run --on-failure": "[JSON](json.md#the-summary-of-a-run)",
    "setting database": "[Databases](databases.md)",
    "setting transaction": "[Transactions](transactions.md)",
    "setting memory": "[The memory in the database](transactions.md#the-memory-in-the-database)",
    "setting secrets": "[Secrets](secrets.md)",
    "setting jobs": "[Several at a time](parallel.md)",
    "setting executor": "[Executors](scaling.md)",
    "setting report": "[The report page](report.md)",
    "key transaction": "[Transactions](transactions.md)",
    "key tokens": "[Several at a time](parallel.md)",
}
#: The recorded documents of each command: (file, document), of which the first that has a key gives its place.
DOCUMENTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "list": [
        ("mixed", "list"),
        ("mixed", "list-stage"),
        ("sample", "list-sources"),
        ("broken", "list"),
    ],
    "run --dry-run": [
        ("mixed", "dry-run"),
        ("sample", "dry-run-jobs"),
        ("sample", "dry-run-changed"),
    ],
    "status": [
        ("mixed", "status"),
        ("mixed", "status-mended"),
        ("sample", "status-stale"),
        ("sample", "status-one"),
        ("mixed", "status-left-over"),
    ],
    "history": [("mixed", "history"), ("sample", "history")],
    "history RUN RUN": [("mixed", "history-two")],
    "history --metrics": [("mixed", "history-metrics")],
    "logs": [("mixed", "logs")],
    "graph": [("mixed", "graph")],
    "report": [("mixed", "report"), ("mixed", "report-files")],
    "check": [("mixed", "check")],
    "lock": [("mixed", "lock")],
    "accept": [("mixed", "accept")],
    "clean": [("mixed", "clean")],
}
#: The names of the Python API but `Project`, as the page shows them together.
API_GROUPS: Mapping[str, Sequence[str]] = {
    "results": ["Result", "Outcome", "CheckResult", "Failure", "RunFailed"],
    "values": [
        *("Tool", "Param", "Stage", "ToolStatus", "Used", "Plan", "Step", "Value", "Problem"),
        "OrchError",
    ],
    "events": [
        *("Event", "RunStarted", "ItemsFound", "ToolStarted", "ToolOutput", "ToolRetried"),
        *("ToolFinished", "TransactionEnded", "Note", "RunFinished"),
    ],
}


def made_anew(text: str) -> str:
    """The page with all parts that are made from the code as the code is now."""

    def replaced(found: re.Match[str]) -> str:
        return f"{found[1]}{made_part(found[2])}\n{found[4]}"

    return MARK.sub(replaced, text)


def made_part(name: str) -> str:
    parts: Mapping[str, Callable[[], str]] = {
        "keys of ORCH": _orch_keys,
        "settings": _settings,
        "settings of watch": _watch_settings,
        "options of all commands": _common_options,
        "commands": _commands,
        **{f"orch {one}": partial(_command, one) for one in COMMANDS},
        "documents": _documents,
        "API Project": partial(_api, "Project"),
        **{f"API {one}": partial(_api_group, one) for one in API_GROUPS},
    }
    return parts[name]().strip()


# Lists.


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {names}: {told}" for names, told in rows)


def _and_more(key: str, text: str) -> str:
    return f"{text} ({MORE[key]})" if key in MORE else text


def _orch_keys() -> str:
    rows = [(f'`"{key}"`', _and_more(f"key {key}", one.meaning)) for key, one in ORCH_KEYS.items()]
    return _list(rows)


def _settings() -> str:
    rows = [
        (f"`{key} = {_default_of(key)}`", _and_more(f"setting {key}", one.meaning))
        for key, one in SETTINGS.items()
    ]
    return _list(rows)


def _default_of(key: str) -> str:
    """The default of a setting, as it is written in TOML."""
    value = getattr(Project(root="/"), key)
    if key == "project":
        return "the name in pyproject.toml, else of the folder"
    is_plain = isinstance(value, str | int | float | tuple)
    return json.dumps(value if is_plain else {})  # all others are tables


def _watch_settings() -> str:
    return _list((f"`{key} = {one.default}`", one.meaning) for key, one in WATCH.items())


# Commands.

#: Options that all or several commands have, described once: an option, and a command that has it.
SHARED: Mapping[str, str] = {
    "--project": "list",
    "--color": "list",
    "--help": "list",
    "--exclude": "list",
    "--param": "run",
    "--database": "run",
    "--if-busy": "run",
    "--changed-since": "run",
    "--junit": "run",
    "--trace": "run",
    "--openlineage": "run",
    "--json": "list",
}
#: Of these, what every command has.
COMMON = ("--project", "--color", "--help")


def _context(name: str) -> tuple[click.Command, click.Context]:
    found = app.get_command(click.Context(app), name)
    assert found is not None
    settings = {"help_option_names": ["-h", "--help"]}
    return found, click.Context(found, info_name=f"orch {name}", **settings)  # type: ignore[arg-type]


def _commands() -> str:
    return "\n\n".join(f"### orch {one}\n\n{_command(one)}" for one in COMMANDS)


def _command(name: str) -> str:
    found, ctx = _context(name)
    pieces = [one for one in found.collect_usage_pieces(ctx) if one != "[OPTIONS]"]
    usage = " ".join((f"orch {name}", *pieces)).replace("...", "…")
    told = inspect.cleandoc(found.help or "")
    text = "\n\n".join(_wrapped(part) for part in told.split("\n\n"))
    rows = _option_rows(name, _options(found, ctx))
    common, shared = _shared_options(COMMON), _shared_options()
    own = [row for row in rows if row not in shared]
    also = [row[0] for row in rows if row in shared and row not in common]
    names = [re.sub(r"^.*, `|`| .*$", "", one) for one in also]
    more = f"Also {', '.join(f'`{one}`' for one in names)}." if names else ""
    table = _list(own)
    shown = "" if usage == f"orch {name}" else f"`{usage}`"
    return "\n\n".join(one for one in (shown, text, table, more) if one)


def _options(found: click.Command, ctx: click.Context) -> list[click.Option]:
    return [one for one in found.get_params(ctx) if isinstance(one, click.Option)]


def _shared_options(flags: Iterable[str] = tuple(SHARED)) -> list[tuple[str, str]]:
    rows = []
    for flag in flags:
        command = SHARED[flag]
        options = _options(*_context(command))
        rows += _option_rows(command, [one for one in options if flag in one.opts])
    return rows


def _common_options() -> str:
    return _list(_shared_options())


def _option_rows(command: str, options: Iterable[click.Option]) -> list[tuple[str, str]]:
    _, ctx = _context(command)
    rows = []
    for option in options:
        record = option.get_help_record(ctx)
        if record is None:
            continue
        flags, told = record
        flags = re.sub(r"\[(\w+(?:\|\w+)+)\]", r"\1", flags)
        shown = ", ".join(f"`{one}`" for one in flags.split(", "))
        flag = max(option.opts, key=len)
        more = MORE.get(f"orch {command} {flag}") or MORE.get(f"option {flag}")
        rows.append((shown, _option_text(told) + (f" See {more}." if more else "")))
    return rows


def _option_text(told: str) -> str:
    """The help of an option, with its default as a sentence and without the range of a number."""
    text = re.sub(r" +\[[\d.x<>=]+\]", "", told)
    text = re.sub(r" +\[default: (.+?)(?:; [\d.x<>=]+)?\]", r" Default: \1.", text)
    text = re.sub(r" +\[required\]", " Required.", text)
    # What is typed is code: options, values, URLs, files.
    typed = r"(?<![\w`/])(--?[a-z][a-z-]*|[\w.]+=[\w.-]+|\w+:///?[\w.]+|\.\w+/[\w/.]+)"
    return re.sub(typed, lambda one: f"`{one[0].rstrip('.')}`" + "." * one[0].endswith("."), text)


def _wrapped(text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False
    )


# JSON, from recorded documents.


def _recorded(places: Iterable[tuple[str, str]]) -> Iterator[Any]:
    for file, document in places:
        yield json.loads((RECORDED / f"{file}.json").read_text(encoding="utf-8"))[document]


def _documents() -> str:
    return "\n\n".join(f"## orch {one}\n\n{_document(one)}" for one in DOCUMENTS)


def _document(command: str) -> str:
    shape = Shape()
    for document in _recorded(DOCUMENTS[command]):
        shape.add(document)
    return "\n".join(("```", *shape.lines(), "```"))


# The Python API, from signatures and docstrings.


def _api_group(group: str) -> str:
    return "\n\n".join(f"### {name}\n\n{_api(name)}" for name in API_GROUPS[group])


def _api(name: str) -> str:
    found = getattr(discover_orch.api, name)
    if name == "Event":
        assert [one.__name__ for one in get_args(found)] == [*API_GROUPS["events"][1:]]
        return "One of the values below."
    text = "\n\n".join(
        _wrapped(part) for part in inspect.cleandoc(found.__doc__ or "").split("\n\n")
    )
    if name == "Project":
        members = [_signature("Project", found.__init__)]
        members += [
            _member(one, found.__dict__[one]) for one in found.__dict__ if not one.startswith("_")
        ]
        return "\n\n".join((text, *members))
    if name == "ToolFinished":  # its docstring says that it has the fields of an `Outcome`
        return text
    methods = [
        f"{one}{_plain(inspect.signature(value))}"
        for one, value in found.__dict__.items()
        if inspect.isfunction(value) and not one.startswith("_")
    ]
    return "\n".join((text, "", "```", *_fields_of_one_type(_fields(name, found)), *methods, "```"))


def _fields(name: str, found: Any) -> Iterator[tuple[str, str]]:
    """The fields of a value and their types, its properties too."""
    if issubclass(found, msgspec.Struct):
        written = {
            field: text
            for kind in reversed(found.__mro__)
            for field, text in getattr(kind, "__annotations__", {}).items()
        }
        for one in msgspec.structs.fields(found):
            if not (name in API_GROUPS["events"] and one.name == "time"):  # said once, above them
                yield one.name, written[one.name].replace("'", '"')
    for member, value in found.__dict__.items():
        if isinstance(value, property):
            yield member, value.fget.__annotations__["return"]
    if name == "OrchError":
        yield from (("problems", "tuple[Problem, ...]"), ("exit_code", "ExitCode"))
    if name == "RunFailed":
        yield "result", "Result"


def _fields_of_one_type(fields: Iterable[tuple[str, str]]) -> list[str]:
    """`name, module: str`: fields in a row that have the same type share a line."""
    return [
        f"{', '.join(name for name, _ in alike)}: {kind}"
        for kind, alike in groupby(fields, key=lambda one: one[1])
    ]


def _member(name: str, value: Any) -> str:
    if isinstance(value, property):
        signature = f"```python\nProject.{name} -> {value.fget.__annotations__['return']}\n```"
        return f"{signature}\n\n{_wrapped(value.fget.__doc__ or '')}"
    return _signature(f"Project.{name}", getattr(value, "__func__", value))


def _signature(name: str, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function)
    left = [one for one in parameters.parameters.values() if one.name not in ("self", "cls")]
    shown = _plain(parameters.replace(parameters=left)).replace(" -> None", "")
    if name == "Project.events":  # the arguments are those of `run`, just above
        shown = f"(...) -> {shown.rpartition(' -> ')[2]}"
    if name in ("Project.status", "Project.plan"):  # `run` has the types
        bare = [one.replace(annotation=inspect.Parameter.empty) for one in left]
        shown = _plain(parameters.replace(parameters=bare))
    elif len(name + shown) > 78:
        words = ["*", *(_plain(one) for one in left if one.kind is one.KEYWORD_ONLY)]
        first = [_plain(one) for one in left if one.kind is one.POSITIONAL_OR_KEYWORD]
        last = [_plain(one) for one in left if one.kind is one.VAR_KEYWORD]
        inner = "".join(f"    {one},\n" for one in (*first, *words, *last))
        returns = shown.rpartition(" -> ")[2]
        shown = f"(\n{inner}) -> {returns}"
    text = _wrapped(inspect.cleandoc(function.__doc__ or ""))
    return f"```python\n{name}{shown}\n```\n\n{text}"


def _plain(value: object) -> str:
    """A signature or parameter without the quotes around annotations."""
    text = re.sub(r"(: |-> )'([^']+)'", r"\1\2", str(value)).replace("'", '"')
    return text.replace("(self) ->", "() ->").replace("(self, ", "(")

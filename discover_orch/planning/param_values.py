"""Values of parameters: where they can come from, which one a tool gets, whether it fits, and what is compared of it.

The command line wins over the environment, the environment over the configuration, and that over the default in
`run()`. All values are texts here; the worker converts them. Staleness compares texts that are equal exactly where
`run()` gets equal values: `--unit FAHRENHEIT` and `--unit fahrenheit` are one member of an Enum, `./x` and `x` one
path, and a default that was typed is the default. Pure.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import OWN_OPTIONS, PARAM_PREFIX, VARIABLE_PREFIX
from discover_orch.model.errors import Problem
from discover_orch.model.parameter import (
    Choice,
    ConvertError,
    EnumChoice,
    EnumMember,
    Param,
    ParamValue,
    Scalar,
    convert_one,
)
from discover_orch.model.secret_masking import (
    MASK,
    hide_url_passwords,
    is_secret_name,
    is_secret_value,
)
from discover_orch.model.tool import Tool, ToolNames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.state.recorded_run import RecordedStep

#: What the origin of a value begins with that Python code gave.
ARGUMENT = "the argument "
#: The origin of a value that the item of a step gives.
EACH = "the item"
#: The version of a default that cannot be read from the source.
DEFAULT = "default"
#: Versions with a meaning: a default, None, and what staleness writes for absent and unknown versions.
_RESERVED = frozenset((DEFAULT, "None", "", "?", "-"))
#: The types of literals that are values of these types as they are.
_TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
#: The codes of the problems that a value is not given: one that is required, and a secret of a run that is resumed.
MISSING, SECRET_AGAIN = "missing-parameter", "secret-again"


class KeyValue(Struct, frozen=True, kw_only=True):
    """One `-p key=value`: `tool` is the word before the last dot of the key, or None."""

    tool: str | None
    name: str
    text: str


class GivenParams(Struct, frozen=True, kw_only=True):
    """All values on the command line. `options` are those given as `--name`, by parameter name; `pairs` are the `-p`.

    `folder` is the absolute working folder: paths on the command line are relative to it. With `is_python` they are
    arguments of Python code, in `pairs`, and messages name them without dashes.
    """

    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[KeyValue, ...] = ()
    folder: str = ""
    is_python: bool = False


NO_VALUES = GivenParams()


class BoundArgument(ParamValue, frozen=True, kw_only=True):
    """The value of one parameter of a tool."""

    param: Param

    @property
    def effective(self) -> tuple[str, ...]:
        """The texts that count: only the last one if the parameter takes one value and the option was repeated."""
        return self.texts if self.param.type.many else self.texts[-1:]

    @property
    def shown(self) -> str:
        return MASK if self.param.is_secret else hide_url_passwords(", ".join(self.effective))

    @property
    def is_secret(self) -> bool:
        """Whether it is a secret by its name, or has a URL with a password."""
        return any(is_secret_value(self.param.name, text) for text in self.texts)


#: The values of the parameters of a tool, and what `-p` gives beside them.
Arguments = tuple[tuple[BoundArgument, ...], Mapping[str, str]]


# Where a value comes from.


def is_same_name(one: str, other: str) -> bool:
    """Dashes and underscores are alike."""
    return one.replace("-", "_") == other.replace("-", "_")


def find_on_command_line(
    param: Param, tool: Tool, values: GivenParams, project: Project, names: ToolNames
) -> ParamValue | None:
    """`-p tool.name=VALUE` wins over `--name VALUE`, and that over `-p name=VALUE`."""
    own_pairs = [one for one in values.pairs if is_same_name(one.name, param.name)]
    own = [one.text for one in own_pairs if one.tool and tool.source_module in names.find(one.tool)]
    option = values.options.get(param.name)
    shared = [one.text for one in own_pairs if one.tool is None]
    texts: Sequence[str]
    if own:
        texts, origin = own, f"-p {tool.name}.{param.name}"
    elif option is not None:
        is_no = param.type.is_flag and option[-1] == "false"
        texts, origin = option, f"--no-{param.flag[2:]}" if is_no else param.flag
    elif shared:
        texts, origin = shared, f"-p {param.name}"
    else:
        return None
    if values.is_python:
        origin = ARGUMENT + origin.removeprefix("-p ").removeprefix("--")
    if param.type.base == Scalar(kind="path") and values.folder not in ("", project.root):
        texts = [os.path.normpath(os.path.join(values.folder, text)) for text in texts]
    return ParamValue(texts=tuple(texts), origin=origin)


def find_configured(
    param: Param, tool: Tool, project: Project, names: ToolNames
) -> ParamValue | None:
    """The environment wins over the configuration, and there the tool's own table over the table for all tools. A
    variable holds one text; for a list it is split at commas."""
    variable = project.env_params.get(param.name.lower())
    if variable is not None:
        if param.type.many and len(variable.texts) == 1:
            parts = (part.strip() for part in variable.texts[0].split(","))
            return replace(variable, texts=tuple(part for part in parts if part))
        return variable
    words = sorted(project.tool_params, key=len, reverse=True)  # the longest says most
    tables = [project.tool_params[word] for word in words if tool.source_module in names.find(word)]
    for table in (*tables, project.params):
        for name, setting in table.items():
            if is_same_name(name, param.name):
                return setting
    return None


# The arguments of one tool.


def find_arguments(
    tool: Tool,
    registry: Registry,
    project: Project,
    values: GivenParams,
    then: RecordedStep | None = None,
) -> list[BoundArgument]:
    """The values that are given to a tool, valid or not. With those that it had `then`, only what is required and
    secrets, which are not recorded, are looked for in the environment and the configuration."""
    found, names = [], registry.names
    for param in tool.params:
        if param.name in tool.item.values:
            text = tool.item.given_for(param.name)
            found.append(BoundArgument(param=param, texts=(text,), origin=EACH))
            continue
        setting = find_on_command_line(param, tool, values, project, names)
        if then is not None:
            setting = setting or then.params.get(param.name)
        if then is None or param.required or param.name in then.secrets:
            setting = setting or find_configured(param, tool, project, names)
        if setting is not None:
            found.append(BoundArgument(param=param, texts=setting.texts, origin=setting.origin))
    return found


def bind_arguments(
    tool: Tool,
    registry: Registry,
    project: Project,
    values: GivenParams,
    problems: list[Problem],
    then: RecordedStep | None = None,
) -> Arguments:
    """The values of its parameters, and what `**kwargs` takes; `then` as of `find_arguments`. What is missing or does
    not fit is added to `problems`."""
    found = find_arguments(tool, registry, project, values, then)
    extra = extra_arguments(tool, values, registry)
    given = {one.param.name for one in found}
    again: list[str] = []
    if then is not None:
        extra = {name: text for name, text in then.extra.items() if is_extra(tool, name)} | extra
        takes = [one for one in then.secrets if has_param(tool, one) or is_extra(tool, one)]
        again = [one for one in takes if one not in given and one not in extra]
    problems += [_secret_again(tool, name) for name in again]
    problems += [
        _missing_value(tool, param, registry, project, is_python=values.is_python)
        for param in tool.params
        if param.required and param.name not in given and param.name not in again
    ]
    valid = []
    for bound in found:
        problem = _check_value(tool, bound)
        if problem is None:
            valid.append(bound)
        else:
            problems.append(problem)
    return tuple(valid), extra


def _secret_again(tool: Tool, name: str) -> Problem:
    """The problem that a secret of the run that is resumed is not given."""
    hint = f"set {PARAM_PREFIX}{name.upper()}, or add --{name.replace('_', '-')} VALUE"
    return Problem(
        code=SECRET_AGAIN,
        message=f"{tool.name} needs {name} again: secrets are not stored",
        hint=f"add -p {name}=VALUE" if is_extra(tool, name) else hint,
    )


def _missing_value(
    tool: Tool, param: Param, registry: Registry, project: Project, *, is_python: bool
) -> Problem:
    """The problem that a parameter without a default has no value. Its name may be a misspelled resource."""
    name = param.name if is_python else param.flag
    hint = f"add -p {param.name}=VALUE"
    if param.name not in OWN_OPTIONS:
        hint = f"add {param.flag} VALUE or -p {param.name}=VALUE"
    if is_python:
        hint = f"add {param.name}=..."
    if param.is_secret:  # not into a file under version control
        variable = f"{PARAM_PREFIX}{param.name.upper()}"
        hint = f"set {variable} in the environment, or {hint.partition(' or ')[0]}"
    else:
        hint += f", or set {param.name} in {name_table(project, 'params')}"
    meant = registry.find_meant_resource(param.name)
    return Problem(
        code=MISSING,
        message=f"{tool.name} requires {name} ({param.type})",
        hint=f"{meant} Otherwise {hint}" if meant else hint,
        path=tool.path,
        line=tool.line,
    )


def find_commas(bound: BoundArgument) -> str:
    """How to give several values, where one value of a list has commas and is probably meant to be several; or ""."""
    is_split = bound.origin.startswith(VARIABLE_PREFIX)
    if is_split or not bound.param.type.many or not any("," in text for text in bound.texts):
        return ""
    is_typed = bound.origin.startswith("-")
    return f"for several values, {'repeat the option' if is_typed else 'write a list'}"


def _check_value(tool: Tool, bound: BoundArgument) -> Problem | None:
    param = bound.param
    is_typed = bound.origin.startswith("-")  # the last one counts if an option is repeated
    try:
        if not param.type.many and len(bound.texts) != 1 and not is_typed:
            raise ConvertError("expected one value, got a list")
        param.convert(bound.texts)
    except ConvertError as error:
        is_python = bound.origin.startswith(ARGUMENT)
        name = bound.origin.removeprefix(ARGUMENT) if is_python else param.flag
        text = f"the value (hidden) is not a valid {param.type}" if bound.is_secret else str(error)
        return Problem(
            code="wrong-type",
            message=f"invalid {name} for {tool.name}: {text}",
            hint=find_commas(bound)
            or f"its type is {param.type}; the value comes from {bound.origin}",
            path=tool.path,
            line=tool.line,
        )
    return None


def extra_arguments(tool: Tool, values: GivenParams, registry: Registry) -> dict[str, str]:
    """The values of `-p` that `**kwargs` of the tool takes."""
    return {
        one.name.replace("-", "_"): one.text
        for one in values.pairs
        if is_for(one, tool, registry) and is_extra(tool, one.name)
    }


def is_extra(tool: Tool, name: str) -> bool:
    """Whether `**kwargs` of the tool takes a parameter of this name."""
    named = (*tool.resources, *tool.never_passed, *(param.name for param in tool.params))
    return tool.takes_extra and not any(is_same_name(name, other) for other in named)


def has_param(tool: Tool, name: str) -> bool:
    return any(is_same_name(name, param.name) for param in tool.params)


def is_for(one: KeyValue, tool: Tool, registry: Registry) -> bool:
    return one.tool is None or tool.source_module in registry.names.find(one.tool)


# The values as texts that staleness compares.


def param_versions(
    tool: Tool, registry: Registry, project: Project, values: GivenParams
) -> dict[str, str]:
    """What a tool would get for its parameters, valid or not, as `argument_versions` has it."""
    bound = find_arguments(tool, registry, project, values)
    return argument_versions(tool, bound, extra_arguments(tool, values, registry), project.root)


def argument_versions(
    tool: Tool, arguments: Iterable[BoundArgument], extra: Mapping[str, str], root: str
) -> dict[str, str]:
    """A text for the value of each parameter, by name, equal exactly where the values are.

    Of a parameter that is not given it is the text of the default, or `default` where the source does not tell the
    default. No version is empty. Left out are secrets, and required parameters that are not given. Paths below the
    root are relative to it, so that a project can be moved. URLs are without their passwords.
    """
    given = {bound.param.name: bound for bound in arguments}
    found = {
        param.name: _version(param, given[param.name].effective, root)
        for param in tool.params
        if param.name in given and not param.is_secret
    }
    defaults = default_versions(tool, root)
    extras = {name: _quote(text) for name, text in extra.items() if not is_secret_name(name)}
    versions = defaults | found | extras
    return {name: hide_url_passwords(text) for name, text in versions.items()}


def default_versions(tool: Tool, root: str) -> dict[str, str]:
    """The versions of the defaults in the code, without secrets and required parameters."""
    return {
        param.name: _default_version(param, root)
        for param in tool.params
        if not param.required and not param.is_secret
    }


def _version(param: Param, texts: Sequence[str], root: str) -> str:
    try:
        return _value_version(param, _converted(param, texts), root)
    except ConvertError:
        return json.dumps(list(texts))


def _default_version(param: Param, root: str) -> str:
    if param.default_source == "None":
        return "None"
    try:
        return _value_version(param, _default_value(param), root)
    except ConvertError:
        return DEFAULT


def _default_value(param: Param) -> object:
    """The default as a typed text would be converted. Raises ConvertError where the source does not tell it, or where
    it has another type than what is typed."""
    if param.default_texts:
        return _converted(param, param.default_texts)
    base, value = param.type.base, param.default
    if not param.type.many:
        return _literal_value(base, value)
    if not isinstance(value, list) or not (param.default_source or "").startswith("["):
        raise ConvertError("not a list")  # a tuple is another value than the list that is typed
    return [_literal_value(base, one) for one in value]


def _literal_value(base: Scalar | Choice | EnumChoice, value: object) -> object:
    """A literal of the type as it is; a whole number counts as a float."""
    kind = type(value)
    match base:
        case Scalar(kind=name) if kind is _TYPES.get(name):
            return value
        case Scalar(kind="float") if kind is int:
            return convert_one(base, str(value))
        case Choice(values=values) if (kind, value) in [(type(one), one) for one in values]:
            return value
    raise ConvertError("not of the type")


def _converted(param: Param, texts: Sequence[str]) -> object:
    if not texts and not param.type.many:
        raise ConvertError("expected one value, got a list")
    return param.convert(texts)


def _value_version(param: Param, value: object, root: str) -> str:
    base = param.type.base
    if isinstance(value, list):
        return json.dumps([_text_of(base, one, root) for one in value], ensure_ascii=False)
    text = _text_of(base, value, root)
    is_plain = isinstance(base, Scalar) and base.kind not in ("str", "path")
    return text if is_plain else _quote(text)


def _text_of(base: Scalar | Choice | EnumChoice, value: object, root: str) -> str:
    """The text of one converted value, which no other value of the type has."""
    match base:
        case Scalar(kind="path"):
            return _relative(str(value), root)
        case EnumChoice() if isinstance(value, EnumMember):
            return base.text_of(value.name) or value.name
        case Choice(values=values) if isinstance(value, str):
            is_taken = any(str(other) == value for other in values if not isinstance(other, str))
            return json.dumps(value) if is_taken else value
    return str(value)


def _relative(path: str, root: str) -> str:
    return "." if path == root else path.removeprefix(root.rstrip("/") + "/")


def _quote(text: str) -> str:
    """The text, in quotes where it could be taken for something else than a text."""
    is_clear = text not in _RESERVED and not text.startswith(('"', "["))
    return text if is_clear else json.dumps(text, ensure_ascii=False)

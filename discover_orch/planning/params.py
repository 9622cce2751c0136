"""The values of parameters: where they can come from, and which one a tool gets.

In: what was typed, the environment and the configuration, all as texts. Out: for each parameter of a tool
the texts that win and their origin. Command line over environment over file over default. Pure.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from discover_orch.config.project import ParamDefault, Project
from discover_orch.discovery.names import ToolNames
from discover_orch.model.tool import Param, Scalar, Tool


class KeyValue(Struct, frozen=True, kw_only=True):
    """One `-p key=value`: `tool` is the word before the last dot of the key, or None."""

    tool: str | None
    name: str
    text: str


class GivenParams(Struct, frozen=True, kw_only=True):
    """All that was given. `options` has the texts by parameter name, as typed with `--name`.

    `folder` is where the command line was typed, absolute: paths on it are relative to that.
    """

    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    given: tuple[KeyValue, ...] = ()
    folder: str = ""


def value_for(
    param: Param, tool: Tool, values: GivenParams, project: Project, names: ToolNames
) -> ParamDefault | None:
    """The texts that `param` of `tool` gets, or None where its own default holds."""
    own = [
        one.text
        for one in values.given
        if one.tool is not None
        and same(one.name, param.name)
        and tool.module in names.find(one.tool)
    ]
    if own:
        return _typed(param, own, f"-p {tool.name}.{param.name}", values, project)
    if param.name in values.options:
        texts = values.options[param.name]
        is_no = param.type.is_flag and texts[-1] == "false"
        origin = f"--no-{param.flag[2:]}" if is_no else param.flag
        return _typed(param, texts, origin, values, project)
    shared = [one.text for one in values.given if one.tool is None and same(one.name, param.name)]
    if shared:
        return _typed(param, shared, f"-p {param.name}", values, project)
    from_environment = project.env_params.get(param.name.lower())
    if from_environment is not None:
        texts = from_environment.texts
        if param.type.many and len(texts) == 1:
            texts = tuple(part.strip() for part in texts[0].split(",") if part.strip())
        return ParamDefault(texts=texts, origin=from_environment.origin)
    for word, table in project.tool_params.items():
        if tool.module in names.find(word):
            for name, setting in table.items():
                if same(name, param.name):
                    return setting
    return next(
        (setting for name, setting in project.params.items() if same(name, param.name)), None
    )


def same(one: str, other: str) -> bool:
    """Dashes and underscores are alike."""
    return one.replace("-", "_") == other.replace("-", "_")


def _typed(
    param: Param, texts: Sequence[str], origin: str, values: GivenParams, project: Project
) -> ParamDefault:
    """Texts from the command line; a path on it is relative to where it was typed."""
    if param.type.base == Scalar(kind="path") and values.folder not in ("", project.root):
        texts = [os.path.normpath(os.path.join(values.folder, text)) for text in texts]
    return ParamDefault(texts=tuple(texts), origin=origin)

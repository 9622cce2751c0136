"""What each tool depends on, and therefore which files and folders a watch watches.

A file that cannot be read keeps the dependencies that it last had. What a change means is decided by `project_state`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping

from discover_orch.config.file import OWN_FILE, SHARED_FILE
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.scanner import scanned_folders
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan
from discover_orch.staleness.affected import ImportReach, ToolInputs, select_affected
from discover_orch.staleness.code_hashes import CodeIndex
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch.observed_inputs import ObservedInputs, find_folders
from discover_orch.watch.snapshot import Snapshot, fixed_part

CONFIG_FILES = (OWN_FILE, SHARED_FILE)


class WatchSet:
    """`reaches`: tool → the modules that it reaches by imports; it is replaced, never changed. `changed_meanwhile` are
    files that changed during the latest `update`."""

    sources: ImportGraph
    snapshot: Snapshot

    def __init__(
        self, project: Project, registry: Registry, plan: Plan, observed_inputs: ObservedInputs
    ) -> None:
        self._observed_inputs = observed_inputs
        self._loaded: dict[str, frozenset[str]] = {}  # project files, by each tool at its last run
        self.reaches: Mapping[str, ImportReach] = {}
        self._joined: dict[str, tuple[ImportReach, ImportReach, ImportReach]] = {}
        self._conf: tuple[object, ImportReach] | None = None
        self._code: CodeIndex | None = None
        self._pythonpath: tuple[str, ...] = ()
        self._database_files: frozenset[str] = frozenset()
        self._inputs: dict[str, ToolInputs] = {}  # of each watched tool, by what was seen of it
        self._together = ToolInputs()
        self._inputs_of: Plan | None = None
        self._data_folders: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.changed_meanwhile: tuple[str, ...] = ()
        self.update(project, registry, plan)

    # Updating.

    def update(
        self,
        project: Project,
        registry: Registry,
        plan: Plan,
        keep: Collection[str] = (),
        *,
        is_new: bool = True,
    ) -> None:
        """Find out what each tool depends on now, and watch that. Tools whose file is among `keep` still exist but
        cannot be read. `is_new`: the whole project was read again."""
        self._project, self._tools = project, registry.tools
        if is_new and (not self.reaches or project.pythonpath != self._pythonpath):
            self._pythonpath = project.pythonpath
            self.sources = ImportGraph(project)
            self._code = None
            self.snapshot = Snapshot(project.root, self.sources)
        if is_new:
            self.snapshot.ignore(_ignore(project.watch))
        conf = self._reach_of_conf()
        before = self.reaches
        after = {module: self._reach_of(tool, conf) for module, tool in registry.tools.items()}
        for module, reach in before.items():
            if module not in after and not reach.paths.isdisjoint(keep):
                after[module] = reach
        self.reaches = after
        has_inputs = self._find_inputs(plan)
        if (
            is_new
            or has_inputs
            or any(before.get(module) is not reach for module, reach in after.items())
        ):
            self._configure_snapshot()

    def apply_observed(
        self, registry: Registry, plan: Plan, keep: Collection[str] = ()
    ) -> frozenset[str]:
        """Use what tools were seen to do since. Returns the files that are watched from now on because of it."""
        before = self._together
        self._inputs_of = None
        self.update(self._project, registry, plan, keep, is_new=False)
        now = self._together
        return (now.reads | now.missed) - (before.reads | before.missed)

    def note_loaded(self, module: str, paths: Collection[str]) -> None:
        """Project files that were loaded for a tool, by itself or by tools that ran before it."""
        self._loaded[module] = frozenset(paths)

    def _configure_snapshot(self) -> None:
        extras: set[str] = {CONF_FILE, *CONFIG_FILES, *self._loaded_modules()}
        for reach in self.reaches.values():
            extras |= reach.paths
            extras |= reach.missing
        self.changed_meanwhile = self.snapshot.configure(
            scanned_folders(self._project),
            sorted(extras),
            self._patterns(),
            _excluded(self._project.exclude),
            self._together,
            self._database_files,
        )

    def _find_inputs(self, plan: Plan) -> bool:
        """Find the observed inputs of the watched tools. Returns whether they changed."""
        if self._inputs_of is plan:
            return False
        self._inputs_of = plan
        before = self._together, self._database_files
        self._inputs = self._observed_inputs.find_inputs(step.tool for step in plan.steps)
        database_files, every = self._observed_inputs.database_files, self._inputs.values()
        together = ToolInputs(
            reads=frozenset().union(*(inputs.reads for inputs in every)) - database_files,
            missed=frozenset().union(*(inputs.missed for inputs in every)) - database_files,
            folders=frozenset().union(*(inputs.folders for inputs in every)),
        )
        if (together, database_files) == before:
            return False
        self._together, self._database_files = together, database_files
        self._data_folders = find_folders(together)
        return True

    # What tools depend on.

    def depends_on(self, module: str, paths: Collection[str]) -> bool:
        """Whether the tool's code depends on one of these."""
        reach = self.reaches.get(module)
        return reach is not None and not reach.paths.isdisjoint(paths)

    def has_unread(self, module: str) -> bool:
        """Whether it has an import that cannot be read from the source."""
        reach = self.reaches.get(module)
        return reach is not None and reach.has_unread

    def find_affected(
        self, changed: Collection[str], before: Mapping[str, ImportReach], watched: Collection[str]
    ) -> dict[str, str]:
        """The watched tools that these changes affect, each with the path that does; `before` are the reaches before
        the change."""
        return select_affected(
            changed,
            self._tools,
            before,
            {one: reach for one, reach in self.reaches.items() if one in watched},
            self._loaded,
            inputs=self._inputs,
            names=self.snapshot.differing_names().intersection(changed),
        )

    def find_half_written(
        self, modules: Iterable[str], loaded: Mapping[str, str]
    ) -> dict[str, str]:
        """Those of these tools that loaded a file while it was being written, each with its reason.

        `loaded`: path → hash of what was loaded.
        """
        unseen = {
            path
            for path, content in loaded.items()
            if self.snapshot.is_unseen_content(path, content)
        }
        if not unseen:
            return {}
        found = {}
        for module in modules:
            reach = self.reaches.get(module)
            hits = unseen & (reach.paths if reach else self._loaded.get(module, frozenset()))
            if hits:
                found[module] = f"{min(hits)} was being written while it ran"
        return found

    def _reach_of(self, tool: Tool, conf: ImportReach) -> ImportReach:
        own = self.sources.reach((tool.module,))
        if not tool.resources:
            return own
        known = self._joined.get(tool.module)
        if known is None or known[0] is not own or known[1] is not conf:
            joined = ImportReach(
                paths=own.paths | conf.paths,
                missing=own.missing | conf.missing,
                has_unread=own.has_unread or conf.has_unread,
            )
            known = self._joined[tool.module] = (own, conf, joined)
        return known[2]

    def _reach_of_conf(self) -> ImportReach:
        """What `orchconf.py` depends on; it is at the root, whatever `pythonpath` is."""
        source = self.sources.read(CONF_FILE)
        if source is None:
            key: object = None
            names: tuple[str, ...] = ()
        else:
            key = source.imports
            names = tuple(
                dict.fromkeys(
                    name
                    for fact in source.imports
                    if fact.module
                    for name in (fact.module, *(f"{fact.module}.{one}" for one in fact.names))
                )
            )
        reach = self.sources.reach(names) if names else None
        if self._conf is not None and self._conf[0] == (key, reach):
            return self._conf[1]
        made = ImportReach(
            paths=frozenset({CONF_FILE}) | (reach.paths if reach else frozenset())
            if source
            else frozenset(),
            missing=(frozenset() if source else frozenset({CONF_FILE}))
            | (reach.missing if reach else frozenset()),
            has_unread=bool(reach and reach.has_unread),
        )
        self._conf = ((key, reach), made)
        return made

    # What is watched.

    @property
    def code(self) -> CodeIndex:
        """The code hashes of each tool, kept from one run to the next so that no module is parsed twice."""
        if self._code is None:
            self._code = CodeIndex(self._project, sources=self.sources)
        return self._code

    @property
    def observed(self) -> tuple[int, int]:
        """The number of files watched because tools were seen to read or to miss them, and of folders because tools
        were seen to list them."""
        together = self._together
        return len(together.reads | together.missed), len(together.folders)

    @property
    def folders(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Folders to subscribe to: with everything below them, and alone."""
        deep = list(scanned_folders(self._project))
        for reach in self.reaches.values():
            deep += [path.split("/", 1)[0] for path in reach.paths if "/" in path]
        flat = ["", *(os.path.normpath(entry) for entry in self._project.pythonpath)]
        flat += [path.rpartition("/")[0] for path in self._loaded_modules()]
        deep += self._data_folders[0]
        flat += self._data_folders[1]
        for pattern in self._patterns():
            start = fixed_part(pattern)
            rest = os.path.normpath(pattern)[len(start) :].strip("/")
            if "/" in rest or "**" in rest or (not rest and self._is_folder(start)):
                deep.append(start)
            else:
                flat.append(start if rest else start.rpartition("/")[0])
        tops = tuple(dict.fromkeys(deep))
        deep = [one for one in tops if not any(_is_inside(one, top) for top in tops)]
        flat = ["" if one == "." else one for one in flat]
        return tuple(deep), tuple(one for one in dict.fromkeys(flat) if one not in deep)

    def is_code(self, path: str) -> bool:
        """Whether it is source or configuration, not data."""
        if path in CONFIG_FILES or path[-1:] == "/":
            return True
        return self.snapshot.is_module(path) and not self.snapshot.is_listed_name(path)

    def _is_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self._project.root, path))

    def _patterns(self) -> list[str]:
        return [pattern for tool in self._tools.values() for pattern in tool.inputs]

    def _loaded_modules(self) -> set[str]:
        return {path for paths in self._loaded.values() for path in paths if path.endswith(".py")}


def _ignore(watch: Mapping[str, object]) -> Callable[[str], bool] | None:
    patterns = watch.get("ignore")
    return _excluded(patterns) if isinstance(patterns, tuple | list) else None


def _excluded(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    wanted = list(patterns)
    if not wanted:
        return None
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(wanted).match_file


def _is_inside(path: str, folder: str) -> bool:
    """Strictly below; everything is below the root."""
    return path != folder and (not folder or path.startswith(folder + "/"))

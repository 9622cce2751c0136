"""What each tool depends on, and what a watch therefore looks at and listens to.

In: a project, its tools, the plan of those that are watched, and what these were seen to load and to need. Out: how
far each tool reaches, the `Snapshot` of all files that count, and folders to listen to. A file that cannot be read
keeps the edges that it last had. It decides nothing: what a change means is judged by `watched`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping

from discover_orch.config.file import OWN_FILE, SHARED_FILE
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.scanner import CONF, scanned_folders
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan
from discover_orch.staleness.affected import ImportReach, ToolInputs, select_affected
from discover_orch.staleness.code_hashes import CodeIndex
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch.observed_inputs import ObservedInputs, find_folders
from discover_orch.watch.snapshot import Snapshot, fixed_part

CONFIG_FILES = (OWN_FILE, SHARED_FILE)


class WatchSet:
    """`reaches` is how far each tool reaches; it is replaced, never changed. `again` are files that changed while the
    latest survey was made."""

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
        self._nobodys: frozenset[str] = frozenset()
        self._inputs: dict[str, ToolInputs] = {}  # of each watched tool, by what was seen of it
        self._together = ToolInputs()
        self._inputs_of: Plan | None = None
        self._data_folders: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.again: tuple[str, ...] = ()
        self.renew(project, registry, plan)

    # Made anew.

    def renew(
        self,
        project: Project,
        registry: Registry,
        plan: Plan,
        keep: Collection[str] = (),
        *,
        is_new: bool = True,
    ) -> None:
        """What each tool depends on by now, and what is to be looked at therefore. Tools whose file is among `keep`
        have not gone, they only cannot be read. `is_new`: the project has been looked at anew."""
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
            self._arrange()

    def learn(self, registry: Registry, plan: Plan, keep: Collection[str] = ()) -> frozenset[str]:
        """Take in what tools were seen to do since; the files that are looked at from now on because of that."""
        before = self._together
        self._inputs_of = None
        self.renew(self._project, registry, plan, keep, is_new=False)
        now = self._together
        return (now.reads | now.missed) - (before.reads | before.missed)

    def note_loaded(self, module: str, paths: Collection[str]) -> None:
        """Project files that a tool was seen to load, by itself or by those that ran before it."""
        self._loaded[module] = frozenset(paths)

    def _arrange(self) -> None:
        extras: set[str] = {CONF, *CONFIG_FILES, *self._loaded_modules()}
        for reach in self.reaches.values():
            extras |= reach.paths
            extras |= reach.missing
        self.again = self.snapshot.arrange(
            scanned_folders(self._project),
            sorted(extras),
            self._patterns(),
            _excluded(self._project.exclude),
            self._together,
            self._nobodys,
        )

    def _find_inputs(self, plan: Plan) -> bool:
        """What the watched tools were seen to need; whether it is something else than before."""
        if self._inputs_of is plan:
            return False
        self._inputs_of = plan
        before = self._together, self._nobodys
        self._inputs = self._observed_inputs.find_inputs(step.tool for step in plan.steps)
        nobodys, every = self._observed_inputs.nobodys, self._inputs.values()
        together = ToolInputs(
            reads=frozenset().union(*(one.reads for one in every)) - nobodys,
            missed=frozenset().union(*(one.missed for one in every)) - nobodys,
            folders=frozenset().union(*(one.folders for one in every)),
        )
        if (together, nobodys) == before:
            return False
        self._together, self._nobodys = together, nobodys
        self._data_folders = find_folders(together)
        return True

    # How far tools reach.

    def depends_on(self, module: str, paths: Collection[str]) -> bool:
        """Whether its code does, on one of these."""
        reach = self.reaches.get(module)
        return reach is not None and not reach.paths.isdisjoint(paths)

    def has_unread(self, module: str) -> bool:
        """Whether it has an import that cannot be read from the source."""
        reach = self.reaches.get(module)
        return reach is not None and reach.has_unread

    def find_affected(
        self, changed: Collection[str], before: Mapping[str, ImportReach], watched: Collection[str]
    ) -> dict[str, str]:
        """The watched tools that these changes reach, each with the path that did it; `before` are the reaches that
        they had until then."""
        return select_affected(
            changed,
            self._tools,
            before,
            {one: reach for one, reach in self.reaches.items() if one in watched},
            self._loaded,
            inputs=self._inputs,
            names=self.snapshot.come_and_gone().intersection(changed),
        )

    def find_torn(self, modules: Iterable[str], loaded: Mapping[str, str]) -> dict[str, str]:
        """Of these tools those that ran on other bytes than are there: a file was being written just then.

        `loaded` are hashes of what was loaded, by path.
        """
        torn = {path for path, content in loaded.items() if self.snapshot.is_torn(path, content)}
        if not torn:
            return {}
        found = {}
        for module in modules:
            reach = self.reaches.get(module)
            hits = torn & (reach.paths if reach else self._loaded.get(module, frozenset()))
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
        """What `orchconf.py` depends on: it stands at the root, whatever `pythonpath` is."""
        source = self.sources.read(CONF)
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
            paths=frozenset({CONF}) | (reach.paths if reach else frozenset())
            if source
            else frozenset(),
            missing=(frozenset() if source else frozenset({CONF}))
            | (reach.missing if reach else frozenset()),
            has_unread=bool(reach and reach.has_unread),
        )
        self._conf = ((key, reach), made)
        return made

    # What is looked at, and listened to.

    @property
    def code(self) -> CodeIndex:
        """What the code of each tool means, kept from one run to the next: nothing is parsed a second time for it."""
        if self._code is None:
            self._code = CodeIndex(self._project, sources=self.sources)
        return self._code

    @property
    def observed(self) -> tuple[int, int]:
        """How many files are looked at since tools were seen to read or to miss them, and how many folders since
        they listed them."""
        together = self._together
        return len(together.reads | together.missed), len(together.folders)

    @property
    def folders(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Folders to listen to: with all below them, and for themselves alone."""
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
        """Whether it is source or configuration, and no data."""
        if path in CONFIG_FILES or path[-1:] == "/":
            return True
        return self.snapshot.is_module(path) and not self.snapshot.is_name(path)

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

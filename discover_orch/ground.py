"""What a watch knows of the project: its tools, what each depends on, and what a change means for them.

In: what was asked for, and the files as they stand. Out: a `Finding`, and plans. It looks as every command does
(through `looking`) and never runs user code. A file that cannot be read keeps the edges that it last had.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping

from discover_orch import __version__, looking
from discover_orch.affected import Inputs, Reach, affected, expand
from discover_orch.code import CodeMemory
from discover_orch.config import OWN_FILE, SHARED_FILE
from discover_orch.errors import DiscoveryError, EmptyError, OrchError, Problem, UsageError
from discover_orch.evidence import find_data
from discover_orch.looking import View
from discover_orch.manifest import Manifest, fixed_part
from discover_orch.memory import Memory, flows_stamp, read_flows
from discover_orch.moments import Scope
from discover_orch.plan import Plan, Step, build_plan
from discover_orch.present import CONNECTION
from discover_orch.project import masked_url
from discover_orch.registry import Registry, uses_get_connection, with_observed
from discover_orch.scanner import CONF, ModuleSpace, scanned_folders
from discover_orch.selection import Selection, select
from discover_orch.sightings import Sightings, find_folders
from discover_orch.sources import Sources
from discover_orch.store import open_index
from discover_orch.tool import Tool
from discover_orch.value import field, replace, value
from discover_orch.values import Values


@value
class Request:
    """What was asked to be watched, as typed."""

    start: str
    folder: str | None
    words: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    values: Values = field(default_factory=Values)
    database: str | None = None


@value
class Finding:
    """What the differences between the disk and what was accepted mean.

    `found` are watched tools that are affected, each with a sentence, and `by` the path that did it where one
    did; `held` are the names of those that wait for a file to be mended. `is_structural`: the tools, their
    order or their arguments may have changed.
    """

    paths: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    by: Mapping[str, str] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_structural: bool = False


CONFIG_FILES = (OWN_FILE, SHARED_FILE)


class Ground:
    """The first look raises ProjectError and UsageError; later ones turn them into problems of a finding."""

    def __init__(self, request: Request, environ: Mapping[str, str]) -> None:
        self._request, self._environ = request, environ
        self._waiting: dict[str, str] = {}  # affected, but not to be run before a mend
        self._seen: dict[
            str, frozenset[str]
        ] = {}  # project files that a tool loaded at its last run
        self._reaches: dict[str, Reach] = {}
        self._joined: dict[str, tuple[Reach, Reach, Reach]] = {}
        self._conf: tuple[object, Reach] | None = None
        self._code: CodeMemory | None = None
        self._rows: dict[str, object] | None = None
        self._referred: frozenset[str] = frozenset()
        self._pythonpath: tuple[str, ...] = ()
        self._is_lost = False  # the configuration cannot be read
        self._strays: tuple[Problem, ...] = ()  # targets that mean nothing any more
        self._stamp = ""  # of what is remembered of data flow
        self._is_forgetful = False  # what was seen could not be kept
        self._nobodys: frozenset[str] = frozenset()
        self._inputs: dict[str, Inputs] = {}  # of each watched tool, by what was seen of it
        self._together = Inputs()
        self._inputs_of: object = None  # the plan that they are of
        self._data_folders: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.again: tuple[str, ...] = ()  # changed while the ground was being surveyed
        view = self._look()
        self.sightings = Sightings(view.project.root)
        self.view = self._recall(view)
        self.plan, self.problems = self._plan(self.view, is_first=True)
        self._survey(self.view)

    # What there is.

    @property
    def registry(self) -> Registry:
        return self.view.registry

    @property
    def code(self) -> CodeMemory:
        """What the code of each tool means, kept from one run to the next: nothing is parsed a second time for it."""
        if self._code is None:
            self._code = CodeMemory(self.view.project, sources=self.sources)
        return self._code

    @property
    def targets(self) -> tuple[str, ...]:
        """The watched tools, in the order of their run."""
        return tuple(step.tool.module for step in self.plan.steps)

    @property
    def folders(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Folders to listen to: with all below them, and for themselves alone."""
        project = self.view.project
        deep = list(scanned_folders(project))
        for reach in self._reaches.values():
            deep += [path.split("/", 1)[0] for path in reach.paths if "/" in path]
        flat = ["", *(os.path.normpath(entry) for entry in project.pythonpath)]
        flat += [path.rpartition("/")[0] for path in self._seen_paths()]
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

    def _is_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self.view.project.root, path))

    def preload(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What the watched tools import from elsewhere: (module, names of its `from`)."""
        return self.sources.third_party(self.targets)

    def expand(self, found: Collection[str], scope: Scope) -> tuple[str, ...]:
        return expand(found, self.registry, scope, self.targets)

    def plan_of(self, reasons: Mapping[str, str]) -> Plan:
        """The part of the plan that is to be run, in its order."""
        steps = tuple(
            replace(
                step,
                reason=reasons[step.tool.module],
                after=tuple(one for one in step.after if one in reasons),
            )
            for step in self.plan.steps
            if step.tool.module in reasons
        )
        return Plan(steps=steps, words=self._request.words)

    def note_loaded(self, module: str, paths: Collection[str]) -> None:
        """Project files that a tool was seen to load, by itself or by those that ran before it."""
        self._seen[module] = frozenset(paths)

    @property
    def observed(self) -> tuple[int, int]:
        """How many files are looked at since tools were seen to read or to miss them, and how many folders since
        they listed them."""
        together = self._together
        return len(together.reads | together.missed), len(together.folders)

    def learn(self, wrote: Collection[str] = ()) -> None:
        """What tools were seen to do in a run that has ended holds from here on: their order, and what is looked at.
        A file that they did not meet as it stands has changed since, unless it is among those that the run wrote."""
        sightings = self.sightings
        is_kept = flows_stamp(self.view.project.root) != self._stamp
        if not sightings.has_news and not is_kept:
            return
        self._is_forgetful = sightings.has_news and not is_kept
        old, self.view = self.registry, self._recall(self.view)
        sightings.has_news = False
        registry = with_observed(old, sightings.flows)
        self.view = replace(self.view, registry=registry)
        if (registry.order, registry.flow) != (old.order, old.flow) and not self._is_lost:
            self.plan, self.problems = self._plan(self.view)
        before = self._together
        self._inputs_of = None
        self._survey(self.view, self.manifest.broken, is_new=False)
        now = self._together
        new = (now.reads | now.missed) - (before.reads | before.missed)
        for path in sightings.find_changed_since(new - set(wrote)) if new else ():
            self.manifest.doubt(path)

    def find_taken_in(self, paths: Collection[str]) -> set[str]:
        """Of these data files, those that each tool which depends on them has met as they stand in the latest run."""
        tools = [step.tool for step in self.plan.steps]
        return self.sightings.find_taken_in(paths, self.manifest.come_and_gone(), tools)

    def _recall(self, view: View) -> View:
        """Take in what is remembered; the view has it already, but for what could not be kept."""
        project = view.project
        stamp, flows = flows_stamp(project.root), {}
        if stamp != self._stamp:
            self._stamp, flows = stamp, read_flows(project.root)
        is_own = uses_get_connection(view.registry, project)
        name = CONNECTION if is_own else masked_url(project.database)
        known = Memory(project.root).databases().get(name)
        self.sightings.recall(flows, known.path if known else "")
        if not self._is_forgetful:
            return view
        return replace(view, registry=with_observed(view.registry, self.sightings.flows))

    # What has changed.

    def consider(self, *, only_code: bool = False) -> Finding:
        """What differs from what was accepted, and accept it; with `only_code` data files are left for later."""
        differing = self.manifest.differing()
        broken = {path: one for path, one in differing.items() if one is not None}
        whole = [path for path in differing if path not in broken]
        if only_code:
            whole = [path for path in whole if self.is_code(path)]
        if not whole and not broken and not self._is_lost:
            return self._mended(Finding(problems=self.problems))
        structural = [path for path in whole if self._is_structural(path)]
        was_lost = self._is_lost
        before, old = self._reaches, self.view
        old_plan = self.plan
        problems: list[Problem] = []
        if structural or self._is_lost:  # or what was wrong with the configuration is mended by now
            try:
                self.view = self._recall(self._look())
                self.plan, plan_problems = self._plan(self.view)
            except OrchError as error:
                self.view, self.plan = old, old_plan
                self.problems, self._is_lost = error.problems, True
                return Finding(problems=error.problems, is_structural=True)
            problems += plan_problems
            self.problems, self._is_lost = plan_problems, False
        after = self._survey(self.view, keep=broken, is_new=bool(structural) or was_lost)
        tools = self.registry.tools
        watched = set(self.targets)
        by = affected(
            whole,
            tools,
            before,
            {one: after[one] for one in after if one in watched},
            self._seen,
            inputs=self._inputs,
            names=self.manifest.come_and_gone().intersection(whole),
        )
        found = {module: f"{path} {self._verb(path)}" for module, path in by.items()}
        if structural or was_lost:
            found |= _differences(old, self.view, old_plan, self.plan)
        found = {module: why for module, why in found.items() if module in watched}
        self.manifest.accept(whole)
        unhealthy = {one.module for one in self.registry.unhealthy}
        gone = [
            old.registry.tools[module].name
            for module in old.registry.tools.keys() - tools.keys()
            if old.registry.tools[module].path in whole and module not in unhealthy
        ]
        return self._mended(
            Finding(
                paths=tuple(whole),
                found=found,
                by=by,
                gone=tuple(sorted(gone)),
                problems=(*broken.values(), *problems, *self._strays, *looking.errors(self.view)),
                warnings=_new_warnings(old, self.view) if structural else (),
                is_structural=bool(structural),
            )
        )

    def _mended(self, finding: Finding) -> Finding:
        """The finding, less the tools that must wait, and with those that need wait no more."""
        broken, blocked = self.manifest.broken, self.blocked
        found = self._waiting | dict(finding.found)
        watched = set(self.targets)
        held = {
            module: why
            for module, why in found.items()
            if self.problems  # no plan can be made at all
            or module not in watched
            or self._depends_on(module, broken)
            or (module in blocked and module not in finding.found)
        }
        self._waiting = {module: why for module, why in held.items() if module in self._reaches}
        return replace(
            finding,
            found={module: why for module, why in found.items() if module not in held},
            held=tuple(self.registry.display(one) for one in held if one in finding.found),
        )

    @property
    def blocked(self) -> frozenset[str]:
        """What is downstream of tools that are held: it runs with them, unless it has changed itself."""
        held = [module for module in self.targets if self.is_held(module)]
        return self.registry.downstream(held) - set(held) if held else frozenset()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of watched tools that wait for a file to be mended."""
        wait = {module for module in self.targets if self.is_held(module)} | self._waiting.keys()
        return tuple(self.registry.display(one) for one in self.targets if one in wait)

    def is_held(self, module: str) -> bool:
        """Whether it depends on a file that cannot be read as it stands."""
        return bool(self.manifest.broken) and self._depends_on(module, self.manifest.broken)

    def put_off(self, module: str, why: str) -> None:
        """To be run when what it depends on is mended."""
        self._waiting.setdefault(module, why)

    def find_torn(self, modules: Iterable[str], loaded: Mapping[str, str]) -> dict[str, str]:
        """Of these tools those that ran on other bytes than are there: a file was being written just then.

        `loaded` are hashes of what was loaded, by path.
        """
        torn = {path for path, content in loaded.items() if self.manifest.is_torn(path, content)}
        if not torn:
            return {}
        found = {}
        for module in modules:
            reach = self._reaches.get(module)
            hits = torn & (reach.paths if reach else self._seen.get(module, frozenset()))
            if hits:
                found[module] = f"{min(hits)} was being written while it ran"
        return found

    def has_unread(self, module: str) -> bool:
        """Whether it has an import that cannot be read from the source."""
        reach = self._reaches.get(module)
        return reach is not None and reach.has_unread

    def is_code(self, path: str) -> bool:
        """Whether it is source or configuration, and no data."""
        if path in CONFIG_FILES or path[-1:] == "/":
            return True
        return self.manifest.is_module(path) and not self.manifest.is_name(path)

    def find_outputs(self, modules: Collection[str]) -> set[str]:
        """The files that these tools declare as their outputs, as far as they are there, and what those that nobody
        saw at their end wrote before."""
        tools = self.registry.tools
        return self.sightings.find_unseen_writes(modules) | {
            path
            for module in modules
            if module in tools
            for pattern in tools[module].outputs
            for path in find_data(self.view.project.root, pattern)
        }

    def _depends_on(self, module: str, broken: Collection[str]) -> bool:
        reach = self._reaches.get(module)
        return reach is not None and not reach.paths.isdisjoint(broken)

    def _verb(self, path: str) -> str:
        if not self.manifest.is_there(path):
            return "is gone"
        if self.is_code(path) or self.manifest.was_there(path):
            return "changed"
        return "is there now"

    # The survey.

    def _look(self) -> View:
        request = self._request
        view = looking.look(request.start, request.folder, self._environ)
        if request.database is not None:
            view = looking.with_database(view, request.database)
        self._rows = None
        return view

    def _plan(self, view: View, *, is_first: bool = False) -> tuple[Plan, tuple[Problem, ...]]:
        """The plan of everything that is watched; what stands in the way of one are problems, later on."""
        self._strays = ()
        try:
            selection = self._select(view)
        except EmptyError as error:
            if is_first and not view.registry.unhealthy:
                raise
            return Plan(words=self._request.words), error.problems
        except UsageError as error:
            if is_first:
                raise
            self._strays = error.problems  # a target that has gone takes no other with it
            selection = self._select_some(view)
        try:
            return build_plan(selection, view.registry, view.project, self._request.values), ()
        except UsageError as error:
            if is_first:
                raise
            return self.plan, error.problems

    def _select(self, view: View) -> Selection:
        """A file that cannot be read takes nothing away but itself."""
        request, registry = self._request, view.registry
        try:
            return select(request.words, registry, exclude=request.exclude, place=view.place)
        except DiscoveryError:
            return self._select_some(view)

    def _select_some(self, view: View) -> Selection:
        """What the words mean, of those that mean anything."""
        request, healthy = self._request, replace(view.registry, unhealthy=())
        chosen: dict[str, str] = {}
        for word in request.words or ("full",):
            try:
                some = select([word], healthy, exclude=request.exclude, place=view.place)
            except (UsageError, EmptyError):
                continue
            for module in some.tools:
                chosen.setdefault(module, word)
        return Selection(tools=tuple(chosen), because=chosen, words=request.words)

    def _survey(
        self, view: View, keep: Collection[str] = (), *, is_new: bool = True
    ) -> dict[str, Reach]:
        """What each tool depends on by now, and what is to be looked at therefore. Tools whose file is among
        `keep` have not gone, they only cannot be read."""
        project = view.project
        if is_new and (not self._reaches or project.pythonpath != self._pythonpath):
            self._pythonpath = project.pythonpath
            self.sources = Sources(project)
            self._code = None
            self.manifest = Manifest(project.root, self.sources)
        if is_new:
            self.manifest.ignore(_ignore(project.watch))
        conf = self._reach_of_conf()
        before = self._reaches
        after = {module: self._reach_of(tool, conf) for module, tool in view.registry.tools.items()}
        for module, reach in before.items():
            if module not in after and not reach.paths.isdisjoint(keep):
                after[module] = reach
        self._reaches = after
        has_inputs = self._find_inputs()
        if (
            is_new
            or has_inputs
            or any(before.get(module) is not reach for module, reach in after.items())
        ):
            extras: set[str] = {CONF, *CONFIG_FILES, *self._seen_paths()}
            for reach in after.values():
                extras |= reach.paths
                extras |= reach.missing
            self._code_paths = frozenset({CONF, *CONFIG_FILES})
            self.again = self.manifest.arrange(
                scanned_folders(project),
                sorted(extras),
                self._patterns(),
                _excluded(project.exclude),
                self._together,
                self._nobodys,
            )
        return after

    def _find_inputs(self) -> bool:
        """What the watched tools were seen to need; whether it is something else than before."""
        if self._inputs_of is self.plan:
            return False
        self._inputs_of = self.plan
        before = self._together, self._nobodys
        self._inputs = self.sightings.find_inputs(step.tool for step in self.plan.steps)
        nobodys, every = self.sightings.nobodys, self._inputs.values()
        together = Inputs(
            reads=frozenset().union(*(one.reads for one in every)) - nobodys,
            missed=frozenset().union(*(one.missed for one in every)) - nobodys,
            folders=frozenset().union(*(one.folders for one in every)),
        )
        if (together, nobodys) == before:
            return False
        self._together, self._nobodys = together, nobodys
        self._data_folders = find_folders(together)
        return True

    def _reach_of(self, tool: Tool, conf: Reach) -> Reach:
        own = self.sources.reach((tool.module,))
        if not tool.resources:
            return own
        known = self._joined.get(tool.module)
        if known is None or known[0] is not own or known[1] is not conf:
            joined = Reach(
                paths=own.paths | conf.paths,
                missing=own.missing | conf.missing,
                has_unread=own.has_unread or conf.has_unread,
            )
            known = self._joined[tool.module] = (own, conf, joined)
        return known[2]

    def _reach_of_conf(self) -> Reach:
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
        made = Reach(
            paths=frozenset({CONF}) | (reach.paths if reach else frozenset())
            if source
            else frozenset(),
            missing=(frozenset() if source else frozenset({CONF}))
            | (reach.missing if reach else frozenset()),
            has_unread=bool(reach and reach.has_unread),
        )
        self._conf = ((key, reach), made)
        return made

    def _patterns(self) -> list[str]:
        return [pattern for tool in self.registry.tools.values() for pattern in tool.inputs]

    def _seen_paths(self) -> set[str]:
        return {path for paths in self._seen.values() for path in paths if path.endswith(".py")}

    def _is_structural(self, path: str) -> bool:
        """Whether the tools, or what the command line offers, may be others now: else only code has changed."""
        if path in self._code_paths or path[-1:] == "/":
            return True
        if not self.manifest.is_module(path):
            return False
        if not self.manifest.is_there(path):
            return True
        if self._rows is None:
            self._read_rows()
        assert self._rows is not None
        if path in self._referred:
            return True
        if path not in self._rows:
            folders = scanned_folders(self.view.project)
            return any(_is_inside(path, folder) for folder in folders)
        from discover_orch import reading

        name = ModuleSpace(self.view.project).name(path)
        ((_, row),) = reading.read_rows(self.view.project.root, [(path, name)])
        is_same: bool = json.loads(json.dumps(row)) == self._rows[path]
        return not is_same

    def _read_rows(self) -> None:
        """What the index says of each file; empty where there is none, and then everything is structural."""
        self._rows, self._referred = {}, frozenset()
        index = open_index(self.view.project.root, __version__)
        text = index.part("facts") if index else None
        if text is not None:
            table = json.loads(text)
            self._rows = {path: row for path, (_, row) in table["files"].items()}
            self._referred = frozenset(table["exports"])

    def warm(self) -> None:
        """What the next change will need, while there is time."""
        _ = self.code
        if self._rows is None:
            self._read_rows()


def _new_warnings(old: View, new: View) -> tuple[Problem, ...]:
    known = set(looking.warnings(old))
    return tuple(one for one in looking.warnings(new) if one not in known)


def _differences(old: View, new: View, before: Plan, after: Plan) -> dict[str, str]:
    """Tools for which the configuration means something else than before, each with a sentence."""
    was, now = old.project, new.project
    config = now.config or was.config or "the configuration"
    steps = {step.tool.module: step for step in before.steps}
    found: dict[str, str] = {}
    for step in after.steps:
        module, known = step.tool.module, steps.get(step.tool.module)
        if was.pythonpath != now.pythonpath:
            found[module] = f"pythonpath changed in {config}"
        elif known is not None and _given(step) != _given(known):
            found[module] = _changed_parameter(known, step, config)
        elif "conn" in step.tool.resources and (
            (was.database, was.transaction) != (now.database, now.transaction)
        ):
            found[module] = f"the database changed in {config}"
    return found


def _given(step: Step) -> tuple[object, ...]:
    return tuple((one.param.name, one.texts) for one in step.arguments), dict(step.extra)


def _changed_parameter(before: Step, after: Step, config: str) -> str:
    was = {one.param.name: one for one in before.arguments}
    now = {one.param.name: one for one in after.arguments}
    for name in dict.fromkeys((*was, *now)):
        old, new = was.get(name), now.get(name)
        if (old.texts if old else None) != (new.texts if new else None):
            flag = "--" + name.replace("_", "-")
            given = f"is {new.shown}" if new else "is not given"
            return f"{flag} {given}" + (f", was {old.shown}" if old else "") + f" ({config})"
    return f"its parameters changed in {config}"


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

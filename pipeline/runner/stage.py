"""Stages and their runner: a stage runs only when something that it depends on has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlkd.core.progress import Progress, silent
from pipeline.runner import ranks, result, reuse
from pipeline.runner.decision import Decision
from pipeline.runner.faults import StageError, check_space, named
from pipeline.runner.identity import changes, package_version, plain
from pipeline.runner.integrity import spoiled_results
from pipeline.runner.result import Result
from pipeline.runner.session import locked, timed
from pipeline.runner.speed import Expected, Work, read_speeds
from pipeline.runner.units import duration, size

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What a running stage gets: the folder to fill, the finished folders that it reads, and a progress callback."""

    out: Path
    inputs: Mapping[str, Path]
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the pipeline; `outside` returns facts beyond the recipe (user files, the machine) as JSON."""

    name: str
    run: Callable[[Context], None]
    prepare: Callable[[Progress], None] = lambda _: None  # before a run, and before its identity: fetches files
    reads: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()  # patterns of files in those results that the stage does not depend on; a result
    # without other files does not count
    config: Any = None  # dataclasses, JSON values, or a mapping of both
    version: int = 1  # raised when the code changes the result of equal inputs
    packages: tuple[str, ...] = ()
    outside: Callable[[], Mapping[str, Any]] = dict
    volatile: tuple[str, ...] = ()  # patterns of outputs that no reader depends on (logs, times)
    distributed: bool = False  # all processes of a launch run it together; otherwise only the first
    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class Pipeline:
    """All stages of a recipe in order, and the folder of their results."""

    stages: tuple[Stage, ...]
    folder: Path
    force: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        for name in self.force - set(names):
            raise ValueError(f"--force: expected one of {', '.join(names)}, got {name!r}")
        for index, stage in enumerate(self.stages):
            assert set(stage.reads) <= set(names[:index]), f"{stage.name} reads a stage that is not before it"

    def until(self, *targets: str) -> Pipeline:
        """Return the pipeline of the targets and the stages that they need."""
        wanted = set(targets)
        for stage in reversed(self.stages):
            if stage.name in wanted:
                wanted |= set(stage.reads)
        needed = tuple(stage for stage in self.stages if stage.name in wanted)
        return Pipeline(needed, self.folder, self.force & {stage.name for stage in needed})

    def plan(self) -> list[Decision]:
        """Decide for every stage; one behind a stage that runs is counted as running, as its input may change."""
        decisions: list[Decision] = []
        results: dict[str, Result] = {}  # that hold or are reused
        for stage in self.stages:
            again = [name for name in stage.reads if name not in results]
            contents = {} if again else {name: results[name].content_without(stage.unread) for name in stage.reads}
            decision = self._decide(stage, contents, self._behind(again[0], stage.name) if again else None)
            decisions.append(decision)
            if decision.result is not None:
                results[stage.name] = decision.result
        return decisions

    def run(self, progress: Callable[[Expected], Progress] = lambda _: silent) -> None:
        """Run the stages that have to run, reuse results of other recipes, and skip what is unchanged.

        A kill loses nothing that is finished.

        If several processes were launched together, the first decides and the others join it in distributed stages.

        Args:
            progress: Makes the progress callback of a stage.

        Raises:
            StageError: a stage failed.
            ValueError: another process runs the same recipe.
            ranks.ProcessGoneError: another process of the launch ended.
        """
        with ranks.joined() as group:
            if not ranks.is_first():
                self._join(group)
                return
            with locked(self.folder):
                for stage in self.stages:
                    with named(stage.name, self._partial(stage.name)):
                        result.recover(self._partial(stage.name), self.folder / stage.name)
                        reuse.complete(self.folder / stage.name, self._partial(stage.name))
                planned = self.plan()
                reads = {stage.name: (stage.reads, stage.unread) for stage in self.stages}
                spoiled = spoiled_results(self.folder, planned, reads)
                ran = False
                for index, stage in enumerate(self.stages):
                    decision = planned[index]
                    if ran or stage.name in spoiled:
                        decision = self._decide(stage, self._contents(stage), spoiled.get(stage.name))
                    if decision.runs or decision.reused:
                        ran = True
                        later_s = sum(one.seconds or 0.0 for one in planned[index + 1 :] if one.runs)
                        expected = Expected(stage.name, decision.seconds, later_s)
                        self._run_one(stage, decision, progress(expected), group)
                    else:
                        log.info("%s: %s", stage.name, decision.why)
            group.send(None)

    def _join(self, group: ranks.Group) -> None:
        """Run the stages that the first process announces, together with it, in the folder that it created."""
        stages = {stage.name: stage for stage in self.stages}
        while announced := group.receive():
            name, began = announced
            if result.began(self._partial(name)) != began:
                raise StageError(
                    f"stage {name}: expected the folder that the first process created, got another or none at "
                    f"{self._partial(name).absolute()}; all machines need the same disk at the same path"
                )
            with named(name, self._partial(name)):
                stages[name].run(self._context(stages[name], silent))
            group.wait()

    def _run_one(self, stage: Stage, decision: Decision, progress: Progress, group: ranks.Group) -> None:
        partial, folder = self._partial(stage.name), self.folder / stage.name
        if stage.name in self.force:
            result.remove(partial)
            result.remove(self.folder / f"{stage.name}.work")  # files that a stage keeps between runs
        stage.prepare(progress)
        contents = self._contents(stage)
        if (found := self._other(stage, contents)) and reuse.take(found, stage.name, folder, partial):
            log.info("%s: %s; reused from %s", stage.name, decision.why, found.folder)
            return
        check_space(stage.name, self.folder, decision.bytes)
        with named(stage.name, partial):
            resumed = result.begin(partial, self._identity(stage, contents))
            log.info("%s: %s%s", stage.name, decision.why, "; resuming" if resumed else "")
            if stage.distributed:
                group.send((stage.name, result.began(partial)))
            seconds = timed(lambda: stage.run(self._context(stage, progress)), partial)
            if stage.distributed:
                group.wait()
            done = result.finish(partial, folder, seconds=seconds, volatile=stage.volatile)
            stage.work.record(stage.name, seconds, self.folder.parent)
        log.info("%s: done in %s, %s", stage.name, duration(done.seconds), size(done.bytes))

    def _context(self, stage: Stage, progress: Progress) -> Context:
        return Context(self._partial(stage.name), {name: self.folder / name for name in stage.reads}, progress)

    def _decide(self, stage: Stage, contents: Mapping[str, str], why: str | None = None) -> Decision:
        """Decide whether a stage, which reads results with the hashes `contents`, runs; it does if `why` is known."""
        last = result.read(self.folder / stage.name)
        if why is None:
            why = self._reason(stage, last, contents)
            if why is not None and (found := self._other(stage, contents)):
                return Decision(stage.name, False, why, 0.0, 0, found.folder, found.result)
        seconds = stage.work.seconds(stage.name, read_speeds(self.folder.parent))
        needed = last.bytes if last else stage.work.bytes
        needed = None if needed is None else needed + stage.work.work_bytes
        holds = last if why is None else None
        return Decision(stage.name, why is not None, why or "unchanged, skipped", seconds, needed, result=holds)

    def _behind(self, first: str, name: str) -> str:
        """Say that a stage waits for another; it may be skipped then, as it may read another part of what changes."""
        finished = result.read(self.folder / name) is not None
        return f"{first} runs first" + ("; skipped if that leaves what it reads unchanged" if finished else "")

    def _other(self, stage: Stage, contents: Mapping[str, str]) -> reuse.Found | None:
        """Return the result that another recipe has of a stage, unless the stage is forced to run."""
        if stage.name in self.force:
            return None
        return reuse.find(self.folder, stage.name, self._inside(stage, contents), lambda: plain(stage.outside()))

    def _reason(self, stage: Stage, last: Result | None, contents: Mapping[str, str]) -> str | None:
        """Return why a stage has to run; None if its last result holds."""
        if last is None:
            return "no result yet"
        if stage.name in self.force:
            return "forced"
        if damage := result.damage(self.folder / stage.name, last):
            return damage
        identity = self._identity(stage, contents)
        return None if last.identity == identity else changes(last.identity, identity)

    def identity(self, stage: Stage) -> dict[str, Any]:
        """Return all that the result of a stage depends on.  Raises StageError if a result that it reads is missing."""
        return self._identity(stage, self._contents(stage))

    def _identity(self, stage: Stage, contents: Mapping[str, str]) -> dict[str, Any]:
        return {**self._inside(stage, contents), reuse.OUTSIDE: plain(stage.outside())}

    def _inside(self, stage: Stage, contents: Mapping[str, str]) -> dict[str, Any]:
        """Return the identity except what lies outside of the pipeline, which may take long to look at."""
        reads = {name: contents[name] for name in stage.reads if contents[name] != result.NOTHING}
        packages = {name: package_version(name) for name in stage.packages}
        parts = {"config": stage.config, "reads": reads, "packages": packages}
        return {"version": stage.version, **{name: plain(part) for name, part in parts.items()}}

    def _contents(self, stage: Stage) -> dict[str, str]:
        """Return the hashes of what a stage reads of finished results.  Raises StageError if one is missing."""
        contents = {}
        for name in stage.reads:
            finished = result.read(self.folder / name)
            if finished is None:
                raise StageError(f"stage {name}: expected its result in {self.folder / name}, got none; run it first")
            contents[name] = finished.content_without(stage.unread)
        return contents

    def _partial(self, name: str) -> Path:
        return self.folder / f"{name}.partial"

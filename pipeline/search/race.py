"""Stage race: distil the candidates in rungs, and let the better half of each go on.

The rungs are synchronous: all candidates are trained for one epoch before one of them is trained for two.  Optuna's
own loop, `study.optimize`, takes a trial to its end before the next begins, so that the first would be compared with
nobody.  Here every candidate is a trial from the start of the race to its own end; a rung reports to all that
are left, and then asks the pruner of each.  The order is that of the screen, later that of the standings, so a single
worker always gives the same result.  A race that was interrupted, or differs from an earlier one, is played again from
the study and the folders of its trainings without training anything twice; what was trained before counts as well.

Further workers, on another GPU or machine with the same disk, play the same race: each candidate of a rung is trained
by the one that locks its folder, and at the end of a rung all wait for each other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from benchmarks.parsing import to_json
from mlkd.core.locks import claimed
from mlkd.core.progress import Progress
from mlkd.data.loader import DeadWorkerError
from mlkd.data.prepared import read_split
from pipeline.references.model_bundle import reason_of
from pipeline.runner import result
from pipeline.runner.stage import Context
from pipeline.search.candidates import Candidate
from pipeline.search.objective import Setting, objective
from pipeline.search.promotion import Truth, promoted
from pipeline.search.race_rows import RACE, Race, RaceRow, select_map_of
from pipeline.search.rows import Latency
from pipeline.search.study import Halving, open_study
from pipeline.search.trainings import CLAIM, keep_needed, keep_scores, remove_damaged, rungs, seconds_until

log = logging.getLogger(__name__)
POLL_S = 1.0
SECONDS, REASON = "seconds", "reason"  # what a trial keeps besides its reports


def run(
    entrants: Mapping[str, Candidate],
    latency: Mapping[str, Latency],
    dropped: Mapping[str, str],
    setting: Setting,
    minutes: float,
    context: Context,
    *,
    joins: bool = False,
) -> None:
    """Write RACE, and remove the checkpoints of trainings of earlier races that are not of this one.

    Several workers, each with a call of this function, may train different candidates at the same time.

    Args:
        entrants: The candidates that are trained, by name, in the order of the screen.
        latency: Of all candidates within the budget, on the slowest device.
        dropped: Those that are not trained, with the reason.
        setting: What the trainings have in common.
        minutes: Of all trainings, those of earlier races included; once they are used up, none goes on.
        context: Of the stage.
        joins: Whether this is another worker beside the one that writes the result.

    Raises:
        ValueError: No candidate could be trained.
    """
    folders = [setting.folders[name] for name in entrants]
    if not (context.out / RACE).is_file():
        if not joins:
            for folder in folders:
                remove_damaged(folder, setting.training)
        select = read_split(setting.images, "select")
        truth = Truth(targets=select.targets, groups=select.clusters, label_mask=select.label_mask)
        pruner = Halving(latency, setting.folders, truth)
        study, trials = open_study(context.out, pruner, list(entrants), joins=joins)
        race = _Race(entrants, latency, setting, 60 * minutes, study, trials, pruner, context.progress, joins).run()
        if joins:
            return
        thinned = [
            RaceRow(candidate=name, p90_ms=latency[name].p90_ms, reason=reason) for name, reason in dropped.items()
        ]
        result.write_json(context.out / RACE, to_json(Race(rows=[*race.rows, *thinned], ranking=race.ranking)))
    keep_needed(folders, folders[0].parent)


@dataclass
class _Race:
    entrants: Mapping[str, Candidate]
    latency: Mapping[str, Latency]
    setting: Setting
    limit_s: float
    study: Study
    trials: Mapping[str, Trial]
    pruner: Halving
    progress: Progress
    joins: bool
    rows: list[RaceRow] = field(default_factory=list)

    def run(self) -> Race:
        """Run all rungs.  Raises ValueError if no candidate could be trained."""
        live, behind = list(self.entrants), list[str]()
        for rung, epochs in enumerate(rungs(self.setting.training), 1):
            reasons = self._advance_all(live, epochs)
            late = [name for name in live if reasons[name] == self._used_up]
            standings = self.pruner.standings(self.study, epochs)
            better = [] if late else promoted(standings)
            self._add_rows(rung, epochs, reasons, better)
            places = [standing.candidate for standing in standings]
            behind = [name for name in (*places, *late) if name not in better] + behind
            if rung > 1:  # it was trained before
                behind += [name for name in live if reasons[name] and name not in late]
            live = better
            if late:
                log.warning("race: %s; not trained for %d epochs: %s", self._used_up, epochs, ", ".join(late))
                break
            if not self.joins:
                self._prune(epochs)
        if not any(row.select_map for row in self.rows):
            first = self.rows[0]
            raise ValueError(
                f"search: expected a candidate that can be trained, got none of {len(self.entrants)}; "
                f"{first.candidate}: {first.reason}"
            )
        if not self.joins:
            self._complete()
        return Race(rows=self.rows, ranking=live + behind)

    @property
    def _used_up(self) -> str:
        return f"the {self.limit_s / 60:g} minutes of the search are used up"

    def _trial(self, name: str) -> FrozenTrial:
        """What the storage knows of a candidate."""
        return self.study.get_trials(deepcopy=False)[self.trials[name].number]

    def _advance_all(self, names: Sequence[str], epochs: int) -> dict[str, str | None]:
        """Advance the candidates that no other worker has at work, until none is left."""
        reasons: dict[str, str | None] = {}
        while waiting := [name for name in names if name not in reasons]:
            for name in waiting:
                folder = self.setting.folders[name]
                folder.mkdir(parents=True, exist_ok=True)
                with claimed(folder / CLAIM) as is_free:
                    if is_free:
                        reasons[name] = self._advance(name, epochs)
            if reasons.keys().isdisjoint(waiting):
                time.sleep(POLL_S)
        return {name: reasons[name] for name in names}

    def _advance(self, name: str, epochs: int) -> str | None:
        """Train a candidate until it has so many epochs, unless it has; return why that is impossible."""
        known = self._trial(name)
        if known.state == TrialState.FAIL or epochs in known.intermediate_values:
            return known.user_attrs.get(REASON)
        if sum(one.user_attrs.get(SECONDS, 0.0) for one in self.study.get_trials(deepcopy=False)) >= self.limit_s:
            return self._used_up
        reason = self._train(name, epochs)
        if reason is not None:
            log.warning("race: %s cannot be trained: %s", name, reason)
            self.trials[name].set_user_attr(REASON, reason)
            self.study.tell(known.number, state=TrialState.FAIL)
            keep_scores(self.setting.folders[name])  # another race begins its rung again
        return reason

    def _train(self, name: str, last: int) -> str | None:
        """Call the objective; a full disk or a dead process ends the stage, another fault only the candidate."""
        trial, reported = self.trials[name], self._trial(name).intermediate_values

        def report(epochs: int, select_map: float) -> bool:
            if epochs not in reported:
                self._count_seconds(name, epochs)
                trial.report(select_map, epochs)
                log.info("race: %s, epochs %d: select mAP %.2f", name, epochs, 100 * select_map)
            return epochs < last

        try:
            objective(self.entrants[name], self.setting, report, self.progress)
        except (OSError, DeadWorkerError):
            raise
        except Exception as cause:  # backbones have errors of their own
            self._count_seconds(name, last)
            return reason_of(cause)
        return None

    def _count_seconds(self, name: str, last: int) -> None:
        """Store how long a candidate was trained for so many epochs, in this race and before."""
        seconds = seconds_until(self.setting.folders[name], self.setting.training, last)
        self.trials[name].set_user_attr(SECONDS, seconds)

    def _add_rows(self, rung: int, epochs: int, reasons: Mapping[str, str | None], better: Collection[str]) -> None:
        standings = self.pruner.standings(self.study, epochs)
        late = self._used_up if self._used_up in reasons.values() else None
        for standing in standings:
            name = standing.candidate
            row = RaceRow(
                candidate=name,
                p90_ms=self.latency[name].p90_ms,
                rung=rung,
                epochs=epochs,
                select_map=select_map_of(standing.select_map),
                beaten_by=list(standing.beaten_by),
                promoted=name in better,
                reason=None if name in better else late or _reason(len(standing.beaten_by), len(standings) - 1),
            )
            self.rows.append(row)
        for name, reason in reasons.items():
            if reason is not None:
                p90_ms = self.latency[name].p90_ms
                self.rows.append(RaceRow(candidate=name, p90_ms=p90_ms, rung=rung, epochs=epochs, reason=reason))

    def _prune(self, epochs: int) -> None:
        """End the trials that do not go on; one worker does so for all, and another may be further already."""
        for name, trial in self.trials.items():
            known = self._trial(name)
            if (known.state, known.last_step) == (TrialState.RUNNING, epochs) and trial.should_prune():
                self.study.tell(trial.number, state=TrialState.PRUNED)

    def _complete(self) -> None:
        """End the trials that no rung has pruned; those that there was no time for fail."""
        for name, trial in self.trials.items():
            known = self._trial(name)
            if known.state != TrialState.RUNNING:
                continue
            if known.last_step is None:
                trial.set_user_attr(REASON, self._used_up)
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                self.study.tell(trial.number, known.intermediate_values[known.last_step])


def _reason(beaten_by: int, others: int) -> str:
    """Why a candidate was not promoted."""
    return f"beaten by {beaten_by} of {others}" if beaten_by else "lower mAP than others that no candidate beats"

"""The study of a race in Optuna: its storage, its trials, and the pruner that halves a rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.search.promotion import Result, Standing, Truth, promoted, rank
from pipeline.search.rows import Latency
from pipeline.search.trainings import read_rung, rung_file

FILE = "study.log"
NAME = "race"
CANDIDATE = "candidate"  # the only parameter


class Halving(optuna.pruners.BasePruner):
    """Prunes the worse half, by `promotion.rank`, of the candidates that have reported as many epochs as a trial."""

    def __init__(self, latency: Mapping[str, Latency], folders: Mapping[str, Path], truth: Truth) -> None:
        self.latency, self.folders, self.truth = latency, folders, truth
        self._known: dict[tuple[int, tuple[str, ...]], list[Standing]] = {}

    def standings(self, study: Study, epochs: int) -> list[Standing]:
        """Return the standings of the candidates that have reported after so many epochs, the best first."""
        reported = [one for one in study.get_trials(deepcopy=False) if epochs in one.intermediate_values]
        names = tuple(sorted(one.params[CANDIDATE] for one in reported))
        if (epochs, names) not in self._known:
            results = [
                Result(candidate=name, latency=self.latency[name], scores=read_rung(self.folders[name], epochs).scores)
                for name in names
            ]
            self._known[epochs, names] = rank(results, self.truth)
        return self._known[epochs, names]

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is in the worse half of its last rung."""
        epochs = trial.last_step
        return epochs is not None and trial.params[CANDIDATE] not in promoted(self.standings(study, epochs))


def open_study(
    folder: Path, pruner: Halving, candidates: Sequence[str], *, joins: bool
) -> tuple[Study, dict[str, Trial]]:
    """Create the study in `folder`, or open that of an interrupted race; returns it with the trial of each candidate.

    A trial that ran when the process was killed is still running in the storage, and is returned as the others are.
    Only a worker that does not join another one creates trials, and removes what a killed process left and a study that
    reports rungs whose scores are gone.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # we log the rungs
    if not joins:
        _recover(folder / FILE)
    storage = JournalStorage(JournalFileBackend(str(folder / FILE)))
    sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: every trial is enqueued with its candidate
    study = optuna.create_study(
        storage=storage, sampler=sampler, pruner=pruner, study_name=NAME, direction="maximize", load_if_exists=True
    )
    if not joins and not _has_scores(study, pruner.folders):
        (folder / FILE).unlink()
        return open_study(folder, pruner, candidates, joins=joins)
    if not joins:
        for name in candidates:
            study.enqueue_trial({CANDIDATE: name}, skip_if_exists=True)
        while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.ask({CANDIDATE: CategoricalDistribution(candidates)})
    found = [one for one in study.get_trials(deepcopy=False) if one.params.get(CANDIDATE) or not joins]
    if len(found) < len(candidates):
        raise ValueError(
            f"race: expected {len(candidates)} candidates in {folder / FILE}, got {len(found)}; rerun the command"
        )
    trials = (_trial(study, storage, one.number) for one in found)
    return study, {trial.suggest_categorical(CANDIDATE, candidates): trial for trial in trials}


def _has_scores(study: Study, folders: Mapping[str, Path]) -> bool:
    """Whether the scores of all rungs that were reported are there; damaged ones have been removed."""
    return all(
        rung_file(folders[trial.params[CANDIDATE]], epochs).is_file()
        for trial in study.get_trials(deepcopy=False)
        for epochs in trial.intermediate_values
    )


def _trial(study: Study, storage: JournalStorage, number: int) -> Trial:
    study_id = storage.get_study_id_from_name(NAME)
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def _recover(file: Path) -> None:
    """Remove what a killed process left: its lock, for which Optuna would wait half a minute, and half a line."""
    for left in file.parent.glob(f"{file.name}.lock*"):
        left.unlink()
    content = file.read_bytes() if file.is_file() else b""
    if not content.endswith(b"\n"):
        file.write_bytes(content[: content.rfind(b"\n") + 1])

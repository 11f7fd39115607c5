"""Files of finished stages are compared with their recorded hashes before a stage that runs reads them."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mlkd.core.files import sha256_of
from pipeline.runner.decision import Decision
from pipeline.runner.result import Result


def spoiled_results(
    folder: Path, planned: Sequence[Decision], reads: Mapping[str, tuple[Collection[str], Collection[str]]]
) -> dict[str, str]:
    """Return the stages whose results do not hold though they look unchanged, and why: their files were altered.

    Files are compared with their hashes if a stage that runs depends on them, which a stage does whose result is
    spoiled.

    Args:
        folder: Where the results are.
        planned: The decisions, in the order of the stages.
        reads: For each stage the names of those that it reads, and the patterns of files that it does not depend on.
    """
    runs = {decision.stage for decision in planned if decision.runs}
    spoiled: dict[str, str] = {}
    for decision in reversed(planned):
        stage, result = decision.stage, decision.result
        readers = [unread for name, (inputs, unread) in reads.items() if name in runs and stage in inputs]
        if result is None or decision.reused or not readers:
            continue
        if why := altered(folder / stage, result, readers):
            spoiled[stage] = why
            runs.add(stage)
    return spoiled


def altered(folder: Path, result: Result, readers: Iterable[Collection[str]] = ((),)) -> str | None:
    """Describe the first file of a result whose content is not the one that was written; None if all are as recorded.

    Args:
        folder: Where the result is.
        result: What was recorded when it was finished.
        readers: For each stage that reads it, the patterns of the files that it does not depend on.  Only files that
            some reader depends on are compared.
    """
    for path, entry in result.files.items():
        if all(any(fnmatch.fnmatch(path, pattern) for pattern in unread) for unread in readers):
            continue
        if (digest := sha256_of(folder / path)) != entry["sha256"]:
            expected = entry["sha256"]
            return f"its file {path} has changed since it was written: SHA-256 {digest[:8]}… instead of {expected[:8]}…"
    return None

"""Files that the pipeline wrote itself, after something else changed them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from export.tagger import times_cache
from export.tagger.watch_state import open_state
from mlkd.core.labels import Labels
from mlkd.models import checkpoint, state_file
from mlkd.training import history
from pipeline.runner import result
from pipeline.runner.integrity import altered


def stage(content: bytes, folder: Path) -> None:
    """stage.json of a finished stage, and identity.json of an unfinished one."""
    for name in ("done", "begun"):
        (folder / name).mkdir()
    (folder / "done/data.npy").write_bytes(b"data")
    (folder / "done" / result.FINISHED).write_bytes(content)
    (folder / "begun" / result.STARTED).write_bytes(content)
    finished = result.read(folder / "done")
    if finished is not None:
        _ = finished.bytes, finished.content_without(("*.npy",))
        result.damage(folder / "done", finished) or altered(folder / "done", finished)
    result.begin(folder / "begun", {"stage": "data"})


def trained(content: bytes, folder: Path) -> None:
    """A checkpoint: best.safetensors and last.safetensors."""
    for name in (checkpoint.BEST, checkpoint.LAST):
        (folder / name).write_bytes(content)
    checkpoint.read_facts(folder / checkpoint.BEST)
    checkpoint.read_last(folder)
    checkpoint.load_labels(folder)
    checkpoint.load_model(folder)


def weights(content: bytes, folder: Path) -> None:
    """Weights of others: safetensors, and what torch.save wrote."""
    for name in ("a.safetensors", "b.pth"):
        (folder / name).write_bytes(content)
        with contextlib.suppress(ValueError):
            state_file.read(folder / name)


def epochs(content: bytes, folder: Path) -> None:
    """history.json."""
    (folder / history.FILE).write_bytes(content)
    history.check(folder, ["0" * 64])
    history.write_epoch(folder, 2, {"map": 0.5})


def labels(content: bytes, folder: Path) -> None:
    """labels.json of a prepared set."""
    (folder / "labels.json").write_bytes(content)
    Labels.read(folder / "labels.json")


def times(content: bytes, folder: Path) -> None:
    """The cached times of a bundle's engines."""
    (folder / "times.json").write_bytes(content)
    record = times_cache.read(folder / "times.json")
    if record is not None:
        times_cache.write(folder / "times.json", record)
        json.dumps(vars(record))


def watched(content: bytes, folder: Path) -> None:
    """The database of tag --watch."""
    (folder / "state.sqlite").write_bytes(content)
    with open_state(folder / "state.sqlite") as state:
        state.has("a.jpg", (1, 2))
        state.add("a.jpg", (1, 2))
        state.keep(["b.jpg"])

"""What `tagger.pyz bench` and `tagger.pyz scores` do: drive the bundle's own Tagger and write down what came out."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, timing
from export import stamp
from export.bundle import read_bundle
from export.tagger import Tagger, choose
from mlkd import images


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process of a measurement; `threads` None leaves the number in the manifest."""

    queries: int = 256
    threads: int | None = None
    batch: int = 8
    warm_up_s: float = 3.0

    def __post_init__(self) -> None:
        if self.queries < 1 or self.batch < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(f"bench: expected queries, threads and batch of at least 1, got {self}")


def bench(folder: Path, engine: str | None, pictures: Sequence[Path], settings: Settings) -> dict[str, Any]:
    """Measure one engine in this process; times in ms, every sample included.

    `load_ms` covers choosing and opening, the runtime's import included, and the picture that ONNX Runtime runs to say
    where its nodes are; `first_ms` is the first picture to labels.
    """
    if not pictures:
        raise ValueError("bench: expected at least one picture, got an empty list")
    content = [picture.read_bytes() for picture in pictures]
    pinned = machine.pin(settings.threads) if settings.threads else None
    manifest = read_bundle(folder)
    began = time.perf_counter_ns()
    with Tagger.first(folder, manifest, engine, threads=settings.threads) as tagger:
        load_ms = (time.perf_counter_ns() - began) / 1e6
        measured = _measure(tagger, content, settings)
    choice = tagger.choice
    return {
        "engine": choice.entry.name,
        "why": choice.why,
        "ran": _ran(tagger),
        "file": choice.entry.file,
        "built_here": tagger.rebuilt is not None,
        "sha256": stamp.hash_of(tagger.session.engine),  # of what ran
        "bytes": sum(file.stat().st_size for file in choice.backend.files(tagger.session.engine)),
        "pictures": len(content),
        "threads": settings.threads,
        "pinned": pinned,
        "batch": settings.batch,
        "load_ms": load_ms,
        **measured,
        "peak_rss_mb": machine.peak_memory_mb(),
        "machine": machine.identity(),
    }


def _measure(tagger: Tagger, content: Sequence[bytes], settings: Settings) -> dict[str, Any]:
    chain = [
        ("decode", tagger.decode),
        ("resize", tagger.resize),
        ("infer", lambda pixels: tagger.scores(pixels[None])[0]),
        ("post", tagger.decide),
    ]
    first = timing.time_queries(chain, content[:1])
    turn = itertools.cycle(content)
    warm = timing.warm_up(lambda: tagger.tag(next(turn)), cap_s=settings.warm_up_s)
    whole = timing.time_queries(chain, _repeat(content, settings.queries))
    tensors = [tagger.resize(tagger.decode(picture))[None] for picture in content]
    engine = timing.time_queries([("engine", tagger.scores)], _repeat(tensors, settings.queries))
    return {
        "first_ms": float(first.whole[0]),
        "warm_up": dataclasses.asdict(warm),
        "settled": warm.settled,
        "samples": {
            "end_to_end_ms": whole.whole.tolist(),
            **{f"{name}_ms": part.tolist() for name, part in whole.parts.items()},
            "engine_ms": engine.whole.tolist(),
        },
        "images_per_second": _throughput(tagger, tensors, settings),
    }


def _throughput(tagger: Tagger, tensors: Sequence[NDArray[np.uint8]], settings: Settings) -> float:
    """Images a second at `batch`, engine only, one batch after the other."""
    batch = np.concatenate(list(_repeat(tensors, settings.batch)))
    count = max(5, settings.queries // settings.batch)
    for _ in range(3):
        tagger.scores(batch)
    samples = timing.time_queries([("engine", tagger.scores)], itertools.repeat(batch, count))
    return float(settings.batch * count / (samples.whole.sum() / 1e3))


def score_files(
    folder: Path,
    engines: Sequence[str],
    files: Sequence[Path],
    out: Path,
    *,
    batch: int = 32,
    threads: int | None = None,
) -> dict[str, Any]:
    """Scores (N, L) of every engine for every file into out/ENGINE.npy, decoding each picture once.

    Returns by engine {"ran", "error"}; one that fails does not disturb the others.  Raises UnreadablePicture.
    """
    manifest = read_bundle(folder)
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {name: {"ran": None, "error": None} for name in engines}
    running: dict[str, tuple[Tagger, list[NDArray[np.float32]]]] = {}
    for name in engines:
        entry = manifest.engine(name)
        try:
            choice = choose(manifest, entry.name, threads=threads)
            running[name] = Tagger.open(folder, manifest, choice), []
        except Exception as cause:  # every runtime raises classes of its own
            report[name]["error"] = _one_line(cause)
    try:
        _score_all(running, report, _batches(files, manifest.image_px, batch))
        for name, (tagger, parts) in running.items():
            report[name]["ran"] = _ran(tagger)
            np.save(out / f"{name}.npy", np.concatenate(parts))
    finally:
        for tagger, _ in running.values():
            tagger.close()
    return report


def _score_all(
    running: dict[str, tuple[Tagger, list[NDArray[np.float32]]]],
    report: dict[str, Any],
    batches: Iterator[NDArray[np.uint8]],
) -> None:
    for pixels in batches:
        for name, (tagger, parts) in list(running.items()):
            try:
                parts += [tagger.scores(some) for some in _cut(pixels, tagger.session.max_batch)]
            except Exception as cause:  # as above
                report[name]["error"] = _one_line(cause)
                running.pop(name)[0].close()


def _batches(files: Sequence[Path], image_px: int, batch: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(files), batch):
        yield np.stack([images.load(file, image_px) for file in files[start : start + batch]])


def _cut(pixels: NDArray[np.uint8], most: int | None) -> list[NDArray[np.uint8]]:
    """The batch in pieces that an engine of `most` pictures takes."""
    step = most or len(pixels)
    return [pixels[start : start + step] for start in range(0, len(pixels), step)]


def _repeat(items: Sequence[Any], count: int) -> Iterator[Any]:
    return itertools.islice(itertools.cycle(items), count)


def _ran(tagger: Tagger) -> dict[str, Any]:
    return dataclasses.asdict(tagger.session.ran)


def _one_line(cause: Exception) -> str:
    return " ".join(str(cause).split()) or type(cause).__name__

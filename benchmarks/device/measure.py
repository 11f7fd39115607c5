"""What `tagger.pyz bench` and `tagger.pyz scores` do: drive the bundle's own Tagger and write down what came out."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.device import machine, throughput
from benchmarks.device.image_pack import read_pack
from benchmarks.device.output import BenchOutput, PrintedRuntime, ScoreResult, Throughput
from benchmarks.device.protocol import Chain, Settings, measure
from benchmarks.device.sensors import Sensors
from export.backends.host import identity, usable_cores
from export.bundle.bundle import read_bundle
from export.tagger import Tagger, choose
from export.tagger.opening import open_engine
from mlkd.core import images
from mlkd.core.files import sha256_of

ImageSource = Path | bytes


def read_sources(file: Path) -> Sequence[ImageSource]:
    """What `--images` names: a text list with one path a line, or a pack, a .zip of image files."""
    if file.suffix.lower() == ".zip":
        return read_pack(file)
    listed = [Path(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not listed:
        raise ValueError(f"{file}: expected a text file with one image's path a line, or a pack, got no path")
    return listed


def sample(sources: Sequence[ImageSource], count: int | None, seed: int) -> list[ImageSource]:
    """`count` of them, or all where there are no more, in a seeded random order; None takes all as they lie."""
    if count is None:
        return list(sources)
    chosen = random.Random(seed).sample(range(len(sources)), min(count, len(sources)))
    return [sources[index] for index in chosen]


def bench(folder: Path, engine: str | None, sources: Sequence[ImageSource], settings: Settings) -> BenchOutput:
    """Measure one engine in this process: what `measure` says, what ran, and what opening it cost.

    `load_ms` covers choosing and opening, the runtime's import included, and the image that ONNX Runtime runs to say
    where its nodes are.  Peak memory is read before the search for throughput opens further sessions.
    """
    if not sources:
        raise ValueError("bench: expected at least one image, got an empty list")
    content = [source if isinstance(source, bytes) else source.read_bytes() for source in sources]
    pinned = None
    if settings.threads and not settings.throughput:  # a runtime looks only once how many cores there are
        pinned = machine.pin(settings.threads)
    manifest = read_bundle(folder)
    began = time.perf_counter_ns()
    with Tagger.from_manifest(folder, manifest, engine, threads=settings.threads) as tagger:
        load_ms = (time.perf_counter_ns() - began) / 1e6
        chain = Chain(decode=tagger.decode, resize=tagger.resize, scores=tagger.scores, decide=tagger.decide)
        ran = tagger.runtime_info
        on_gpu = ran.provider.startswith("tensorrt") or ran.device.startswith("cuda")
        sensors = Sensors(core=pinned[0] if pinned else None, on_gpu=on_gpu)
        measured = measure(chain, content, settings, sensors)
        peak_rss_mb = machine.peak_memory_mb()
        engine_file = tagger.engine
        rates = _throughput(folder, tagger, chain.pixels(content), settings.throughput)
        wrong = tagger.reason_not_to_use(folder)
    choice = tagger.choice
    return BenchOutput(
        engine=choice.entry.name,
        why=choice.why,
        ran=PrintedRuntime(**vars(ran)),
        file=choice.entry.file,
        built_here=tagger.rebuilt is not None,
        sha256=sha256_of(engine_file),  # of what ran
        bytes=sum(file.stat().st_size for file in choice.backend.files(engine_file)),
        images=len(content),
        threads=settings.threads,
        pinned=pinned,
        load_ms=load_ms,
        **vars(measured),
        peak_rss_mb=peak_rss_mb,
        throughput=rates,
        wrong=wrong,
        machine=identity(),
    )


def _throughput(
    folder: Path, tagger: Tagger, pixels: Sequence[NDArray[np.uint8]], wanted: bool | tuple[int, int]
) -> Throughput | None:
    """The search, or the setting named, on all cores that this process can keep busy; None if not wanted.

    Every stream opens a session of one thread for itself.
    """
    if not wanted:
        return None
    choice = choose(tagger.manifest, tagger.choice.entry.name, threads=1)
    open_another = functools.partial(open_engine, folder, tagger.manifest, choice.entry, choice.backend)
    with throughput.trials(open_another, pixels) as trial:
        if isinstance(wanted, tuple):
            return throughput.again(trial, *wanted)
        return throughput.search(trial, usable_cores(), tagger.max_batch)


def score_files(
    folder: Path,
    engines: Sequence[str],
    files: Sequence[ImageSource],
    out: Path,
    *,
    batch: int = 32,
    threads: int | None = None,
) -> dict[str, ScoreResult]:
    """Write scores (N, L) of every engine to out/ENGINE.npy, decoding each image once (UnreadableImageError).

    Returns:
        The result of each engine; one that fails does not disturb the others.
    """
    manifest = read_bundle(folder)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, ScoreResult] = {}
    running: dict[str, tuple[Tagger, list[NDArray[np.float32]]]] = {}
    for name in engines:
        entry = manifest.engine(name)
        try:
            choice = choose(manifest, entry.name, threads=threads)
            running[name] = Tagger.open(folder, manifest, choice), []
        except Exception as cause:  # every runtime raises classes of its own
            results[name] = ScoreResult(error=_one_line(cause))
    try:
        _score_all(running, results, _batches(files, manifest.image_px, batch))
        for name, (tagger, parts) in running.items():
            ran = PrintedRuntime(**vars(tagger.runtime_info))
            results[name] = ScoreResult(ran=ran, sha256=sha256_of(tagger.engine))
            np.save(out / f"{name}.npy", np.concatenate(parts))
    finally:
        for tagger, _ in running.values():
            tagger.close()
    return {name: results[name] for name in engines}


def _score_all(
    running: dict[str, tuple[Tagger, list[NDArray[np.float32]]]],
    results: dict[str, ScoreResult],
    batches: Iterator[NDArray[np.uint8]],
) -> None:
    for pixels in batches:
        for name, (tagger, parts) in list(running.items()):
            try:
                parts.append(tagger.scores(pixels))
            except Exception as cause:  # as above
                results[name] = ScoreResult(error=_one_line(cause))
                running.pop(name)[0].close()


def _batches(files: Sequence[ImageSource], image_px: int, batch: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(files), batch):
        yield np.stack([images.load(file, image_px) for file in files[start : start + batch]])


def _one_line(cause: Exception) -> str:
    return " ".join(str(cause).split()) or type(cause).__name__

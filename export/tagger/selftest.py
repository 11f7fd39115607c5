"""The self-test: golden images decoded, resized and scored here, each step from the stored result of the one before.

So a fault is found where it arises: a decoder's difference does not hide a resize's, nor that one an engine's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.bundle.manifest import EngineEntry, Manifest
from export.tagger.reference import Golden, Limit, Values, largest_difference, score_limit
from export.tagger.saturation_check import CAUSE, saturation
from export.tagger.tagger import Tagger
from mlkd.core import images

JPEG_LEVELS = Limit(3.0)  # one level in each of Y, Cb and Cr, as decoders' rounding differs, is up to 2.8 in blue
LEVELS = Limit(1.0)  # the rounding of alpha, and of Pillow's resize where it is built for another instruction set
AFTER_ROUNDING = 1.5e-1  # what two levels of noise in the pixels moved scores by
EQUAL_SCORES = 1e-6

Step = Literal["decode", "resize", "engine", "all", "tags"]
State = Literal["same", "close", "different"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How one step came out; `close` is within what a correct device may differ."""

    step: Step
    subject: str  # an image of the bundle, or an engine
    state: State
    cause: str  # what differs: "JPEG decoder", "resize kernel", "channel order", …
    largest: float | None  # difference, in levels of 0..255 or of scores 0..1; None where none can be told
    note: str = ""


def check_images(golden: Golden, image_px: int) -> list[Finding]:
    """Decoding from the files, resizing from what decoding gave where the bundle was made."""
    findings = []
    for file, decoded, pixels in zip(golden.files, golden.decoded, golden.pixels, strict=True):
        findings.append(_check_decoding(file, decoded, image_px))
        findings.append(_check_resizing(file, decoded, pixels))
    return findings


def check_engine(tagger: Tagger, golden: Golden) -> list[Finding]:
    """The engine from the stored pixels, then the whole chain from the files, thresholds included."""
    entry, stored = tagger.choice.entry, golden.pixels
    tags = _check_tags(tagger.manifest, entry, golden)
    expected, limit = golden.scores[entry.name], score_limit(entry, tagger.runtime_info)
    found = _scored(tagger, stored)
    finding = _compared("engine", entry.name, expected, found, limit, EQUAL_SCORES)
    if finding.state != "same":
        finding = _explained(finding, tagger, stored, expected, found, limit)
    try:
        pixels = [tagger.resize(tagger.decode(file)) for file in golden.files]
    except images.UnreadableImageError as refusal:
        return [finding, _unreadable("all", entry.name, refusal), tags]
    if not all(map(np.array_equal, pixels, stored)):
        limit = Limit(max(limit.largest, AFTER_ROUNDING))
    found = _scored(tagger, pixels)
    whole = _compared("all", entry.name, expected, found, limit, EQUAL_SCORES)
    note = _decisions(expected, found, entry.thresholds)
    return [finding, dataclasses.replace(whole, cause=whole.cause and "scores", note=note), tags]


def _check_tags(manifest: Manifest, entry: EngineEntry, golden: Golden) -> Finding:
    """What is printed of the stored scores, by the manifest and by the labels and thresholds it was made with."""
    labels, thresholds = golden.labels, golden.thresholds[entry.name]
    if (labels, thresholds) == (manifest.labels, entry.thresholds):
        return Finding(step="tags", subject=entry.name, state="same", cause="", largest=None)
    note = ""
    for file, scores in zip(golden.files, golden.scores[entry.name], strict=True):
        expected, found = _tags(labels, thresholds, scores), _tags(manifest.labels, entry.thresholds, scores)
        if found != expected:
            note = f"{_named(file)}: expected {', '.join(expected) or 'no tag'}, got {', '.join(found) or 'no tag'}"
            break
    cause = "labels in the manifest" if labels != manifest.labels else "thresholds in the manifest"
    return Finding(step="tags", subject=entry.name, state="different", cause=cause, largest=None, note=note)


def _tags(labels: Sequence[str], thresholds: Sequence[float], scores: Values) -> list[str]:
    return [label for label, limit, score in zip(labels, thresholds, scores, strict=True) if score >= limit]


def _explained(
    finding: Finding, tagger: Tagger, stored: Sequence[NDArray[np.uint8]], expected: Values, found: Values, limit: Limit
) -> Finding:
    """The finding of an engine that differs, with its cause."""
    swapped = _scored(tagger, [np.ascontiguousarray(pixels[..., ::-1]) for pixels in stored])
    if limit.allows(expected, swapped):
        return dataclasses.replace(finding, cause="channel order of the engine")
    if finding.state == "different" and tagger.choice.entry.precision.startswith("int8"):
        inputs, session = [pixels[None] for pixels in stored], tagger.sessions.first
        note = saturation(session, tagger.choice.backend, inputs, expected, found, limit)
        if note is not None:
            return dataclasses.replace(finding, cause=CAUSE, note=note)
    return dataclasses.replace(finding, cause="engine")


def _check_decoding(file: Path, expected: NDArray[np.uint8], image_px: int) -> Finding:
    try:
        found = np.asarray(images.decode(file, image_px))
    except images.UnreadableImageError as refusal:
        return _unreadable("decode", _named(file), refusal)
    limit = JPEG_LEVELS if file.suffix == ".jpg" else LEVELS
    finding = _compared("decode", _named(file), expected, found, limit)
    return finding if finding.state == "same" else dataclasses.replace(finding, cause=_decoder(file, expected, found))


def _decoder(file: Path, expected: Values, found: Values) -> str:
    """What made decoding differ; two that are alike but for a turn or a swap differ by a decoder's rounding at most."""
    turned = (np.asarray(Image.fromarray(found).transpose(turn)) for turn in Image.Transpose)
    if any(JPEG_LEVELS.allows(expected, one) for one in turned):
        return "orientation"
    if JPEG_LEVELS.allows(expected, found[..., ::-1]):
        return "channel order"
    if expected.shape != found.shape:
        return "scale of decoding"
    with Image.open(file) as image:
        return f"{image.format} decoder ({image.mode})"


def _check_resizing(file: Path, decoded: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Finding:
    found = images.resize(Image.fromarray(decoded), len(expected))
    finding = _compared("resize", _named(file), expected, found, LEVELS)
    return finding if finding.state == "same" else dataclasses.replace(finding, cause=_resizer(decoded, found))


def _resizer(decoded: Values, found: Values) -> str:
    size = (found.shape[1], found.shape[0])
    for kernel in Image.Resampling:
        alike = np.asarray(Image.fromarray(decoded).resize(size, kernel))
        if kernel != Image.Resampling.BILINEAR and np.array_equal(alike, found):
            return f"resize kernel (that of {kernel.name}, not BILINEAR)"
        if np.array_equal(alike[..., ::-1], found):
            return "channel order"
    return "resize kernel"


def _scored(tagger: Tagger, inputs: Sequence[NDArray[np.uint8]]) -> Values:
    return np.concatenate([tagger.scores(pixels[None]) for pixels in inputs])


def _decisions(expected: Values, found: Values, thresholds: Sequence[float]) -> str:
    if expected.shape != found.shape:
        return ""
    limits = np.array(thresholds)
    flipped = int(((found >= limits) != (expected >= limits)).sum())
    return f"{flipped} of {expected.size} decisions differ" if flipped else ""


def _compared(step: Step, subject: str, expected: Values, found: Values, limit: Limit, equal: float = 0.0) -> Finding:
    largest = largest_difference(expected, found)
    if largest is not None and largest <= equal:
        return Finding(step=step, subject=subject, state="same", cause="", largest=largest)
    state: State = "close" if limit.allows(expected, found) else "different"
    return Finding(step=step, subject=subject, state=state, cause=step, largest=largest)


def _named(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _unreadable(step: Step, subject: str, refusal: Exception) -> Finding:
    return Finding(step=step, subject=subject, state="different", cause="decoder", largest=None, note=str(refusal))

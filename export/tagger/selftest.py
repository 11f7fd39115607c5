"""The self-test: decodes, resizes and scores the golden images, each step from the stored result of the one before.

A difference is therefore reported for the step that causes it, and does not hide differences of later steps.
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

from export.backends import score_in_batches
from export.bundle.golden import Golden
from export.bundle.manifest import EngineEntry, Manifest
from export.tagger.limits import Limit, Values, largest_difference, score_limit
from export.tagger.saturation_diagnosis import CAUSE, saturation
from export.tagger.tagger import Tagger
from mlkd.core import images

JPEG_LEVELS = Limit(3.0)  # decoders round Y, Cb and Cr differently by one level, which is up to 2.8 in blue
LEVELS = Limit(1.0)  # rounding of alpha, and of Pillow's resize in builds for another instruction set
AFTER_ROUNDING = 1.5e-1  # the change of scores by two levels of noise in the pixels
EQUAL_SCORES = 1e-6

Step = Literal["decode", "resize", "engine", "all", "tags"]
State = Literal["same", "close", "different"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one step; `close` is a difference that a correct device may have."""

    step: Step
    subject: str  # an image of the bundle, or an engine
    state: State
    cause: str  # what differs: "JPEG decoder", "resize kernel", "channel order", …
    largest: float | None  # difference, in levels 0..255 or scores 0..1; None if unknown
    note: str = ""


def check_images(golden: Golden, image_px: int) -> list[Finding]:
    """Check decoding of the files, and resizing of the stored decoded images."""
    findings = []
    for file, decoded, pixels in zip(golden.files, golden.decoded, golden.pixels, strict=True):
        findings.append(_check_decoding(file, decoded, image_px))
        findings.append(_check_resizing(file, decoded, pixels))
    return findings


def check_engine(tagger: Tagger, golden: Golden) -> list[Finding]:
    """Check the engine on the stored pixels, all steps from the files, and the tags."""
    entry, stored = tagger.choice.entry, golden.pixels
    tags = _check_tags(tagger.manifest, entry, golden)
    expected, limit = golden.scores[entry.name], score_limit(entry, tagger.runtime_info)
    actual = _score(tagger, stored)
    finding = _compare("engine", entry.name, expected, actual, limit, EQUAL_SCORES)
    if finding.state != "same":
        finding = _explain(finding, tagger, stored, expected, actual, limit)
    try:
        pixels = [tagger.resize(tagger.decode(file)) for file in golden.files]
    except images.UnreadableImageError as refusal:
        return [finding, _unreadable("all", entry.name, refusal), tags]
    if not all(map(np.array_equal, pixels, stored)):
        limit = Limit(max(limit.largest, AFTER_ROUNDING))
    actual = _score(tagger, pixels)
    whole = _compare("all", entry.name, expected, actual, limit, EQUAL_SCORES)
    note = _count_flipped(expected, actual, entry.thresholds)
    return [finding, dataclasses.replace(whole, cause=whole.cause and "scores", note=note), tags]


def _check_tags(manifest: Manifest, entry: EngineEntry, golden: Golden) -> Finding:
    """Compare the tags of the stored scores by the manifest with those by the stored labels and thresholds."""
    labels, thresholds = golden.labels, golden.thresholds[entry.name]
    if (labels, thresholds) == (manifest.labels, entry.thresholds):
        return Finding(step="tags", subject=entry.name, state="same", cause="", largest=None)
    note = ""
    for file, scores in zip(golden.files, golden.scores[entry.name], strict=True):
        expected, actual = _tags(labels, thresholds, scores), _tags(manifest.labels, entry.thresholds, scores)
        if actual != expected:
            note = f"{_name(file)}: expected {', '.join(expected) or 'no tag'}, got {', '.join(actual) or 'no tag'}"
            break
    cause = "labels in the manifest" if labels != manifest.labels else "thresholds in the manifest"
    return Finding(step="tags", subject=entry.name, state="different", cause=cause, largest=None, note=note)


def _tags(labels: Sequence[str], thresholds: Sequence[float], scores: Values) -> list[str]:
    return [label for label, limit, score in zip(labels, thresholds, scores, strict=True) if score >= limit]


def _explain(
    finding: Finding,
    tagger: Tagger,
    stored: Sequence[NDArray[np.uint8]],
    expected: Values,
    actual: Values,
    limit: Limit,
) -> Finding:
    """The finding of an engine with a difference, with its cause."""
    pixels = np.stack(stored)
    if limit.allows(expected, _score(tagger, pixels[..., ::-1])):
        return dataclasses.replace(finding, cause="channel order of the engine")
    if finding.state == "different" and tagger.choice.entry.precision.startswith("int8"):
        note = saturation(tagger.sessions.first, tagger.choice.backend, pixels, expected, actual, limit)
        if note is not None:
            return dataclasses.replace(finding, cause=CAUSE, note=note)
    return dataclasses.replace(finding, cause="engine")


def _check_decoding(file: Path, expected: NDArray[np.uint8], image_px: int) -> Finding:
    try:
        actual = np.asarray(images.decode(file, image_px))
    except images.UnreadableImageError as refusal:
        return _unreadable("decode", _name(file), refusal)
    limit = JPEG_LEVELS if file.suffix == ".jpg" else LEVELS
    finding = _compare("decode", _name(file), expected, actual, limit)
    if finding.state == "same":
        return finding
    return dataclasses.replace(finding, cause=_decoding_cause(file, expected, actual))


def _decoding_cause(file: Path, expected: Values, actual: Values) -> str:
    """Why decoding differs; JPEG_LEVELS allows for another decoder's rounding as well."""
    turned = (np.asarray(Image.fromarray(actual).transpose(turn)) for turn in Image.Transpose)
    if any(JPEG_LEVELS.allows(expected, image) for image in turned):
        return "orientation"
    if JPEG_LEVELS.allows(expected, actual[..., ::-1]):
        return "channel order"
    if expected.shape != actual.shape:
        return "scale of decoding"
    with Image.open(file) as image:
        return f"{image.format} decoder ({image.mode})"


def _check_resizing(file: Path, decoded: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Finding:
    actual = images.resize(Image.fromarray(decoded), len(expected))
    finding = _compare("resize", _name(file), expected, actual, LEVELS)
    return finding if finding.state == "same" else dataclasses.replace(finding, cause=_resizing_cause(decoded, actual))


def _resizing_cause(decoded: Values, actual: Values) -> str:
    size = (actual.shape[1], actual.shape[0])
    for kernel in Image.Resampling:
        resized = np.asarray(Image.fromarray(decoded).resize(size, kernel))
        if kernel != Image.Resampling.BILINEAR and np.array_equal(resized, actual):
            return f"resize kernel (that of {kernel.name}, not BILINEAR)"
        if np.array_equal(resized[..., ::-1], actual):
            return "channel order"
    return "resize kernel"


def _score(tagger: Tagger, pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Values:
    return score_in_batches(tagger.scores, np.ascontiguousarray(pixels), 1)


def _count_flipped(expected: Values, actual: Values, thresholds: Sequence[float]) -> str:
    if expected.shape != actual.shape:
        return ""
    limits = np.array(thresholds)
    flipped = int(((actual >= limits) != (expected >= limits)).sum())
    return f"{flipped} of {expected.size} decisions differ" if flipped else ""


def _compare(step: Step, subject: str, expected: Values, actual: Values, limit: Limit, equal: float = 0.0) -> Finding:
    largest = largest_difference(expected, actual)
    if largest is not None and largest <= equal:
        return Finding(step=step, subject=subject, state="same", cause="", largest=largest)
    state: State = "close" if limit.allows(expected, actual) else "different"
    return Finding(step=step, subject=subject, state=state, cause=step, largest=largest)


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _unreadable(step: Step, subject: str, refusal: Exception) -> Finding:
    return Finding(step=step, subject=subject, state="different", cause="decoder", largest=None, note=str(refusal))

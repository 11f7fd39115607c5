"""`tagger.pyz tag`."""

from __future__ import annotations

import argparse
import functools
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli import watching
from pipeline.tagger_cli.command import OK, SOME_FAILED, command, count, note, rebuild_option
from pipeline.tagger_cli.results import Results

if TYPE_CHECKING:  # imported at run time only by the command that needs it, so that --help is fast
    from export.tagger import Tagger

LOW = 0.5  # mean expected precision below which a warning is printed
DOUBTFUL = 0.25  # expected precision below which a label is marked
IMAGES = "a file, a folder (searched recursively), a quoted pattern, or - for one image's bytes on standard input"


def add(commands: Any) -> None:
    """Add the command tag."""
    parser = command(commands, "tag", tag)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=IMAGES)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per line")
    form.add_argument(
        "--csv", action="store_true", help="print image, tags, scores, error, doubtful tags and an empty verdict"
    )
    parser.add_argument("--engine", metavar="NAME", help="default: the fastest that runs here")
    parser.add_argument("--threshold", type=float, help="for all labels; default: the engine's own for each label")
    parser.add_argument("--top-k", type=count, metavar="N", help="at most N labels per image")
    parser.add_argument(
        "--labels", type=_names, metavar="A,B", help="print only these; a label with a comma in double quotes"
    )
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="images at the same time; default: one per core that this process may use",
    )
    text = "also add the tags to the XMP sidecar of each image, photo.jpg.xmp, or photo.xmp if that file exists"
    sidecar = parser.add_mutually_exclusive_group()
    sidecar.add_argument("--xmp", action="store_const", const="xmp", help=text)
    text = "the same, always to photo.xmp"
    sidecar.add_argument("--xmp-lightroom", action="store_const", const="lightroom", dest="xmp", help=text)
    text = "add the levels above each label; a text file with lines such as animal/pet/cat"
    parser.add_argument("--hierarchy", type=Path, metavar="FILE", help=text)
    watching.add(parser)
    rebuild_option(parser)


def tag(options: argparse.Namespace) -> int:
    """Print the labels of each image; unreadable images are reported and skipped."""
    from export.tagger.inputs import STANDARD_INPUT, ImageSources, find_images
    from export.tagger.parallel import tag_many

    watching.check(options)
    if options.xmp and STANDARD_INPUT in options.images:
        raise ValueError(f"{STANDARD_INPUT}: expected files with --xmp, got standard input; it has no sidecar")
    stdin = getattr(sys.stdin, "buffer", None)
    sources = ImageSources([], []) if options.watch else find_images(options.images, stdin)
    total = len(sources.failed) + len(sources.images)
    with load_tagger(options) as tagger:
        tag_images = functools.partial(
            tag_many, tagger, threshold=options.threshold, top_k=options.top_k, labels=options.labels
        )
        tagged = tag_images(sources.images)  # checks the options
        with (
            Results(options, tagger.manifest.labels, doubtful_labels(options, tagger), total) as results,
            closing(tagged),
        ):
            if options.watch:
                return watching.watch(options, tag_images, results)
            for name, cause in sources.failed:
                results.add(name, cause)
            for image, result in tagged:
                results.add(STANDARD_INPUT if isinstance(image, bytes) else str(image), result)
    if results.failed:
        print(f"{results.failed} of {total} images failed", file=sys.stderr)
    return SOME_FAILED if results.failed else OK


def doubtful_labels(options: argparse.Namespace, tagger: Tagger) -> frozenset[str]:
    """Labels with a low expected precision on *tune*; prints a warning once.

    With a threshold of the user, no precision is expected.
    """
    known = zip(tagger.manifest.labels, tagger.choice.entry.expected_precision, strict=True)
    expected = {label: value for label, value in known if value is not None and options.threshold is None}
    doubtful = frozenset(label for label, value in expected.items() if value < DOUBTFUL)
    mean = sum(expected.values()) / len(expected) if expected else 1.0
    warnings = [f"expected precision {mean:.0%}: most tags are wrong"] if mean < LOW else []
    if doubtful:
        count = f"{len(doubtful)} of {len(tagger.manifest.labels)} labels"
        mark = "doubtful" if options.json or options.csv else "?"
        warnings.append(f"tags of {count}, marked {mark}, are right in less than {DOUBTFUL:.0%} of cases")
    if warnings:
        note(f"engine {tagger.choice.entry.name}: {'; '.join(warnings)}")
    return doubtful


def _names(text: str) -> tuple[str, ...]:
    from mlkd.core.labels import split_names

    try:
        names = split_names(text)
    except ValueError as cause:
        raise argparse.ArgumentTypeError(f"expected labels as A,B, got {cause}") from None
    if not names:
        raise argparse.ArgumentTypeError("expected at least one label, got none")
    return names


def load_tagger(options: argparse.Namespace) -> Tagger:
    """Open the bundle that the options name; prints what the user has to know of its engine."""
    from export.bundle import signature
    from export.tagger import Tagger

    key = options.require_signature
    signed = signature.state(options.bundle, key)
    tagger = Tagger.load(options.bundle, options.engine, workers=options.workers, rebuild=options.rebuild, key=key)
    if options.verbose or (key is None and signed != "unsigned"):
        note(f"bundle: {signed}")
    entry = tagger.choice.entry
    if options.verbose:
        runtime, built = tagger.runtime_info, f"; built on this device: {tagger.rebuilt}" if tagger.rebuilt else ""
        note(f"engine {entry.name}: {tagger.choice.why}; {runtime.provider}, {runtime.compute}{built}")
        if tagger.choice.rejected:
            note(f"not {tagger.choice.rejected}")
    reason = tagger.reason_not_to_use(options.bundle) if options.engine else None
    if reason is not None:
        note(f"tagger: warning: engine {entry.name}: {reason}")
    tuned_on = entry.thresholds_from if entry.thresholds_from != entry.name else "the bundle's own file"
    if options.threshold is None and (tagger.rebuilt or entry.thresholds_from != entry.name):
        note(f"engine {entry.name}: thresholds were tuned on {tuned_on}")
    return tagger

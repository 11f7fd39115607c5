"""`tagger.pyz selftest`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK, SOME_FAILED, command, one_line

if TYPE_CHECKING:
    from export.bundle.manifest import Manifest
    from export.tagger.reference import Golden
    from export.tagger.selftest import Finding

LONGEST_S = 300.0  # for one engine to start and score a few images
STEPS = {
    "decode": "decoded as expected",
    "resize": "resized as expected",
    "engine": "scores of the engine",
    "all": "from files to scores",
    "tags": "tags as expected",
}
ENGINE_STEPS = ("engine", "all", "tags")
UNITS = {"decode": "levels of 255", "resize": "levels of 255", "engine": "in scores", "all": "in scores", "tags": ""}


def add(commands: Any) -> None:
    """The command selftest."""
    parser = command(commands, "selftest", selftest)
    parser.add_argument("--engine", metavar="NAME", action="append", help="may be repeated; default: all that run here")
    enough = "pass if one engine does; `tag` leaves out the others"
    parser.add_argument("--any-engine", action="store_true", help=enough)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def selftest(options: argparse.Namespace) -> int:
    """Decode, resize and score the bundle's golden images, and compare each step with what it gave at the desk."""
    from export.bundle.bundle import read_bundle
    from export.tagger.engine_choice import by_reason
    from export.tagger.reference import Golden
    from export.tagger.selftest import check_images

    manifest = read_bundle(options.bundle, key=options.require_signature)
    golden = Golden.read(options.bundle, manifest)
    findings, not_run, unfit = check_images(golden, manifest.image_px), dict[str, str](), dict[str, str]()
    if options.engine:
        for name in options.engine:
            findings += _in_this_process(options, manifest, golden, name)
    else:
        told, not_run = _in_processes(options, manifest)
        unfit = _unfit(told, manifest)
        findings += [finding for finding in told if finding.subject not in unfit]
    passed = _passed(findings, options.any_engine)
    if options.json:
        found = [dataclasses.asdict(one) for one in findings]
        facts = {"passed": passed, "findings": found, "not_run": not_run, "unfit": unfit}
        print(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    else:
        left_out = {"not tested": not_run, "not for this processor": unfit}
        lines = [f"{why}: {one}" for why, engines in left_out.items() for one in by_reason(engines)]
        print("\n".join([*_lines(findings), *lines]))
        print("self-test: passed" if passed else f"self-test: FAILED: {_faults(findings)}")
    return OK if passed else SOME_FAILED


def _passed(findings: list[Finding], any_engine: bool) -> bool:
    """Whether no step is different; of engines it may be asked of a single one."""
    engines = {finding.subject for finding in findings if finding.step == "engine"}
    failed = {finding.subject for finding in findings if finding.state == "different"}
    return bool(engines - failed) and (failed <= engines if any_engine else not failed)


def _unfit(findings: list[Finding], manifest: Manifest) -> dict[str, str]:
    """The engines that saturate here and are not meant for every processor, and what is found of them: not a fault."""
    from export.bundle.manifest import ANY_PROCESSOR
    from export.tagger.saturation_check import CAUSE

    saturated = {finding.subject: finding.note for finding in findings if finding.cause == CAUSE}
    meant_for = {entry.name: entry.meant_for for entry in manifest.engines}
    return {
        name: f"{note}; it is meant for {meant_for[name]}; `tag` does not take it here"
        for name, note in saturated.items()
        if meant_for[name] not in ("", ANY_PROCESSOR)
    }


def _good(findings: list[Finding]) -> list[str]:
    """The engines that pass, in the bundle's order."""
    failed = {finding.subject for finding in findings if finding.state == "different"}
    return [finding.subject for finding in findings if finding.step == "engine" and finding.subject not in failed]


def _in_this_process(options: argparse.Namespace, manifest: Manifest, golden: Golden, name: str) -> list[Finding]:
    from export.tagger import Tagger
    from export.tagger.selftest import check_engine

    with Tagger.first(options.bundle, manifest, name) as tagger:
        return check_engine(tagger, golden)


def _in_processes(options: argparse.Namespace, manifest: Manifest) -> tuple[list[Finding], dict[str, str]]:
    """What each engine's own process finds, and why the others were not tested: one may end its process."""
    from benchmarks.device.tagger_process import ProcessFailedError, Program
    from export.bundle.bundle import PROGRAM
    from export.tagger.engine_choice import backend_of
    from export.tagger.opening import lacks
    from export.tagger.selftest import Finding

    key = options.require_signature
    words = ["selftest", "--json", *(["--require-signature", str(key.resolve())] if key is not None else [])]
    program = Program([sys.executable, str(options.bundle.resolve() / PROGRAM)], LONGEST_S)
    findings: list[Finding] = []
    not_run = {}
    for entry in manifest.engines:
        lacking = lacks(manifest, entry, backend_of(entry))
        if lacking is not None:
            not_run[entry.name] = lacking
            continue
        try:
            told = program(*words, "--engine", entry.name)
        except ProcessFailedError as cause:
            not_run[entry.name] = one_line(cause)
        else:
            findings += [Finding(**one) for one in told["findings"] if one["step"] in ENGINE_STEPS]
    return findings, not_run


def _lines(findings: list[Finding]) -> list[str]:
    """One for the images of a step that are the same, one for each finding else."""
    lines = []
    for step, words in STEPS.items():
        ours = [finding for finding in findings if finding.step == step]
        same = [finding.subject for finding in ours if finding.state == "same"]
        if same:
            lines.append(f"{words}: {', '.join(same)}")
        lines += [f"{words}, {_told(one)}" for one in ours if one.subject not in same]
    return lines


def _told(finding: Finding) -> str:
    size = "" if finding.largest is None else f", by up to {finding.largest:.3g} {UNITS[finding.step]}"
    note = f" ({finding.note})" if finding.note else ""
    what = f": {finding.cause}{size}" if finding.cause else ""
    return f"{finding.subject}: {finding.state}{what}{note}"


def _faults(findings: list[Finding]) -> str:
    """The causes of what is different, each once; the whole chain only where no step of it is at fault."""
    different = [finding for finding in findings if finding.state == "different"]
    steps = [finding for finding in different if finding.step != "all"] or different
    causes = {f"{one.cause} ({one.subject})": None for one in steps}
    return (", ".join(causes) or "no engine of the bundle runs here") + _instead(findings)


def _instead(findings: list[Finding]) -> str:
    """Which engines to use where one saturates."""
    from export.tagger.saturation_check import CAUSE

    if not any(finding.cause == CAUSE for finding in findings):
        return ""
    good = ", ".join(_good(findings)) or "another engine (selftest without --engine names those that pass)"
    return f"; use {good} on this processor"

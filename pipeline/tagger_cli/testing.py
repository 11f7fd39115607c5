"""`tagger.pyz selftest`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from mlkd.core.printable import printable, printable_lines
from pipeline.tagger_cli.command import OK, SOME_FAILED, command, one_line

if TYPE_CHECKING:
    from export.bundle.golden import Golden
    from export.bundle.manifest import Manifest
    from export.tagger.selftest import Finding

TIMEOUT_S = 300.0  # for one engine to start and score a few images
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
    """Add the command selftest."""
    parser = command(commands, "selftest", selftest)
    parser.add_argument("--engine", metavar="NAME", action="append", help="may be repeated; default: all that run here")
    any_engine = "pass if one engine passes; `tag` does not use the others"
    parser.add_argument("--any-engine", action="store_true", help=any_engine)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def selftest(options: argparse.Namespace) -> int:
    """Decode, resize and score the golden images of the bundle, and compare each step with its expected result."""
    from export.bundle.bundle import read_bundle
    from export.bundle.golden import Golden
    from export.tagger.engine_choice import by_reason
    from export.tagger.selftest import check_images

    manifest = read_bundle(options.bundle, key=options.require_signature)
    golden = Golden.read(options.bundle, manifest)
    findings, not_run, unfit = check_images(golden, manifest.image_px), dict[str, str](), dict[str, str]()
    if options.engine:
        for name in options.engine:
            findings += _in_this_process(options, manifest, golden, name)
    else:
        by_engine, not_run = _in_processes(options, manifest)
        unfit = _unfit(by_engine, manifest)
        findings += [finding for finding in by_engine if finding.subject not in unfit]
    passed = _passed(findings, options.any_engine)
    if options.json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        facts = {"passed": passed, "findings": listed, "not_run": not_run, "unfit": unfit}
        print(json.dumps(facts, allow_nan=False))
    else:
        excluded = {"not tested": not_run, "not for this processor": unfit}
        lines = [f"{why}: {text}" for why, engines in excluded.items() for text in by_reason(engines)]
        print(printable_lines("\n".join([*_lines(findings), *lines])))
        print("self-test: passed" if passed else f"self-test: FAILED: {printable(_faults(findings))}")
    return OK if passed else SOME_FAILED


def _passed(findings: list[Finding], any_engine: bool) -> bool:
    """Whether no step differs; with `any_engine`, one engine without a difference suffices."""
    engines = {finding.subject for finding in findings if finding.step == "engine"}
    failed = {finding.subject for finding in findings if finding.state == "different"}
    return bool(engines - failed) and (failed <= engines if any_engine else not failed)


def _unfit(findings: list[Finding], manifest: Manifest) -> dict[str, str]:
    """Engines that saturate here but are not meant for this processor, which is no fault; with their findings."""
    from export.bundle.manifest import ANY_PROCESSOR
    from export.tagger.saturation_diagnosis import CAUSE

    saturated = {finding.subject: finding.note for finding in findings if finding.cause == CAUSE}
    meant_for = {entry.name: entry.meant_for for entry in manifest.engines}
    return {
        name: f"{note}; it is meant for {meant_for[name]}; `tag` does not use it here"
        for name, note in saturated.items()
        if meant_for[name] not in ("", ANY_PROCESSOR)
    }


def _in_this_process(options: argparse.Namespace, manifest: Manifest, golden: Golden, name: str) -> list[Finding]:
    from export.tagger import Tagger
    from export.tagger.selftest import check_engine

    with Tagger.from_manifest(options.bundle, manifest, name) as tagger:
        return check_engine(tagger, golden)


def _in_processes(options: argparse.Namespace, manifest: Manifest) -> tuple[list[Finding], dict[str, str]]:
    """The findings of each engine in a separate process, which it may crash, and why others were not tested."""
    from benchmarks.device.tagger_process import ProcessFailedError, Program
    from export.bundle.bundle import PROGRAM
    from export.tagger.engine_choice import backend_of
    from export.tagger.opening import unavailable_reason
    from export.tagger.selftest import Finding

    key = options.require_signature
    arguments = ["selftest", "--json", *(["--require-signature", str(key.resolve())] if key is not None else [])]
    program = Program([sys.executable, str(options.bundle.resolve() / PROGRAM)], TIMEOUT_S)
    findings: list[Finding] = []
    not_run = {}
    for entry in manifest.engines:
        reason = unavailable_reason(manifest, entry, backend_of(entry))
        if reason is not None:
            not_run[entry.name] = reason
            continue
        try:
            result = program(*arguments, "--engine", entry.name)
        except ProcessFailedError as cause:
            not_run[entry.name] = one_line(cause)
        else:
            findings += [Finding(**fields) for fields in result["findings"] if fields["step"] in ENGINE_STEPS]
    return findings, not_run


def _lines(findings: list[Finding]) -> list[str]:
    """One line for all equal results of a step, and one for each other finding."""
    lines = []
    for step, words in STEPS.items():
        ours = [finding for finding in findings if finding.step == step]
        same = [finding.subject for finding in ours if finding.state == "same"]
        if same:
            lines.append(f"{words}: {', '.join(same)}")
        lines += [f"{words}, {_format(finding)}" for finding in ours if finding.subject not in same]
    return lines


def _format(finding: Finding) -> str:
    size = "" if finding.largest is None else f", by up to {finding.largest:.3g} {UNITS[finding.step]}"
    note = f" ({finding.note})" if finding.note else ""
    what = f": {finding.cause}{size}" if finding.cause else ""
    return f"{finding.subject}: {finding.state}{what}{note}"


def _faults(findings: list[Finding]) -> str:
    """The causes of the differences; that of all steps together only if no single step differs."""
    different = [finding for finding in findings if finding.state == "different"]
    steps = [finding for finding in different if finding.step != "all"] or different
    causes = {f"{finding.cause} ({finding.subject})": None for finding in steps}
    return (", ".join(causes) or "no engine of the bundle runs here") + _alternatives(findings)


def _alternatives(findings: list[Finding]) -> str:
    """The engines to use if one saturates."""
    from export.tagger.saturation_diagnosis import CAUSE

    if not any(finding.cause == CAUSE for finding in findings):
        return ""
    failed = {finding.subject for finding in findings if finding.state == "different"}
    good = [finding.subject for finding in findings if finding.step == "engine" and finding.subject not in failed]
    named = ", ".join(good) or "another engine (selftest without --engine names those that pass)"
    return f"; use {named} on this processor"

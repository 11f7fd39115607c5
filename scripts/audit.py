"""Check packages against a local copy of the advisories of PyPI, without a network: `make audit ADVISORIES=all.zip`.

The copy is the file all.zip of the OSV database, or a folder with its JSON files.  Each FILE is a list of locked
requirements or the bill of materials of a bundle (CycloneDX).  Exit code 1 if an advisory affects a package.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlkd.core.printable import printable

ECOSYSTEM = "PyPI"
PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)")
PURL = re.compile(r"pkg:pypi/([^@?#]+)@([^?#]+)")
SUMMARY = 60  # characters
FIRST = {"0": "0.dev0"}  # "0" is before all versions

Advisory = Mapping[str, Any]  # an entry in OSV's schema, version 1
Package = tuple[str, str]  # canonical name and version


@dataclass
class Finding:
    """An advisory under all its names that affects a package."""

    package: Package
    ids: set[str]
    fixed: set[str]
    summary: str


def read_packages(file: Path) -> set[Package]:
    """The packages of requirements with exact versions, or of a bill of materials.  Raises ValueError."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        purls = [str(part.get("purl", "")) for part in json.loads(text)["components"]]
        matches = [match for purl in purls if (match := PURL.fullmatch(purl))]
    else:
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--hash="))]
        found = [PINNED.match(line) for line in lines]
        if None in found:
            raise ValueError(f"{file}: expected lines NAME==VERSION, got {lines[found.index(None)]!r}; make lock")
        matches = [match for match in found if match]
    if not matches:
        raise ValueError(f"{file}: expected packages with versions, got none; name another file")
    return {(canonicalize_name(match[1]), match[2]) for match in matches}


def read_advisories(source: Path) -> Iterator[Advisory]:
    """The advisories in an archive or a folder.  Raises ValueError for a file that is no advisory."""
    for name, content in _contents(source):
        try:
            advisory = json.loads(content)
            assert isinstance(advisory["id"], str)
            assert isinstance(advisory["modified"], str)
        except (ValueError, KeyError, TypeError, AssertionError):
            raise ValueError(
                f"{source}, {name}: expected an advisory of OSV, got other content; get it again"
            ) from None
        yield advisory


def _contents(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        yield from ((file.name, file.read_bytes()) for file in sorted(source.glob("*.json")))
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
    except (zipfile.BadZipFile, FileNotFoundError):
        raise ValueError(
            f"{source}: expected a zip archive or a folder of advisories, got none; see SECURITY.md"
        ) from None


def affects(affected: Mapping[str, Any], version: str) -> bool:
    """Whether one entry of `affected` includes a version, as OSV's schema defines it.

    A range that cannot be compared counts as including it.
    """
    try:
        listed = any(_same(version, other) for other in affected.get("versions", ()))
        return listed or any(_in_range(part, Version(Version(version).public)) for part in affected.get("ranges", ()))
    except InvalidVersion:
        return True


def _same(version: str, other: str) -> bool:
    try:
        return Version(version) == Version(other)
    except InvalidVersion:
        return version == other


def _in_range(part: Mapping[str, Any], version: Version) -> bool:
    if part["type"] == "GIT":
        return False
    events = [(kind, Version(FIRST.get(text, text))) for event in part["events"] for kind, text in event.items()]
    limits = [limit for kind, limit in events if kind == "limit"]
    if limits and all(version >= limit for limit in limits):
        return False
    inside = False
    for kind, at in sorted(events, key=lambda event: event[1]):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def find(packages: Iterable[Package], advisories: Iterable[Advisory]) -> list[Finding]:
    """The advisories that affect the packages; those that are aliases of each other are one."""
    versions: dict[str, list[str]] = {}
    for name, version in packages:
        versions.setdefault(name, []).append(version)
    findings: list[Finding] = []
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            if str(package.get("ecosystem", "")).partition(":")[0] != ECOSYSTEM:
                continue
            name = canonicalize_name(package["name"])
            hit = [(name, version) for version in versions.get(name, ()) if affects(affected, version)]
            findings += [_finding(package, advisory, affected) for package in hit]
    return _merged(findings)


def _finding(package: Package, advisory: Advisory, affected: Mapping[str, Any]) -> Finding:
    events = [event for part in affected.get("ranges", ()) if part["type"] != "GIT" for event in part["events"]]
    fixed = {str(event["fixed"]) for event in events if "fixed" in event}
    ids = {str(advisory["id"]), *map(str, advisory.get("aliases", ()))}
    return Finding(package, ids, fixed, str(advisory.get("summary") or advisory.get("details") or ""))


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    merged: list[Finding] = []
    for finding in findings:
        same = [other for other in merged if other.package == finding.package and other.ids & finding.ids]
        for other in same:
            merged.remove(other)
            finding = Finding(
                finding.package, finding.ids | other.ids, finding.fixed | other.fixed, other.summary or finding.summary
            )
        merged.append(finding)
    return sorted(merged, key=lambda finding: (finding.package, sorted(finding.ids)))


def table(findings: Sequence[Finding]) -> str:
    """One line an advisory."""
    rows = [("package", "version", "advisory", "fixed in", "summary")]
    for finding in findings:
        summary = " ".join(finding.summary.split())[:SUMMARY]
        fixed = ", ".join(sorted(finding.fixed)) or "no version"
        rows.append((*finding.package, ", ".join(sorted(finding.ids)), fixed, summary))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    padded = ([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]] for row in rows)
    return "\n".join(printable("  ".join(row).rstrip()) for row in padded)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("advisories", type=Path, help="all.zip of OSV's database for PyPI, or a folder of its files")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="requirements.lock, or a sbom.cdx.json")
    parser.add_argument("--ignore", action="append", default=[], metavar="ID", help="an advisory that was judged")
    options = parser.parse_args(arguments)
    try:
        packages = set().union(*map(read_packages, options.files))
        advisories = list(read_advisories(options.advisories))
        if not advisories:
            raise ValueError(f"{options.advisories}: expected advisories, got none; see SECURITY.md")
        findings = find(packages, advisories)
    except (ValueError, KeyError, OSError) as cause:
        print(f"audit: {printable(str(cause))}", file=sys.stderr)
        return 2
    open_ones = [finding for finding in findings if not finding.ids & set(options.ignore)]
    newest = max(advisory["modified"] for advisory in advisories)
    ignored = f", {len(findings) - len(open_ones)} more ignored" if len(findings) > len(open_ones) else ""
    if open_ones:
        print(table(open_ones))
    print(
        f"{len(packages)} packages, {len(advisories)} advisories, the newest of {printable(newest[:10])}: "
        f"{len(open_ones)} affect a package{ignored}"
    )
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())

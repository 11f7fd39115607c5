"""Locked packages against a small copy of OSV's database, made by hand."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scripts import audit
from tests.helpers import hostile
from tests.helpers.commands import REPOSITORY

LOCK = """\
Pillow==11.2.0 ; sys_platform == 'linux' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
numpy==2.4.6 ; python_full_version < '3.15' \\
    --hash=sha256:cc
my_tool[extra]==1.0rc1 \\
    --hash=sha256:dd
"""


def advisory(name: str = "OSV-1", package: str = "pillow", **changes: Any) -> dict[str, Any]:
    affected = {"package": {"ecosystem": "PyPI", "name": package}, **changes.pop("affected", {"versions": ["11.2.0"]})}
    return {
        "id": name,
        "modified": "2026-10-01T00:00:00Z",
        "summary": "A bad decoder.",
        "affected": [affected],
    } | changes


def events(*pairs: tuple[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": [{name: version} for name, version in pairs]}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "osv").mkdir()
    (tmp_path / "requirements.lock").write_text(LOCK)
    return tmp_path


def run(folder: Path, *advisories: dict[str, Any], code: int, words: tuple[object, ...] = ()) -> None:
    for number, one in enumerate(advisories):
        (folder / f"osv/{number}.json").write_text(json.dumps(one))
    files = () if words and str(words[0]).endswith("json") else (folder / "requirements.lock",)
    assert audit.main([*map(str, (folder / "osv", *files, *words))]) == code


@pytest.mark.parametrize(
    ("affected", "is_affected"),
    [
        ({"versions": ["11.2"]}, True),  # the same version in another spelling
        ({"versions": ["11.2.0.post1", "1.0-weird"]}, False),
        (events(("introduced", "0"), ("fixed", "11.2.0")), False),
        (events(("introduced", "0"), ("fixed", "11.2.1")), True),
        (events(("introduced", "11.2.0"), ("last_affected", "11.2.0")), True),
        (events(("introduced", "0"), ("last_affected", "11.1.9")), False),
        (events(("introduced", "11.2.0rc1")), True),
        (events(("introduced", "11.2.1")), False),
        # two stretches, in no order
        (events(("fixed", "12"), ("introduced", "0"), ("fixed", "9"), ("introduced", "11")), True),
        (events(("introduced", "0"), ("fixed", "9"), ("introduced", "12"), ("fixed", "13")), False),
        (events(("introduced", "0"), ("limit", "11.2.0")), False),
        (events(("introduced", "0"), ("limit", "12")), True),
        (events(("introduced", "0"), kind="GIT"), False),
        (events(("introduced", "0"), ("fixed", "not a version")), True),  # rather one too many
        ({}, False),
    ],
)
def test_versions_and_ranges(affected: dict[str, Any], is_affected: bool, folder: Path) -> None:
    run(folder, advisory(affected=affected), advisory("OSV-2", "other"), code=int(is_affected))


@pytest.mark.parametrize(
    "other",
    [
        advisory(withdrawn="2026-10-02T00:00:00Z"),
        advisory(package="pillow-simd"),
        {**advisory(), "affected": [{"package": {"ecosystem": "npm", "name": "pillow"}, "versions": ["11.2.0"]}]},
    ],
)
def test_what_is_withdrawn_or_of_another_package_does_not_count(other: dict[str, Any], folder: Path) -> None:
    run(folder, other, code=0)


def test_names_are_compared_as_pypi_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, advisory(package="My.Tool", affected=events(("introduced", "0"), ("fixed", "1.0"))), code=1)
    assert "my-tool  1.0rc1" in capsys.readouterr().out


def test_aliases_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ghsa = advisory("GHSA-1", aliases=["CVE-1"], affected=events(("introduced", "0"), ("fixed", "11.3.0")))
    pysec = advisory("PYSEC-1", aliases=["CVE-1"], affected={"versions": ["11.2.0"]})
    run(folder, ghsa, pysec, advisory("OSV-9", "numpy", affected=events(("introduced", "2"))), code=1)
    head, numpy, pillow, end = capsys.readouterr().out.splitlines()
    assert head.split() == ["package", "version", "advisory", "fixed", "in", "summary"]
    assert numpy.split("  ")[0] == "numpy"
    assert "no version" in numpy
    assert pillow.startswith("pillow   11.2.0   CVE-1, GHSA-1, PYSEC-1  11.3.0")
    assert end == "3 packages, 3 advisories, the newest of 2026-10-01: 2 affect a package"
    run(folder, ghsa, pysec, code=1, words=("--ignore", "CVE-1"))
    assert "1 affect a package, 1 more ignored" in capsys.readouterr().out
    run(folder, code=0, words=("--ignore", "CVE-1", "--ignore", "OSV-9"))


def test_a_bill_of_materials_and_an_archive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    components = [{"purl": "pkg:pypi/pillow@11.2.0"}, {"purl": "pkg:pypi/openvino"}, {"name": "models/fp32.onnx"}]
    sbom = folder / "sbom.cdx.json"
    sbom.write_text(json.dumps({"components": components}))
    run(folder, advisory(), code=1, words=(sbom,))
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("../OSV-1.json", json.dumps(advisory()))
    assert audit.main([str(folder / "all.zip"), str(sbom), str(folder / "requirements.lock")]) == 1
    assert not (folder.parent / "OSV-1.json").exists()
    assert capsys.readouterr().out.count("pillow") == 2


def test_text_of_an_advisory_cannot_control_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, _ in (*hostile.REFUSED.values(), (hostile.NAMES["override"], "")):
        run(folder, advisory(summary=name, aliases=[name]), code=1)
        out = capsys.readouterr().out
        assert all(line.isprintable() for line in out.split("\n"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "osv: expected advisories, got none"),
        (lambda folder: (folder / "osv/x.json").write_text("{}"), "x.json: expected an advisory of OSV"),
        (lambda folder: (folder / "osv/x.json").write_text("["), "x.json: expected an advisory of OSV"),
        (lambda folder: (folder / "requirements.lock").write_text("a @ https://x\n"), "expected lines NAME==VERSION"),
        (
            lambda folder: (folder / "requirements.lock").write_text("# none\n"),
            "expected packages with versions, got none",
        ),
    ],
)
def test_what_cannot_be_audited_is_an_error(
    write: Any, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder)
    run(folder, code=2)
    assert message in capsys.readouterr().err


def test_every_locked_package_is_read() -> None:
    lock = REPOSITORY / "requirements.lock"
    packages = audit.read_packages(lock)
    assert len(packages) == sum("==" in line and not line.startswith(" ") for line in lock.read_text().splitlines())
    assert all(version[0].isdigit() for _, version in packages)

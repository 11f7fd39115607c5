"""What the project fetches, and that each of it is checked by its hash before it is used."""

import re

from tests.helpers.commands import REPOSITORY

# Each file that fetches something, and how it is checked.
FETCHES = {
    "mlkd/data/scenes/fetch.py": "Debian packages: SHA-256 of the tested version, else of the archive's signed index",
    "export/web/packages.py": "npm packages: SHA-512 of package-lock.json",
    "mlkd/models/weights.py": "weights of timm: see SECURITY.md; no recipe that runs by default has them",
}
FETCHING = re.compile(
    r"^\s*(?:import|from) (?:requests|httpx|aiohttp|huggingface_hub|urllib\.request)|torch\.hub|pretrained=True|urlopen"
    r"|[(\[ ]\"(?:curl|wget|npm|npx|pip|git|apt-get|apt-cache)\"",
    re.MULTILINE,
)


def lines_of(name: str) -> list[str]:
    return (REPOSITORY / name).read_text(encoding="utf-8").splitlines()


def test_only_known_files_fetch() -> None:
    sources = [
        file for folder in ("mlkd", "export", "benchmarks", "pipeline") for file in (REPOSITORY / folder).rglob("*.py")
    ]
    found = {
        file.relative_to(REPOSITORY).as_posix() for file in sources if FETCHING.search(file.read_text(encoding="utf-8"))
    }
    assert found == FETCHES.keys()


def test_every_locked_package_has_hashes() -> None:
    packages = "\n".join(lines_of("requirements.lock")).replace("\\\n", "").splitlines()
    assert len(packages) > 100
    assert [line for line in packages if "--hash=sha256:" not in line] == []
    assert any(line.startswith("uv==") for line in packages)


def test_setup_installs_nothing_without_its_hash() -> None:
    installs = [line for line in lines_of("Makefile") if re.search(r"pip (install|sync)", line)]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)

"""Three bundles to install one after another, and what is installed in a folder."""

from functools import partial
from pathlib import Path

from export.bundle.bundle import read_bundle
from export.errors import BundleError
from export.tagger.installing import install, rollback
from tests.helpers import bundles


def passes(_: Path, __: Path | None) -> None:
    """A self-test."""


def fails(_: Path, __: Path | None) -> None:
    """Another one."""
    raise BundleError("self-test: expected that it passes, got: engine")


put = partial(install, check=passes)
back = partial(rollback, check=passes)


def write(work: Path) -> dict[str, Path]:
    """They differ in their card; each has the letter that its card ends with."""
    first, made = bundles.write_plain(work / "plain", work / "model"), {}
    (work / "program").write_text("a program")  # small: it is hashed a thousand times
    for name in "abc":
        (work / name).write_text(f"the card of {name}")
        sources = {"card.md": work / name, "tagger.pyz": work / "program"}
        made[name] = bundles.changed(first, work / f"bundle-{name}", sources)
    return made


def card(to: Path, link: str = "current") -> str | None:
    """Whose card the version that a link leads to has; it is whole."""
    if not (to / link).is_symlink():
        return None
    read_bundle(to / link)
    return (to / link / "card.md").read_text()[-1]


def names(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(entry.name for entry in folder.iterdir())

"""Each door with its corpus, with values that others would send, and with changes by chance."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from scripts.torture.doors import DOORS, find_door
from scripts.torture.doors.door import fault_of, lasting
from scripts.torture.doors.mutate import mutated
from scripts.torture.doors.values import VALUES, each_value_changed

CORPUS = Path(__file__).parents[2] / "corpus"
QUICK = {"recipe": 10, "large_image": 1}  # examples of doors that take long


def corpus(door: str) -> list[Path]:
    return sorted((CORPUS / door).iterdir())


def test_every_door_has_a_corpus() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(DOORS)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("door", DOORS)
def test_the_corpus_gives_results_or_clear_errors(door: str) -> None:
    faults = {file.name: fault_of(find_door(door), file.read_bytes()) for file in corpus(door)}
    assert not {name: fault for name, fault in faults.items() if fault}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("door", DOORS)
def test_changes_by_chance_give_results_or_clear_errors(door: str) -> None:
    contents = [file.read_bytes() for file in corpus(door)]

    @hypothesis.settings(max_examples=QUICK.get(door, 25), deadline=None, database=None)
    @hypothesis.given(strategies.integers(0, len(contents) - 1), strategies.integers(0, 2**32))
    def is_clear(number: int, seed: int) -> None:
        changed = mutated(contents[number], random.Random(seed), contents)
        assert fault_of(find_door(door), changed) is None, changed[:500]

    is_clear()


def raises(cause: Exception) -> object:
    def door(content: bytes, folder: Path) -> None:
        raise cause

    return door


@pytest.mark.parametrize(
    "cause",
    [KeyError("a"), RecursionError("expected"), ValueError("bad"), UnicodeDecodeError("utf-8", b"", 0, 1, "expected")],
)
def test_other_exceptions_are_faults(cause: Exception) -> None:
    assert fault_of(raises(cause), b"") is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", [ValueError("a: expected b, got c"), FileNotFoundError(2, "no such file", "a")])
def test_clear_errors_are_no_faults(cause: Exception) -> None:
    assert fault_of(raises(cause), b"") is None  # type: ignore[arg-type]


def writes_beside(content: bytes, folder: Path) -> None:
    (folder / content.decode()).write_text("a")


def test_a_file_outside_the_folder_is_a_fault() -> None:
    beside = lasting()
    assert fault_of(writes_beside, b"inside") is None
    assert "outside its folder: open" in str(fault_of(writes_beside, bytes(beside / "a")))
    assert "outside its folder: os.mkdir" in str(fault_of(lambda *_: (beside / "b").mkdir(), b""))


def test_a_program_that_is_started_is_a_fault() -> None:
    assert "subprocess.Popen" in str(fault_of(lambda *_: subprocess.run(["true"], check=True), b""))  # type: ignore[arg-type]


def test_each_value_is_changed_once() -> None:
    def changed(content: bytes) -> Iterator[bytes]:
        return each_value_changed(content)

    assert len(list(changed(b'{"a": [1]}'))) == 3 * (1 + len(VALUES))
    assert not list(changed(b"no JSON"))

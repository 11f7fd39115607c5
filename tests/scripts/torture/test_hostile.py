"""The fuzzer of a door in a process of its own."""

from pathlib import Path

import pytest

from scripts.torture.hostile import fuzz


@pytest.mark.slow
def test_a_run_says_how_many_inputs_were_tried(tmp_path: Path) -> None:
    attempt = fuzz("labels", tmp_path, 1, 2.0)
    assert attempt.what == "hostile input: labels"
    assert not attempt.faults
    assert int(attempt.measured.split()[0]) > 100

"""Two small stages that say what was run."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlkd.core.files import sha256_of
from pipeline.runner import result
from pipeline.runner.stage import Context, Pipeline, Stage


@dataclass(frozen=True)
class Settings:
    text: str
    factor: float = 1.0


class Recorder:
    """Two stages: `first` writes its text and a log, `second` copies what it reads; `ran` says what was run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran = folder, []

    def line(self, text: str = "a", *, force: str = "", factor: float = 1.0, **changes: Any) -> Pipeline:
        def first(context: Context) -> None:
            self.ran.append("first")
            (context.out / "text.txt").write_text(text.upper())
            (context.out / "times.log").write_text(str(time.time_ns()))

        def second(context: Context) -> None:
            self.ran.append("second")
            shutil.copy(context.inputs["first"] / "text.txt", context.out / "copy.txt")

        one = {"name": "first", "run": first, "config": Settings(text, factor), "volatile": ("*.log",)}
        return Pipeline(
            (Stage(**{**one, **changes}), Stage(name="second", run=second, reads=("first",))),
            self.folder,
            frozenset({force} - {""}),
        )

    def run(self, *arguments: Any, **changes: Any) -> list[str]:
        self.ran.clear()
        self.line(*arguments, **changes).run()
        return list(self.ran)


def assert_whole(recorder: Recorder, text: str = "A") -> None:
    """Both results are finished, and nothing unfinished is beside them."""
    for stage in ("first", "second"):
        found = result.read(recorder.folder / stage)
        assert found is not None
        for path, entry in found.files.items():
            assert sha256_of(recorder.folder / stage / path) == entry["sha256"]
    assert (recorder.folder / "second/copy.txt").read_text() == text
    assert sorted(path.name for path in recorder.folder.iterdir()) == [".lock", "first", "second"]

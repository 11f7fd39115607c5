"""Graphs of the small tagger in other precisions, and a machine that seems to have a GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest

from export.backends import cuda
from export.precision.fp16 import fp16
from export.precision.int8 import INT8
from export.precision.qdq import quantize
from export.precision.ranges import Ranges


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before graphs are made that only a GPU would run."""
    if item.get_closest_marker("gpu") and (reason := cuda.unavailable_reason()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def halved(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp16(fp32, tmp_path_factory.mktemp("halved") / "fp16.onnx")


@pytest.fixture(scope="session")
def quantized(fp32: Path, min_max: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(fp32, min_max, tmp_path_factory.mktemp("quantized") / "int8.onnx", INT8)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the machine seem to have a GPU, as far as asking for it goes."""

    def there(capability: str) -> None:
        monkeypatch.setattr(cuda, "unavailable_reason", lambda: None)
        monkeypatch.setattr(cuda, "compute_capability", lambda: capability)

    return there

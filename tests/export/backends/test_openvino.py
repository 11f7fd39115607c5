"""What is particular to OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from export.backends import EngineRefused, MissingRuntime, OpenVino


@pytest.fixture(scope="module")
def engine(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return OpenVino().compile(fp32, tmp_path_factory.mktemp("openvino"))


def test_weights_are_not_halved(engine: Path, fp32: Path) -> None:
    """Stored as fp16, the default of the runtime, they would take half of the graph's size."""
    assert engine.with_suffix(".bin").stat().st_size > 0.6 * fp32.stat().st_size
    ports = (port for node in openvino.Core().read_model(engine).get_ordered_ops() for port in node.outputs())
    assert "f16" not in {port.get_element_type().get_type_name() for port in ports}


def test_holds_nothing_of_the_machine(engine: Path) -> None:
    text = engine.read_text()
    assert str(Path(__file__).parents[3]) not in text
    assert "/tmp" not in text


def test_bf16_is_computed_or_refused(engine: Path, pictures: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    backend = OpenVino(compute="bf16")
    if not able:
        with pytest.raises(MissingRuntime, match="expected a CPU that computes bf16"):
            backend.open(engine)
        return
    with backend.open(engine) as session, OpenVino().open(engine) as exact:
        assert (session.ran.compute, exact.ran.compute) == ("bf16", "f32")
        apart = np.abs(session(pictures) - expected)
        assert 1e-5 < apart.max() < 0.1, "bf16 has 8 bits of mantissa"
        assert np.abs(exact(pictures) - expected).max() < 1e-5


def test_a_precision_the_device_lacks_is_an_error(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino.Core.get_property
    monkeypatch.setattr(
        openvino.Core, "get_property", lambda core, *key: ["FP32"] if len(key) == 2 else real(core, *key)
    )
    with pytest.raises(MissingRuntime, match=r"expected a CPU that computes bf16, got \['FP32'\]"):
        OpenVino(compute="bf16").open(engine)


def test_a_device_that_is_not_there(engine: Path) -> None:
    with pytest.raises(MissingRuntime, match=r"expected the device NPU7, got \["):
        OpenVino(device="NPU7").open(engine)


def test_without_its_weights(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.xml").write_bytes(engine.read_bytes())
    with pytest.raises(EngineRefused, match=r"expected its weights alone.bin beside it, got none"):
        OpenVino().open(tmp_path / "alone.xml")


@pytest.mark.parametrize("fields", [{"compute": "int8"}, {"threads": 0}])
def test_fields_out_of_range(fields: dict[str, object]) -> None:
    name, value = next(iter(fields.items()))
    with pytest.raises(ValueError, match=rf"openvino.{name}: expected .*got '?{value}"):
        OpenVino(**fields)  # type: ignore[arg-type]

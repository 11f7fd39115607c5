"""A foreign teacher: its inputs, its outputs, and graphs that do not match their description."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mlkd.teachers import CheckpointTeacher, Ensemble, OnnxTeacher
from mlkd.teachers.base import pad_images
from tests.helpers import foreign, taggers
from tests.helpers.foreign import BIAS, LABELS, MEAN, STD, WEIGHT, by_hand, images, outputs


def test_a_graph_of_uint8_gets_the_pixels(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", kind=TensorProto.UINT8), image_px=32, layout="NCHW")
    expected = images().numpy().astype(np.float64).mean((1, 2)) @ WEIGHT / 255 + BIAS
    got = outputs(source, images())
    np.testing.assert_allclose(got.logits, expected, atol=1e-4)
    assert (got.embeddings, got.pooled) == (None, None)
    for fields in ({"mean": MEAN}, {"white": 255}):
        with pytest.raises(ValueError, match="expected no mean, std and white for a graph that reads uint8"):
            replace(source, **fields).load(LABELS)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("output", ["scores", "logits"])
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_a_graph_of_floats_gets_normalised_values(tmp_path: Path, layout: Any, output: Any, batch: str | int) -> None:
    file = foreign.write(tmp_path / "a.onnx", layout=layout, output=output, batch=batch)
    source = OnnxTeacher(path=file, image_px=32, layout=layout, mean=MEAN, std=STD, output=output)
    np.testing.assert_allclose(outputs(source, images()).logits, by_hand(images()), atol=1e-4)


def test_half_floats_and_dynamic_image_sizes(tmp_path: Path) -> None:
    file = foreign.write(tmp_path / "a.onnx", kind=TensorProto.FLOAT16, px="px")
    source = OnnxTeacher(path=file, image_px=32, layout="NCHW", mean=MEAN, std=STD)
    np.testing.assert_allclose(outputs(source, images()).logits, by_hand(images()), atol=2e-2)  # scores in float16


def test_scores_of_0_and_1_have_finite_logits(tmp_path: Path) -> None:
    file = foreign.write(tmp_path / "a.onnx", bias=np.array([-200, 0, 200], np.float32))
    logits = outputs(OnnxTeacher(path=file, image_px=32, layout="NCHW"), images()).logits
    limit = np.log((1 - 1e-6) / 1e-6)
    np.testing.assert_allclose(logits[:, 0], -limit, rtol=1e-4)
    np.testing.assert_allclose(logits[:, 2], limit, rtol=1e-2)  # 1 - 1e-6 in float32


def test_an_ensemble_averages_logits_and_has_the_embeddings_of_the_others(tmp_path: Path) -> None:
    ours = CheckpointTeacher(path=taggers.save(tmp_path / "net", LABELS)).load(LABELS)
    theirs = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW").load(LABELS)
    with torch.no_grad():
        both, first, second = (teacher({32: images()}) for teacher in (Ensemble((ours, theirs)), ours, theirs))
    torch.testing.assert_close(both.logits, (first.logits + second.logits) / 2)
    torch.testing.assert_close(both.embeddings, first.embeddings)
    torch.testing.assert_close(both.pooled, first.pooled)


def test_output_name_chooses_one_of_several_outputs(tmp_path: Path) -> None:
    """The graph with its logits as an output as well."""
    model = onnx.load(foreign.write(tmp_path / "a.onnx"))
    model.graph.output.append(helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, tmp_path / "b.onnx")
    source = OnnxTeacher(path=tmp_path / "b.onnx", image_px=32, layout="NCHW", mean=MEAN, std=STD)
    message = r"expected one output{} \(B, 3\) .*, got probabilities \['batch', 3\], brightness \[\], sums .*output_n"
    with pytest.raises(ValueError, match=message.format("")):
        source.load(LABELS)
    for name in ("nothing", "brightness"):
        with pytest.raises(ValueError, match=message.format(f" named {name}")):
            replace(source, output_name=name).load(LABELS)
    for name, kind in (("probabilities", "scores"), ("sums", "logits")):
        teacher = replace(source, output_name=name, output=kind)
        np.testing.assert_allclose(outputs(teacher, images()).logits, by_hand(images()), atol=1e-4)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT])
def test_channels_in_bgr_order(tmp_path: Path, kind: int) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", kind=kind), image_px=32, layout="NCHW")
    mirrored = torch.flip(images(), [3])
    assert not np.allclose(outputs(source, mirrored).logits, outputs(source, images()).logits, atol=1e-3)
    got = outputs(replace(source, channels="bgr"), mirrored)
    np.testing.assert_allclose(got.logits, outputs(source, images()).logits, atol=1e-6)


def test_values_up_to_255_with_mean_and_std_in_their_units(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW", mean=MEAN, std=STD)
    mean, std = (tuple(255 * value for value in three) for three in (MEAN, STD))
    got = outputs(replace(source, white=255, mean=mean, std=std), images())
    np.testing.assert_allclose(got.logits, by_hand(images()), atol=1e-4)


@pytest.mark.parametrize(
    ("padding", "aspect", "box"),
    [
        ("center", 2.0, (0, 8, 32, 24)),
        ("corner", 2.0, (0, 0, 32, 16)),
        ("center", 0.25, (12, 0, 20, 32)),
        ("corner", 0.25, (0, 0, 8, 32)),
        ("center", 1.0, (0, 0, 32, 32)),
    ],
)
def test_padding_restores_the_aspect_ratio(
    tmp_path: Path, padding: Any, aspect: float, box: tuple[int, int, int, int]
) -> None:
    """An image of one colour stays it, whatever resizes it; so the mean of a channel follows from the areas."""
    colour, value = np.array([200, 100, 50]), 30
    left, top, right, bottom = box
    square = np.full((1, 32, 32, 3), value, np.uint8)
    square[0, top:bottom, left:right] = colour
    images = torch.from_numpy(np.broadcast_to(colour.astype(np.uint8), (1, 32, 32, 3)).copy())
    source = OnnxTeacher(
        path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW", padding=padding, padding_value=value
    )
    teacher = source.load(LABELS)
    assert teacher.pads
    np.testing.assert_array_equal(
        pad_images(images.numpy(), np.array([aspect]), value, corner=padding == "corner"), square
    )
    got = teacher({32: images}, np.array([aspect]))
    expected = replace(source, padding="none").load(LABELS)({32: torch.from_numpy(square)})
    np.testing.assert_allclose(got.logits, expected.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "fields", "message"),
    [
        ({}, {"layout": "NHWC"}, r"expected one input of .* \(B, 32, 32, 3\), got .* 3, 32, 32\]; correct layout or"),
        ({}, {"image_px": 48}, r"\(B, 3, 48, 48\), got tensor\(float\) \['batch', 3, 32, 32\]"),
        ({"more_inputs": 1}, {}, r"expected one input .*, got tensor\(float\) .*, tensor\(float\) \[1\]"),
        ({"kind": TensorProto.DOUBLE}, {}, r"expected one input of uint8, float or float16 .*, got tensor\(double\)"),
    ],
)
def test_an_input_that_does_not_match_is_refused(
    tmp_path: Path, graph: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", **graph), image_px=32, layout="NCHW")
    with pytest.raises(ValueError, match=message):
        replace(source, **fields).load(LABELS)


def test_logits_declared_as_scores_are_refused(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", output="logits"), image_px=32, layout="NCHW")
    with pytest.raises(ValueError, match=r"expected scores in 0\.\.1, got .*; set output: logits"):
        outputs(source, images())


def test_scores_declared_as_logits_are_refused(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW", output="logits")
    with pytest.raises(
        ValueError, match=r"expected logits, got 90 values that all lie in 0\.\.1: scores; set output: s"
    ):
        outputs(source, images(30))
    logits = replace(source, path=foreign.write(tmp_path / "b.onnx", output="logits"))
    assert outputs(logits, images(30)).logits.shape == (30, 3)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"teacher .*a\.onnx: expected a graph for ONNX Runtime, got: "):
        OnnxTeacher(path=tmp_path / "a.onnx", image_px=32).load(LABELS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_px", 8), ("std", (0.0, 1.0, 1.0)), ("mean", (float("nan"),) * 3), ("padding_value", 256)],
)
def test_ranges_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"(image_px|std|padding_value): expected"):
        replace(OnnxTeacher(path=Path("a.onnx"), image_px=32), **{name: value})


def test_each_process_runs_it_on_its_own_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[dict[str, Any]] = []

    def open_session(*_: Any, **options: Any) -> Any:
        settings.append(options)
        raise RuntimeError("no such device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None)
    monkeypatch.setattr("onnxruntime.InferenceSession", open_session)
    with pytest.raises(ValueError, match="got: no such device"):
        OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW").load(LABELS)
    assert settings == [{"providers": ["CUDAExecutionProvider"], "provider_options": [{"device_id": 3}]}]

"""Causes, shares and the verdict, from layers written by hand."""

from typing import Any

import pytest

from benchmarks.doctor.diagnosis import judge
from benchmarks.doctor.findings import find
from benchmarks.doctor.layers import Layer


def layer(name: str, milliseconds: float, computes: str = "f32", role: str = "product", **fields: Any) -> Layer:
    operator = fields.pop("operator", "Conv")
    return Layer(
        name=name, operator=operator, computes=computes, role=role, milliseconds=milliseconds, **fields  # type: ignore[arg-type]
    )  # fmt: skip


LAYERS = [
    layer("backbone.a/Conv_0", 1.0, "int8"),
    layer("backbone.b/Conv_0", 2.0, island=True, behind="HardSwish"),
    layer("head.c/MatMul_0", 3.0, operator="MatMul"),
    layer("x", 0.5, role="pair", operator="QuantizeLinear"),
    layer("y", 0.5, role="reorder", operator="Transpose"),
    layer("head/Softmax_0", 2.0, role="other", operator="Softmax"),
    layer("backbone/Sigmoid_0", 0.96, role="other", operator="Sigmoid", island=True),
    layer("backbone/Mul_0", 0.0, role="other", operator="Mul", island=True),
    layer("backbone/Mul_1", 0.0, role="other", operator="Mul", island=True),
    layer("head/Shape_0", 0.04, "int64", role="other", operator="Shape"),
]


def test_every_layer_has_one_cause_and_its_share() -> None:
    found = find(LAYERS, [], "int8_x86")
    assert {finding.cause: (finding.layers, pytest.approx(finding.share)) for finding in found} == {
        "float products": (("head.c/MatMul_0",), 0.3),
        "dequantised products": (("backbone.b/Conv_0",), 0.2),
        "float remainder": (("head/Softmax_0",), 0.2),
        "float operators between pairs": (("backbone/Sigmoid_0", "backbone/Mul_0", "backbone/Mul_1"), 0.096),
        "pairs": (("x",), 0.05),
        "reorders": (("y",), 0.05),
    }
    assert [finding.share for finding in found] == sorted((finding.share for finding in found), reverse=True)
    told = {finding.cause: finding for finding in found}
    assert told["float products"].text == "products in float (1 MatMul in head)"
    assert "1 HardSwish" in told["dequantised products"].text
    assert "int8_x86" not in told["dequantised products"].change
    assert "without Sigmoid" in told["pairs"].change


def test_integer_products_that_are_slower_than_in_float() -> None:
    plain = [layer("fast", 2.0), layer("slow", 1.0), layer("noise", 0.98), layer("tiny", 0.001)]
    int8 = [layer(name, ms, "int8", kernel="ref_any_I8") for name, ms in
            (("fast", 1.0), ("slow", 2.0), ("noise", 1.0), ("tiny", 0.003), ("new", 9.0))]  # fmt: skip
    [finding] = find(int8, plain, "int8")
    assert (finding.cause, finding.layers) == ("slow integer kernels", ("slow",))
    assert "ref_any_I8" in finding.text


def test_what_takes_no_time_is_not_told() -> None:
    assert find([layer("a", 1.0, "int8"), layer("b", 0.005)], [], "int8") == ()
    assert find([], [], "int8") == ()


def test_reorders_that_are_not_vectorised_are_named() -> None:
    [finding] = find([layer("a", 1.0, role="reorder", operator="Reorder", kernel="reorder_f32")], [], "int8")
    assert finding.text.endswith("not vectorised: reorder_f32")


def test_the_verdict() -> None:
    found = find(LAYERS, [], "int8_x86")
    assert judge(1.0, 1.5, found) == ("1.50 times as fast as float: int8 pays", "nothing")
    verdict, change = judge(1.0, 1.1, found)
    assert verdict == f"1.10 times as fast as float: 30% of its time is in {found[0].text}"
    assert change == found[0].change
    assert judge(2.0, 1.0, ())[0] == "0.50 times as fast as float: its profile shows no cause"

"""The code in CONTRIBUTING.md works, and each block is short."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from export.backends import OnnxRuntime, stamp
from export.errors import EngineError
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.models.outputs import Outputs
from tests.helpers import bundles
from tests.mlkd.losses import test_contract as loss_contract

ROOT = Path(__file__).parents[1]
LINES = 30


def blocks(heading: str) -> list[str]:
    """The Python blocks of a section."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def execute(*sources: str) -> dict[str, Any]:
    module = types.ModuleType("contributing")
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    code = compile("\n".join(sources), "CONTRIBUTING.md", "exec", dont_inherit=True)
    exec(code, vars(module))  # noqa: S102  (our own documentation)
    return vars(module)


@pytest.mark.parametrize("heading", ["Add a loss", "Add a backend", "Add a data source"])
def test_each_block_is_short(heading: str) -> None:
    found = blocks(heading)
    assert found
    assert all(len(block.splitlines()) <= LINES for block in found)


def test_the_loss_keeps_the_contract_and_equals_the_loop() -> None:
    shown, oracle = blocks("Add a loss")
    space = execute(shown) | {"oracle": execute(oracle)["cosine"]}
    loss = space["Cosine"]()
    checks = [check for name, check in vars(loss_contract).items() if name.startswith("test_")]
    run = [check(loss) for check in checks if list(inspect.signature(check).parameters) == ["loss"] and _holds(check)]
    assert len(run) >= 5
    student, teacher = np.random.default_rng(0).normal(size=(2, 7, 5))
    value = loss(Outputs(torch.from_numpy(student)), Outputs(torch.from_numpy(teacher)), torch.zeros(7, 5))
    assert value.item() == pytest.approx(space["oracle"](student, teacher), rel=1e-12)
    read = pydantic.TypeAdapter(space["Cosine"]).validate_python({"kind": "cosine", "weight": 2})
    assert read == space["Cosine"](weight=2.0)
    assert shown.split("@dataclass")[1].strip() in (ROOT / "examples/add_a_loss.py").read_text(encoding="utf-8")


def _holds(check: Any) -> bool:
    """Whether a check of the contract is about every loss on logits, or about every one that distils."""
    of = next(mark.args[1] for mark in check.pytestmark if mark.name == "parametrize")
    return any(loss.kind == "label_kl" for loss in of)


def test_the_backend_scores_as_onnx_runtime(tmp_path: Path) -> None:
    backend = execute("".join(blocks("Add a backend")))["Reference"]()
    model = bundles.write_onnx(tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, bundles.PX, bundles.PX, 3), dtype=np.uint8)
    engine = backend.compile(model, tmp_path / "out")
    assert backend.files(engine) == (engine, stamp.path_of(engine))
    with OnnxRuntime().open_graph(model) as expected, backend.open(engine) as session:
        np.testing.assert_allclose(session(images), expected(images), atol=1e-6)
        with pytest.raises(ValueError, match="expected uint8"):
            session(images[:, 1:])
    other = OnnxRuntime().compile(model, tmp_path / "other")
    with pytest.raises(EngineError, match="expected an engine of onnx"):
        backend.open(other)


def test_the_source_gives_its_labels(tmp_path: Path) -> None:
    source = execute("".join(blocks("Add a data source")))["Named"](root=tmp_path / "root")
    with pytest.raises(ValueError, match=r"expected \.jpg files in .*train, got none"):
        source.read(tmp_path, lambda *_: None)
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        (tmp_path / "root" / split).mkdir(parents=True)
        for number in range(8):
            tags = ("cat", "dog", "cat+dog", "owl")[number % 4]
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "root" / split / f"{tags}.{number}.jpg")
    before = source.fingerprint()
    prepare(source, tmp_path / "data", (16,))
    train = read_split(tmp_path / "data", "train")
    assert train.labels.names == ("cat", "dog", "owl")
    assert train.targets.sum(0).tolist() == [4, 4, 2]
    (tmp_path / "root/train/cat.0.jpg").unlink()
    assert source.fingerprint() != before

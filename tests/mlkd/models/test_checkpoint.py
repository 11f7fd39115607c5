from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlkd.core import files
from mlkd.core.labels import Labels
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model

MODEL = Model(backbone="mobilenetv3_small_050", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=4))


def test_a_saved_tagger_comes_back_whole(tmp_path: Path) -> None:
    tagger = MODEL.build(3).eval()
    labels = Labels(("cat", "dog", "bus"))
    checkpoint.save_model(tmp_path / checkpoint.BEST, tagger.state_dict(), MODEL, labels, {"epoch": 4})
    loaded = checkpoint.load_model(tmp_path)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, tagger(images).logits)
    assert not loaded.training
    assert checkpoint.load_labels(tmp_path) == labels


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.write(path, {"a": torch.ones(2)}, {"epoch": 1})

    def killed(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(path, {"a": torch.zeros(2)}, {"epoch": 2})
    tensors, facts = checkpoint.read(path)
    assert facts == {"epoch": 1}
    assert torch.equal(tensors["a"], torch.ones(2))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(ValueError, match=r"expected the file .*last.safetensors, got nothing there"):
        checkpoint.read(path)
    checkpoint.write(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"last.safetensors: expected a whole safetensors file, got .*; delete it"):
        checkpoint.read(path)

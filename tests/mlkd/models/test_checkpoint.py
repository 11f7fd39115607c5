from pathlib import Path

import pytest
import torch

from mlkd.models import checkpoint


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(ValueError, match=r"expected the file .*last.safetensors, got none"):
        checkpoint.read(path)
    checkpoint.write(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"last.safetensors: expected a complete safetensors file, got .*; delete it"):
        checkpoint.read(path)

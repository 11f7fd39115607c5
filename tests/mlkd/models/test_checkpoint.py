from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mlkd.models import checkpoint


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(ValueError, match=r"expected the file .*last.safetensors, got none"):
        checkpoint.read(path)
    checkpoint.write(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"last.safetensors: expected a complete safetensors file, got .*; delete it"):
        checkpoint.read(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_any_bit_that_is_flipped_is_found(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    tensors = {"a": torch.ones(3, 2).to(dtype), "scalar": torch.tensor(2).to(dtype), "none": torch.ones(0).to(dtype)}
    checkpoint.write(path, tensors, {"epoch": 7})
    read, facts = checkpoint.read(path)
    assert facts == {"epoch": 7}
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"last\.safetensors: expected a complete safetensors file, got "):
            checkpoint.read(path)


def test_a_file_from_before_there_were_hashes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"facts": '{"epoch": 3}'})
    assert checkpoint.read(path)[1] == {"epoch": 3}

from pathlib import Path

import numpy as np
import torch

from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.training import evaluate
from tests.helpers import taggers


def test_scores_of_a_folder_at_its_own_image_size(prepared: Path, tmp_path: Path) -> None:
    test = read_split(prepared, "test")
    folder = taggers.save(tmp_path, test.labels, image_px=24)
    with torch.no_grad():
        logits = checkpoint.load_model(folder)(torch.from_numpy(np.array(test.pixels(24)))).logits
    expected = 1 / (1 + np.exp(-logits.double().numpy()))
    np.testing.assert_allclose(evaluate.score_folder(folder, test), expected, atol=1e-6)

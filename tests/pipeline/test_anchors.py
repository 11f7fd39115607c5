from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import Truth
from benchmarks.rows import MEASURED
from benchmarks.run import Bench
from mlkd import checkpoint
from mlkd.labels import Labels
from mlkd.models import Model
from mlkd.models.heads import LabelDecoder
from pipeline import result
from pipeline.anchors import Reference, quiet
from tests import bundles


def test_a_reference_row_has_what_an_engine_row_has(tmp_path: Path) -> None:
    pictures = list(bundles.write_pictures(tmp_path / "pictures").values())
    model = Model(backbone="mobilenetv3_small_050", image_px=32, head=LabelDecoder(embedding=8, feed_forward=8))
    labels = Labels(("a", "b"))
    checkpoint.save_model(tmp_path / checkpoint.BEST, model.build(2).state_dict(), model, labels, {})
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.uint8)
    truth = Truth(files=pictures, targets=targets, groups=list("abcd"))
    thresholds = np.full(2, 0.5, dtype=np.float32)
    reference = Reference(model="student", folder=tmp_path, scores=targets.astype(np.float32), thresholds=thresholds)
    row = reference.row(truth, Bench(queries=5, warm_up_s=0.05, replicates=10), pictures, seed=0)
    assert (row["name"], row["kind"], row["status"]) == ("student-torch", "reference", "measured")
    assert row["map"] == 1
    assert row["sha256"] == result.sha256(tmp_path / checkpoint.BEST)
    assert 0 < row["parts_ms"]["infer"] < row["end_to_end_ms"]["max"]
    assert row["engine_ms"]["p50"] < row["end_to_end_ms"]["max"]
    assert row["images_per_second_batch8"] > 0
    assert row.keys() >= set(MEASURED)


def test_quiet_puts_threads_and_cores_back() -> None:
    before, allowed = torch.get_num_threads(), os.sched_getaffinity(0)
    with quiet(1) as cores:
        assert torch.get_num_threads() == 1
        assert cores is None or set(cores) == os.sched_getaffinity(0)
    assert torch.get_num_threads() == before
    assert os.sched_getaffinity(0) == allowed

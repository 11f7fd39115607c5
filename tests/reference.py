"""Definitions written a second time, as plain loops in float64; what the tests trust."""

from __future__ import annotations

import math

import numpy as np


def smooth_l1(a: float, b: float) -> float:
    difference = abs(a - b)
    return difference**2 / 2 if difference < 1 else difference - 0.5


def bce(logits: np.ndarray, targets: np.ndarray) -> float:
    total = 0.0
    for row, truth in zip(logits, targets, strict=True):
        for z, y in zip(row, truth, strict=True):
            total += math.log1p(math.exp(-z)) if y else math.log1p(math.exp(z))
    return total / len(logits)


def label_kl(student: np.ndarray, teacher: np.ndarray, temperature: float = 1.0) -> float:
    total = 0.0
    for row_s, row_t in zip(student, teacher, strict=True):
        for z_s, z_t in zip(row_s, row_t, strict=True):
            q, p = (1 / (1 + math.exp(-z / temperature)) for z in (z_s, z_t))
            total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return total * temperature**2 / len(student)


def structure(student: list[np.ndarray], teacher: list[np.ndarray]) -> float:
    n = len(student)
    if n < 2:
        return 0.0

    def relative(vectors: list[np.ndarray]) -> dict[tuple[int, int], float]:
        d = {(j, k): math.dist(vectors[j], vectors[k]) for j in range(n) for k in range(n) if j != k}
        mean = sum(d.values()) / len(d)
        return {pair: value / mean if mean else 0.0 for pair, value in d.items()}

    d_s, d_t = relative(student), relative(teacher)
    return sum(smooth_l1(d_s[pair], d_t[pair]) for pair in d_s) / n


def class_aware(student: np.ndarray, teacher: np.ndarray, targets: np.ndarray) -> float:
    total = 0.0
    for label in range(targets.shape[1]):
        images = [i for i in range(len(targets)) if targets[i, label]]
        total += structure([student[i, label] for i in images], [teacher[i, label] for i in images])
    return total / len(targets)


def instance_aware(student: np.ndarray, teacher: np.ndarray, targets: np.ndarray) -> float:
    total = 0.0
    for image in range(len(targets)):
        labels = [c for c in range(targets.shape[1]) if targets[image, c]]
        total += structure([student[image, c] for c in labels], [teacher[image, c] for c in labels])
    return total / len(targets)

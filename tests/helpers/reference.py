"""Definitions written a second time, as plain loops in float64; what the tests trust."""

import math

import numpy as np


def smooth_l1(a: float, b: float) -> float:
    difference = abs(a - b)
    return difference**2 / 2 if difference < 1 else difference - 0.5


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def bce(
    logits: np.ndarray, targets: np.ndarray, label_mask: np.ndarray | None = None, positive_weight: float = 1.0
) -> float:
    total = 0.0
    for image, label in np.ndindex(logits.shape):
        if label_mask is None or label_mask[image, label]:
            z = logits[image, label]
            positive = positive_weight * math.log1p(math.exp(-z))
            total += positive if targets[image, label] else math.log1p(math.exp(z))
    return total / len(logits)


def asymmetric(
    logits: np.ndarray,
    targets: np.ndarray,
    label_mask: np.ndarray | None = None,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
) -> float:
    total = 0.0
    for image, label in np.ndindex(logits.shape):
        if label_mask is None or label_mask[image, label]:
            p = 1 / (1 + math.exp(-logits[image, label]))
            shifted = max(p - clip, 0.0)
            positive = (1 - p) ** gamma_positive * math.log(p)
            negative = shifted**gamma_negative * math.log(1 - shifted)
            total -= positive if targets[image, label] else negative
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


def mse(student: np.ndarray, teacher: np.ndarray, on: str = "logits") -> float:
    total = 0.0
    for z_s, z_t in zip(student.flat, teacher.flat, strict=True):
        a, b = (z_s, z_t) if on == "logits" else (1 / (1 + math.exp(-z_s)), 1 / (1 + math.exp(-z_t)))
        total += (a - b) ** 2
    return total / len(student)


def kd(student: np.ndarray, teacher: np.ndarray, temperature: float = 4.0) -> float:
    rows = zip(teacher / temperature, student / temperature, strict=True)
    return sum(kl(softmax(list(t)), softmax(list(s))) for t, s in rows) * temperature**2 / len(student)


def partial_softmax(
    student: np.ndarray, teacher: np.ndarray, targets: np.ndarray, label_mask: np.ndarray | None = None
) -> float:
    total = 0.0
    for image in range(len(targets)):
        labels = [c for c in range(targets.shape[1]) if label_mask is None or label_mask[image, c]]
        negatives = [c for c in labels if not targets[image, c]]
        for positive in [c for c in labels if targets[image, c]]:
            group = [positive, *negatives]
            total += kl(softmax(list(teacher[image, group])), softmax(list(student[image, group])))
    return total / len(targets)


def relative_distances(features: np.ndarray) -> np.ndarray:
    distances = np.array([[math.dist(a, b) for b in features] for a in features])
    apart = [d for d in distances.flat if d > 0]
    return distances / (sum(apart) / len(apart)) if apart else distances


def cosine_at(features: np.ndarray, i: int, j: int, k: int) -> float:
    to_j, to_k = features[j] - features[i], features[k] - features[i]
    lengths = math.hypot(*to_j) * math.hypot(*to_k)
    return float(to_j @ to_k) / lengths if lengths else 0.0


def rkd(student: np.ndarray, teacher: np.ndarray, distance_weight: float = 25.0, angle_weight: float = 50.0) -> float:
    n = len(student)
    d_s, d_t = relative_distances(student), relative_distances(teacher)
    distance = sum(smooth_l1(a, b) for a, b in zip(d_s.flat, d_t.flat, strict=True)) / n**2
    triples = np.ndindex(n, n, n)
    angle = sum(smooth_l1(cosine_at(student, *ijk), cosine_at(teacher, *ijk)) for ijk in triples) / n**3
    return distance_weight * distance + angle_weight * angle


def neighbours(features: np.ndarray) -> np.ndarray:
    unit = [row / (math.hypot(*row) + 1e-7) for row in features]
    similarities = np.array([[(float(a @ b) + 1) / 2 for b in unit] for a in unit])
    return similarities / similarities.sum(1, keepdims=True)


def pkt(student: np.ndarray, teacher: np.ndarray) -> float:
    pairs = zip(neighbours(student).flat, neighbours(teacher).flat, strict=True)
    return sum(t * math.log((t + 1e-7) / (s + 1e-7)) for s, t in pairs) / len(student) ** 2


def adaptive_pool(maps: np.ndarray, size: int) -> np.ndarray:
    height, width = maps.shape[2:]
    pooled = np.empty((*maps.shape[:2], size, size))
    for i, j in np.ndindex(size, size):
        rows = slice(i * height // size, -(-(i + 1) * height // size))
        columns = slice(j * width // size, -(-(j + 1) * width // size))
        pooled[:, :, i, j] = maps[:, :, rows, columns].mean((2, 3))
    return pooled


def reviewkd(student: list[np.ndarray], teacher: list[np.ndarray]) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        value, weight, weights = ((s - t) ** 2).mean(), 1.0, 1.0
        for size in (4, 2, 1):
            if size < s.shape[2]:
                weight /= 2
                value += weight * ((adaptive_pool(s, size) - adaptive_pool(t, size)) ** 2).mean()
                weights += weight
        total += float(value) / weights
    return total

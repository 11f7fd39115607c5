"""Where the time of an engine goes and why int8 is no faster, from its own profile, and whether int8 is right here."""

from benchmarks.doctor.diagnosis import Built, Diagnosis, diagnose, pairs
from benchmarks.doctor.drift import Drift, compare, measure_drift
from benchmarks.doctor.layer_times import profile

__all__ = ["Built", "Diagnosis", "Drift", "compare", "diagnose", "measure_drift", "pairs", "profile"]

"""The order in which engines are timed."""

from benchmarks.run import plan


def test_runs_are_interleaved_by_the_seed() -> None:
    counts = {"a": 3, "b": 3, "c": 1}
    runs = plan(counts, seed=0)
    assert sorted(runs) == [*((engine, process) for engine in "ab" for process in range(3)), ("c", 0)]
    assert runs == plan(counts, seed=0)
    assert runs != plan(counts, seed=1)
    assert [engine for engine, _ in runs] != sorted(engine for engine, _ in runs)

"""LEARNS: losses, models, data and training of multi-label taggers; `labels`, `images` and `metrics` need no torch."""

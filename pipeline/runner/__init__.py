"""Stages and their runner: identity, results on disk, progress, processes of one launch."""

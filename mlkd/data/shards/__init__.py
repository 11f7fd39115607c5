"""Training images that are streamed from tar files in the WebDataset format instead of memory-mapped arrays."""

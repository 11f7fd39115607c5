"""Where the images of shards lie, and in which order they are read; without the shards themselves."""

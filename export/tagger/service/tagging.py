"""POST /tag: from a body to the tags of its images."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from export.tagger import output
from export.tagger.output import Result
from export.tagger.service.body import Body
from export.tagger.service.cost import check_cost
from export.tagger.service.limits import CHUNK_BYTES, MB
from export.tagger.service.queue import Turn
from export.tagger.service.responses import HttpError
from export.tagger.service.uploads import ContentType, Upload, uploads
from export.tagger.tagger import Tag, Tagger
from mlkd.core.images import UnreadableImageError
from mlkd.core.labels import split_names

Decide = Callable[[NDArray[np.float32]], list[Tag]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The query of a request, as the options of `tag`."""

    threshold: float | None = None
    top_k: int | None = None
    labels: tuple[str, ...] | None = None


def read_options(query: str) -> Options:
    """Read ?threshold=0.5&top_k=3&labels=a,b.  Raises HttpError."""
    kinds: dict[str, Callable[[str], object]] = {"threshold": float, "top_k": int, "labels": _names}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
        values = {name: kinds[name](text) for name, text in pairs}
    except (KeyError, ValueError) as cause:
        expected = "threshold=NUMBER, top_k=NUMBER or labels=A,B"
        raise HttpError(400, f"query: expected {expected}, got {cause}") from None
    if len(values) < len(pairs):
        raise HttpError(400, "query: expected each parameter once, got one several times")
    return Options(**values)  # type: ignore[arg-type]


class RequestTagger:
    """Tags the images of requests, each with its own result or error."""

    def __init__(self, tagger: Tagger, doubtful: Collection[str], most_images: int, megapixels: int) -> None:
        self.tagger, self._doubtful = tagger, doubtful
        self._most_images, self._most_pixels = most_images, megapixels * MB

    def decide(self, options: Options) -> Decide:
        """The function that turns scores into tags.  Raises HttpError for an option that is wrong."""
        decide = functools.partial(
            self.tagger.decide, threshold=options.threshold, top_k=options.top_k, labels=options.labels
        )
        try:
            decide(np.zeros(len(self.tagger.manifest.labels), np.float32))
        except ValueError as cause:
            raise HttpError(400, f"query: {cause}") from None
        return decide

    async def tag(self, turn: Turn, kind: ContentType, body: Body, decide: Decide) -> list[tuple[str, Result]]:
        """Names and results in the order of the images; they are tagged by all idle workers.

        The images are copies, of no more bytes than the body, which is dropped before they wait.
        """
        if body.size <= CHUNK_BYTES:  # another thread would take longer to start than this
            found = uploads(kind, body.take(), self._most_images)
        else:
            found = await turn.run(uploads, kind, body.take(), self._most_images)
        results = await turn.map(functools.partial(self._tag, decide), found)
        return [(upload.name, result) for upload, result in zip(found, results, strict=True)]

    def as_json(self, tagged: list[tuple[str, Result]], options: Options) -> bytes:
        """An object with the engine and, for each image, what `tag --json` prints."""
        doubtful = self._doubtful if options.threshold is None else ()
        listed = ", ".join(output.as_json(name, result, doubtful) for name, result in tagged)
        return f'{{"engine": {json.dumps(self.tagger.choice.entry.name)}, "images": [{listed}]}}\n'.encode()

    def _tag(self, decide: Decide, upload: Upload) -> Result:
        if isinstance(upload.data, UnreadableImageError):
            return upload.data
        try:
            check_cost(upload.data, self._most_pixels)
            resized = self.tagger.resize(self.tagger.decode(upload.data))
        except UnreadableImageError as cause:
            return cause
        return decide(self.tagger.scores(resized[None])[0])


def _names(text: str) -> tuple[str, ...]:
    names = split_names(text)
    if not names:
        raise ValueError("no label")
    return names

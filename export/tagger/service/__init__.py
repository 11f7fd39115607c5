"""The HTTP service of a bundle: `tagger.pyz serve`; one event loop and `workers` threads."""

from export.tagger.service.access import Access, check_exposure, read_token, tls_context
from export.tagger.service.limits import Limits
from export.tagger.service.server import listen, serve

__all__ = ["Access", "Limits", "check_exposure", "listen", "read_token", "serve", "tls_context"]

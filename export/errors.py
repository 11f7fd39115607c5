"""Errors of the deployed program; each message names the file or package, what was expected, and what to do."""


class MissingRuntimeError(RuntimeError):
    """A package, device or instruction set that an engine needs is not available on this machine."""


class EngineError(ValueError):
    """A file is not a usable engine of this backend."""


class BundleError(ValueError):
    """A bundle is damaged, unsigned or of another version, and must not be used."""


class NoEngineError(ValueError):
    """No engine of the bundle, or not the requested one, can run on this machine; the message has the reasons."""

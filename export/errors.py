"""Errors of what ships: each message names the file or package, what was expected, what was found, the next step."""


class MissingRuntimeError(RuntimeError):
    """A package, device or instruction set that an engine needs is not available on this machine."""


class EngineError(ValueError):
    """A file that is not a usable engine of the backend that was asked to open it."""


class BundleError(ValueError):
    """A bundle that must not be used."""


class NoEngineError(ValueError):
    """No engine of the bundle, or not the requested one, can run here; the message says what each of them lacks."""

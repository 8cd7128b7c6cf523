"""Errors that a user can act on. This module imports no torch: bad input is answered fast."""


class BadInput(ValueError):
    """Wrong key, file, argument or value, which the user can correct (exit status 2)."""


class UnknownArgument(BadInput, TypeError):
    """Keyword that a constructor or function does not take: also Python's own TypeError."""


class EnvironmentFault(RuntimeError):
    """Error of an environment that broke its contract, with its index and step (exit status 1).

    Args:
        what: what broke.
        index: which environment of the vector, None if it cannot be told.
        step: the vector step since construction at which it broke.
    """

    def __init__(self, what: str, *, index: int | None, step: int):
        """Compose the message: where, when and what."""
        where = "environments" if index is None else f"environment {index}"
        super().__init__(f"{where}, step {step}: {what}")
        self.what = what
        self.index = index
        self.step = step


class OtherVersions(UserWarning):
    """Warning that a run was made with other versions of packages than those in use."""


class NumericalFault(RuntimeError):
    """Error of a NaN or an infinity where it entered: a loss, a model output (exit status 1)."""

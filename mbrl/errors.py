"""Errors that a user can act on. This module imports no torch: bad input is answered fast."""


class BadInput(ValueError):
    """Wrong key, file, argument or value, which the user can correct (exit status 2).

    Args:
        message: what is wrong and what would be right; it becomes one line.
    """

    def __init__(self, message: str = ""):
        """Store the message."""
        super().__init__(_one_line(message))


class UnknownArgument(BadInput, TypeError):
    """Keyword that a constructor or function does not take: also Python's own TypeError."""


class UnknownAttribute(BadInput, AttributeError):
    """Attribute of another library that an object here has not: also an AttributeError."""


class EnvironmentFault(RuntimeError):
    """Error of an environment that broke its contract, with its index and step (exit status 1).

    Args:
        what: what broke; it becomes one line.
        index: which environment of the vector, None if it cannot be told.
        step: the vector step since construction at which it broke.
    """

    def __init__(self, what: str, *, index: int | None, step: int):
        """Compose the message: where, when and what."""
        where = "environments" if index is None else f"environment {index}"
        what = _one_line(what)
        super().__init__(f"{where}, step {step}: {what}")
        self.what = what
        self.index = index
        self.step = step


class OtherVersions(UserWarning):
    """Warning that a run was made with other versions of packages than those in use."""


class NumericalFault(RuntimeError):
    """Error of a NaN or an infinity where it entered: a loss, a model output (exit status 1)."""


def _one_line(text: str) -> str:
    """Return a text without line breaks, such as those in the words of another library."""
    lines = (line.strip() for line in text.splitlines())
    return text if len(text.splitlines()) < 2 else " ".join(filter(None, lines))

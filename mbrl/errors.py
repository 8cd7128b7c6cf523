"""What can go wrong that a user can act on; free of torch, so that bad input answers fast."""


class BadInput(ValueError):
    """A key, file, argument or value that the user can put right (exit status 2)."""


class EnvironmentFault(RuntimeError):
    """Report an environment that broke its contract, with its index and step (exit status 1).

    Args:
        what: what broke.
        index: which environment of the vector, None if it cannot be told.
        step: the vector step since construction at which it broke.
    """

    def __init__(self, what: str, *, index: int | None, step: int):
        """Say what broke, where and when."""
        where = "environments" if index is None else f"environment {index}"
        super().__init__(f"{where}, step {step}: {what}")
        self.what = what
        self.index = index
        self.step = step


class NumericalFault(RuntimeError):
    """Report a NaN or an infinity where it entered: a loss, a model output (exit status 1)."""

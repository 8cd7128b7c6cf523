"""Fixtures of the tests of commands."""

from tests.cli.parts import mine, train

__all__ = ["mine", "train"]

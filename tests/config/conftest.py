"""Fixtures of the tests of configuration."""

from tests.config.parts import mine

__all__ = ["mine"]

"""Compose a config, check it without importing torch, build what it names."""

from mbrl.config.build import Parts, build, build_agent, instantiate, make_buffer, make_env
from mbrl.config.check import check_saved
from mbrl.config.compose import Composed, compose, plain_value

__all__ = [
    "Composed",
    "Parts",
    "build",
    "build_agent",
    "check_saved",
    "compose",
    "instantiate",
    "make_buffer",
    "make_env",
    "plain_value",
]

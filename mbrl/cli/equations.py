"""`mbrl equations`: what a run's sparse model says, in formulas."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mbrl.cli.common import Parser, add_trust, count, run_on, trust_of
from mbrl.config.restore import restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.dynamics import SINDy
    from mbrl.dynamics.sindy.equations import Equation
    from mbrl.roles import Dynamics
    from mbrl.training.run_folder import RunFolder
    from mbrl.types import Task


def main(arguments: list[str]) -> int:
    """Print the equations of a run's newest checkpoint."""
    parser = Parser(prog="mbrl equations", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--format", choices=("text", "latex", "sympy"), default="text")
    parser.add_argument("--digits", type=count(1), metavar="N", default=4)
    add_trust(parser)
    options = parser.parse_args(arguments)

    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)
    return run_on(run, lambda: _print(run, options))


def _print(run: RunFolder, options: argparse.Namespace) -> int:
    """Print the equations of a run."""
    parts = restore(run, trust_of(options))
    from mbrl.roles import HasDynamics
    from mbrl.symbolic import SparsePolicy

    if isinstance(parts.agent, SparsePolicy):
        for equation in parts.agent.formulas():
            print(_line(equation, options.format, options.digits, parts.env.task))
        return 0
    model = _sparse(parts.agent.dynamics) if isinstance(parts.agent, HasDynamics) else None
    if model is None:
        name = run.config["choices"].get("dynamics", "none")
        raise BadInput(f"{run.path}: dynamics={name} has no equations; dynamics=sindy has")
    from mbrl.dynamics.sindy.equations import equations

    for equation in equations(model):
        print(_line(equation, options.format, options.digits, parts.env.task))
    return 0


def _sparse(model: Dynamics) -> SINDy | None:
    """Find the sparse model in a dynamics that may wrap it."""
    from mbrl.dynamics import FallbackDynamics, ResidualDynamics, SINDy

    if isinstance(model, FallbackDynamics | ResidualDynamics):
        return _sparse(model.sparse)
    return model if isinstance(model, SINDy) else None


def _line(equation: Equation, form: str, digits: int, task: Task) -> str:
    """Write one equation, beside it the truth where it is known."""
    if form == "latex":
        return equation.latex(digits)
    if form == "sympy":
        return f"{equation.left} = {equation.sympy(digits)}"
    truth = (task.equations or {}).get(equation.left)
    return equation.text(digits) + (f"    # true: {truth}" if truth else "")

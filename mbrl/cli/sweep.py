"""`mbrl sweep`: check a W&B sweep file against what `mbrl train` takes."""

from __future__ import annotations

import shlex

from mbrl.cli.common import Parser, add_trust, trust_of


def main(arguments: list[str]) -> int:
    """Check a sweep file; W&B's own client runs it."""
    parser = Parser(prog="mbrl sweep", description=__doc__)
    parser.add_argument(
        "file", metavar="FILE", help="a sweep file, or the name of one in mbrl/configs/sweep"
    )
    add_trust(parser, what="the file", accepts=False)
    options = parser.parse_args(arguments)

    from mbrl.config.sweep import check_sweep, find_sweep

    file = find_sweep(options.file)
    keys = check_sweep(file, trust_of(options))
    run = f"`wandb sweep {shlex.quote(str(file))}`, then `wandb agent ID` with the id it prints"
    print(f"{file}: every value of {', '.join(keys)} fits; W&B checks the rest and runs it: {run}")
    return 0

"""Run the command line as `python -m mbrl`."""

import sys

from mbrl.cli import main

if __name__ == "__main__":
    sys.exit(main())

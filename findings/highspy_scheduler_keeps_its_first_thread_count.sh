#!/usr/bin/env bash
# HiGHS starts one task scheduler for each thread of the process, with the thread count of the first solve there.
# A good guess is that `threads` is an option of the solver object, so that a second object may use another number.
# Seen: the second object, with a valid `threads`, does not solve: run() returns an error, and the model status is
# "Not Set". The first object may belong to another library in the same process. A log line says so, but the log is
# off wherever HiGHS is embedded. resetGlobalScheduler(True), threads=0 or a thread of its own for the solve help.
# Seen with highspy 1.16.0 (the newest when this was written).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" || exit 2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check highspy==1.16.0 numpy==2.4.6 || exit 2
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import sys
import threading
from importlib.metadata import version

import highspy


def solve(threads):
    """Minimize x on [0, 1] in a solver object of its own."""
    solver = highspy.Highs()
    solver.silent()
    if threads is not None:
        solver.setOptionValue("threads", threads)
    x = solver.addVariable(lb=0, ub=1)
    solver.changeColCost(x.index, 1.0)
    status = solver.run()
    return str(status), solver.modelStatusToString(solver.getModelStatus())


print("highspy", version("highspy"))
# the thread count of the scheduler is half of the machine's: choose one that it cannot be
other = 1 if __import__("os").cpu_count() > 3 else 3
first, second = solve(None), solve(other)
apart = []
thread = threading.Thread(target=lambda: apart.append(solve(other)))
thread.start()
thread.join()
highspy.Highs.resetGlobalScheduler(True)
after = solve(other)
print("first object, default threads: ", first)
print(f"second object, threads={other}:     ", second, "<- expected Optimal")
print(f"another thread, threads={other}:    ", apart[0])
print(f"after a reset, threads={other}:     ", after)
holds = (
    first[1] == "Optimal"
    and second[0].endswith("kError")
    and second[1] != "Optimal"
    and apart[0][1] == "Optimal"
    and after[1] == "Optimal"
)
print("the finding holds" if holds else "HiGHS behaves otherwise now")
sys.exit(0 if holds else 1)
PYTHON

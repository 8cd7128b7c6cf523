#!/usr/bin/env bash
# copy.deepcopy of a gymnasium environment in the middle of an episode. A good guess is a copy in the same state, as
# planners that search with copies of an environment need it; CartPole's is one. Seen: a copy of a MuJoCo environment
# is made anew by its constructor (EzPickle, meant for pickling), so it stands in the model's own posture, while the
# wrappers around it (TimeLimit's count of steps) are copied. It can be stepped, without an error or a warning.
# Seen with gymnasium 1.4.0 (the newest when this was written).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" || exit 2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  "gymnasium[mujoco]==1.4.0" mujoco==3.17.0 numpy==2.4.6 || exit 2
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import copy
import sys
from importlib.metadata import version

import gymnasium
import numpy as np


def copied(name):
    """Copy an environment after five steps; return whether its next observation is the same, and the counts."""
    env = gymnasium.make(name)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    other = copy.deepcopy(env)
    action = env.action_space.sample()
    same = np.array_equal(env.step(action)[0], other.step(action)[0])
    counts = env.get_wrapper_attr("_elapsed_steps"), other.get_wrapper_attr("_elapsed_steps")
    return same, counts


print("gymnasium", version("gymnasium"))
seen = {name: copied(name) for name in ("CartPole-v1", "Hopper-v5")}
for name, (same, counts) in seen.items():
    print(f"{name}: the next observations are {'equal' if same else 'NOT equal'}, steps counted {counts}")
print("expected: equal for both")
holds = seen["CartPole-v1"] == (True, (6, 6)) and seen["Hopper-v5"] == (False, (6, 6))
print("the finding holds" if holds else "gymnasium behaves otherwise now")
sys.exit(0 if holds else 1)
PYTHON

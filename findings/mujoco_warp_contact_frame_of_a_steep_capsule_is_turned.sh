#!/usr/bin/env bash
# A capsule slides on a plane, simulated by MuJoCo and by MuJoCo Warp of the same release. A good guess is the same
# contact forces within float32, since MuJoCo Warp follows MuJoCo's collision functions. So it is for a capsule that lies
# or leans. Seen: where it stands within 30 degrees of the plane's normal, MuJoCo's first friction direction is still along
# the capsule's axis and MuJoCo Warp's is a fixed one, so that the pyramidal friction cone is turned: the accelerations of
# one and the same state differ by several percent. With an elliptic cone they agree. Feet of Ant stand so: its steps
# differ there. The same fallback in MJX is discussed in github.com/google-deepmind/mujoco/issues/2774.
# Seen with mujoco-warp 3.17.0 beside mujoco 3.17.0 (the newest when this was written).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" || exit 2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  mujoco-warp==3.17.0 warp-lang==1.19.0 mujoco==3.17.0 numpy==2.4.6 || exit 2
cd "$folder"
export WARP_CACHE_PATH="$folder/cache"
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

wp.config.log_level = wp.LOG_ERROR
MODEL = """
<mujoco>
  <option cone="{cone}"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 {height}" zaxis="{axis}"><freejoint/><geom type="capsule" size=".05 .5"/></body>
  </worldbody>
</mujoco>
"""


def difference(degrees, cone):
    """Return MuJoCo's and MuJoCo Warp's first friction direction, and how far accelerations are apart."""
    tilt, azimuth = np.radians(degrees), np.radians(20)
    axis = [np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)]
    height = 0.5 * np.cos(tilt) + 0.05 - 0.002  # its lower end is 2 mm in the plane
    words = " ".join(map(str, axis))
    model = mujoco.MjModel.from_xml_string(MODEL.format(cone=cone, height=height, axis=words))
    data = mujoco.MjData(model)
    data.qvel[:2] = 1.0, 0.5
    mujoco.mj_forward(model, data)
    with wp.ScopedDevice("cpu"):
        other = mjw.put_data(model, data, nconmax=16, njmax=64)
        mjw.forward(mjw.put_model(model), other)
    right, seen = data.qacc, other.qacc.numpy()[0]
    apart = np.abs(right - seen).max() / np.abs(right).max()
    return data.contact.frame[0][3:6], other.contact.frame.numpy()[0][1], apart


print("mujoco", version("mujoco"), "mujoco-warp", version("mujoco-warp"))
apart = {}
for cone in ("pyramidal", "elliptic"):
    for degrees in (60, 40, 20, 5):
        own, other, apart[cone, degrees] = difference(degrees, cone)
        print(f"{cone}, {degrees:2} degrees from the normal: first direction {own.round(2)} and {other.round(2)},"
              f" accelerations differ by {100 * apart[cone, degrees]:.2g}%")
print("expected: below 0.1% everywhere")
leaning = [apart[cone, degrees] for cone in ("pyramidal", "elliptic") for degrees in (60, 40)]
steep = [apart["pyramidal", degrees] for degrees in (20, 5)]
holds = max(leaning + [apart["elliptic", d] for d in (20, 5)]) < 1e-3 and min(steep) > 0.02
print("the finding holds" if holds else "MuJoCo Warp behaves otherwise now")
sys.exit(0 if holds else 1)
PYTHON

"""What a run imports until its first step, and what it leaves to the garbage collector."""

import gc
import subprocess
import sys

import pytest

from mbrl import cli
from mbrl.cli.common import started

LATER = {  # imported only by what uses them
    *("pysindy", "sklearn", "scipy", "stable_baselines3", "pandas", "matplotlib", "wandb"),
    *("pyomo", "highspy", "jsonschema", "warp", "onnx", "sympy", "minari", "h5py", "pytest"),
    *("torch._dynamo", "torch._inductor", "torch.onnx", "torch.utils.tensorboard"),
}
RUNS = {
    ("agent=mbpo", "env=hopper"): {"mbrl.dynamics.sindy", "mbrl.relu", "mbrl.planners"},
    ("agent=sindy_mpc", "env=pendulum"): {"mujoco", "mbrl.dynamics.ensemble", "mbrl.learners"},
}
CODE = """
import sys
from mbrl.cli import main
status = main(sys.argv[1:])
print(*sys.modules)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("settings", RUNS, ids=" ".join)
def test_a_run_imports_only_what_it_needs(settings, tmp_path):
    rest = ["total_steps=1", "eval_episodes=1", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", CODE, "train", *settings, *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = set(done.stdout.splitlines()[-1].split())
    assert "torch" in found
    assert not found & (LATER | RUNS[settings])
    assert sum(name.startswith("mbrl.") for name in found) < 100  # of some 300


def test_garbage_is_collected_once_the_start_is_over(monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    seen = []
    monkeypatch.setattr(cli, "_run", lambda arguments: seen.append(gc.isenabled()) or 0)
    assert cli.main([]) == 0  # within another program its collector is left alone
    assert seen == [True] and not frozen
    monkeypatch.setattr(sys, "argv", ["mbrl"])
    assert cli.main() == 0
    assert seen == [True, False] and frozen == [False] and gc.isenabled()
    started()
    assert frozen == [False]

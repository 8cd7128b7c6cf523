"""The presets of sindy_mpc reach what they are for."""

import json

import pytest

from mbrl.cli import main


def score(env, seed, tmp_path, *settings):
    path = tmp_path / f"{env}-{seed}"
    arguments = ["agent=sindy_mpc", f"env={env}", f"seed={seed}", f"run_dir={path}", *settings]
    assert main(["train", *arguments]) == 0
    summary = json.loads((path / "summary.json").read_text())
    return summary["step"], summary["eval/mean_reward"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twenty_transitions_are_enough_for_the_pendulum(seed, tmp_path):
    step, reward = score("pendulum", seed, tmp_path)
    assert step == 20 and reward >= -170


@pytest.mark.slow
def test_nine_hundred_transitions_swing_the_pole_up(tmp_path):
    step, reward = score("cartpole_swingup", 0, tmp_path, "eval_episodes=2")
    assert step <= 1000 and reward >= 650

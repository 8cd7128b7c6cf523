"""What every agent keeps to: it trains from its YAML alone, and resumes bit for bit."""

import pytest
import torch

from mbrl.roles import OfflineAgent
from mbrl.training.loop import train
from mbrl.training.offline_loop import train_offline
from mbrl.training.run_folder import RunFolder
from tests.contracts.parts import labels, names
from tests.toys import ACTION, ToyAgent, ToyEnv, collect, toy_penalty

TRAINING = {"_target_": "mbrl.dynamics.EnsembleTraining", "min_updates": 20, "max_updates": 40}
SMALL = {
    "learner": {
        "sac": {"hidden": 16, "batch_size": 32},
        "sb3_sac": {"hidden": 16, "batch_size": 32},
        "sb3_ppo": {"hidden": 16, "batch_size": 16, "num_epochs": 2},
        **dict.fromkeys(("bc", "iql", "td3_bc"), {"hidden": 16, "batch_size": 32}),
        "conservative_sac": {"hidden": 16, "batch_size": 32},
        "sac_in_model": {"num_model_envs": 4, "num_steps": 10, "learning_starts": 20},
    },
    "dynamics": {
        **dict.fromkeys(
            ("ensemble", "bootstrapped_ensemble"),
            {"hidden": 16, "num_layers": 2, "training": TRAINING},
        ),
        "reward_consistent": {
            "base": {
                "_target_": "mbrl.dynamics.GaussianEnsemble",
                "hidden": 16,
                "num_layers": 2,
                "training": TRAINING,
            },
            "candidates": {"_target_": "mbrl.dynamics.CandidateGenerator", "kind": "plain"},
        },
        "sparse_relu": {
            "hidden": [8],
            "schedule": [4, 2],
            "dense_updates": 20,
            "stage_updates": 10,
        },
    },
    "planner": {
        "icem": {"horizon": 3, "num_samples": 10, "num_elites": 3},
        "mip": {
            "horizon": 2,
            "bounds": "crown",
            "max_nodes": 1,
            "num_fresh": 0,
            "sampler_options": {"num_samples": 20, "num_elites": 4, "num_iterations": 2},
        },
    },
    "agent": {
        "pets": {"learning_starts": 30, "retrain_interval": 30},
        "sindy_mpc": {"learning_starts": 30, "retrain_interval": 30},
        "mip_mpc": {"learning_starts": 30, "retrain_interval": 30},
        "sindy_rl": {
            "learning_starts": 30,
            "retrain_interval": 20,
            "updates_per_refit": 1,
            "action_hold": 3,
            "rollback_tolerance": 0.0,
        },
        "sac": {"learning_starts": 30},
        "sb3_sac": {"learning_starts": 30},
        "sb3_ppo": {"num_steps": 15},
        **dict.fromkeys(
            ("mopo", "mobile", "combo", "morec"),
            {"num_rollouts": 50, "rollout_length": 4, "rollout_interval": 15},
        ),
        "mbpo": {
            "learning_starts": 30,
            "retrain_interval": 20,
            "num_rollouts": 100,
            "rollout_length": [0, 100, 1, 4],
            "updates_per_step": 2,
        },
    },
}


OFFLINE = [n for n in names("agent") if "dataset" in labels("agent", n).get("_requires_", [])]


class Record:
    """A logger that keeps rows in memory."""

    def __init__(self):
        self.rows = []

    def log(self, metrics, step):
        self.rows.append({**metrics, "step": step})

    def position(self):
        return len(self.rows)

    def rewind(self, position):
        del self.rows[position:]


def build(name: str):
    if name == "toy":
        return ToyAgent()
    from mbrl.config import build_agent, compose

    data = ["dataset=toy"] if name in OFFLINE else []
    config = compose([f"agent={name}", "experiment=none", *data]).config
    for group, choices in SMALL.items():
        config[group] |= choices.get(config["choices"][group], {})
    return build_agent(config, ToyEnv(2))


def run_to(path, name, total, stop_at=None):
    from mbrl.buffer import ReplayBuffer

    run = RunFolder.open(path) if path.exists() else RunFolder.create(path, {})
    env, agent, record = ToyEnv(2), build(name), Record()
    asked = []

    def stop():
        asked.append(1)
        pace = 2 if name not in OFFLINE else 10
        return stop_at is not None and pace * len(asked) > stop_at

    options = {
        "make_eval_env": ToyEnv, "seed": 0, "total_steps": total, "eval_every": 30,
        "eval_episodes": 3, "save_every": 24, "log_every": 10, "stop": stop,
    }  # fmt: skip
    if name in OFFLINE:
        assert isinstance(agent, OfflineAgent)
        summary = train_offline(
            agent, collect(env, 60), run=run, logger=record, digest="toy", **options
        )
    else:
        summary = train(
            env, agent, buffer=ReplayBuffer(total, 2, 1), run=run, logger=record, **options
        )
    return agent, summary, run


def flat(state, prefix=""):
    """Turn nested state into path -> leaf, tensors as they are now."""
    if isinstance(state, torch.Tensor):
        return {prefix: state.clone()}
    if isinstance(state, dict):
        return {
            k: v for key, value in state.items() for k, v in flat(value, f"{prefix}/{key}").items()
        }
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)), prefix)
    return {prefix: state}


@pytest.mark.parametrize("name", ["toy", *(n for n in names("agent") if n != "fitted_model")])
def test_agent_trains_and_resumes_bit_for_bit(name, tmp_path):
    whole, summary, _ = run_to(tmp_path / "whole", name, 100)
    assert summary["finished"] and summary["step"] == 100
    assert [e["step"] for e in summary["evaluations"]] == [30, 60, 90, 100]
    expected = flat(whole.state_dict())
    obs = torch.randn(5, 2)
    action = whole.act(obs, explore=False)
    assert action.shape == (5, 1)
    assert (action >= ACTION.low).all() and (action <= ACTION.high).all()

    _, summary, run = run_to(tmp_path / "broken", name, 100, stop_at=70)
    assert not summary["finished"] and run.load() is not None
    resumed, summary, _ = run_to(tmp_path / "broken", name, 100)
    assert summary["finished"]
    found = flat(resumed.state_dict())
    assert found.keys() == expected.keys()
    for key, a in expected.items():
        assert a.equal(found[key]) if isinstance(a, torch.Tensor) else a == found[key], key


def test_penalties_are_taken_off_imagined_rewards():
    real = collect(ToyEnv(2), 40)
    rewards = []
    for penalty in (None, toy_penalty):
        agent = build("mbpo")
        agent.branched_rollouts._penalty = penalty
        agent.update(real)
        rewards.append(agent.branched_rollouts.buffer.all())
    plain, charged = rewards
    torch.testing.assert_close(plain.reward - plain.obs.norm(dim=1), charged.reward)

"""MOPO beside OfflineRL-Kit's on one dataset: return, CPU and wall time, each in its own process.

    python -m scripts.benchmarks.bench_offlinerl_kit PEER [--seeds 0 1 2] [--steps 10000]

PEER is a checkout of github.com/yihaosun1124/OfflineRL-Kit. Its parts are put together as in its
run_mopo.py, gymnasium standing in for gym; both have 7 members of 3x64 (5 elites), 2x128 networks,
5,000 rollouts of 5 steps every 1,000 updates of which 5 are kept, 5% real rows, and the largest
standard deviation in raw units as penalty, once. What is evaluated is the last policy, by our own
evaluation on the same starts. Times are those of fitting and learning, on one thread. The dataset
is that of `scripts/experiments/offline_data.py --tasks pendulum`; MINARI_DATASETS_PATH says
where it is. Writes results/benchmarks/offlinerl_kit.csv.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks" / "offlinerl_kit.csv"
FIELDS = ["side", "seed", "updates", "return", "score", "fit_cpu_s", "cpu_s", "wall_s"]
DATASET, ENV = "pendulum/mixed-v0", "pendulum"
ROLLOUTS, LENGTH, KEPT, EVERY, BATCH, REAL = 5000, 5, 5, 1000, 256, 12


def clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def ours(seed: int, steps: int) -> dict[str, float]:
    """Train by `mbrl train`'s own parts."""
    from mbrl.config import build, compose

    config = compose(
        [
            "agent=mopo", f"env={ENV}", f"dataset={DATASET}", f"seed={seed}", "learner.hidden=128",
            "dynamics.hidden=64", "dynamics.num_layers=3", "dynamics.uncertainty=raw_std",
            f"agent.num_rollouts={ROLLOUTS}", f"agent.rollout_length={LENGTH}",
            "learner.actor_learning_rate=1e-4", "agent.penalty.scale=1",
        ]
    ).config  # fmt: skip
    parts = build(config)
    begun = clocks()
    parts.agent.fit(parts.buffer)
    fitted = clocks()
    parts.agent.learn(parts.buffer, steps)
    return finish(parts, parts.agent, seed, begun, fitted)


def peers(seed: int, steps: int, folder: str) -> dict[str, float]:
    """Train by OfflineRL-Kit's parts, as its run_mopo.py does."""
    import gymnasium
    import numpy as np
    import torch

    sys.modules["gym"] = gymnasium
    sys.path.insert(0, folder)
    from offlinerlkit.buffer import ReplayBuffer  # type: ignore[import-not-found]
    from offlinerlkit.dynamics import EnsembleDynamics  # type: ignore[import-not-found]
    from offlinerlkit.modules import (  # type: ignore[import-not-found]
        ActorProb,
        Critic,
        EnsembleDynamicsModel,
        TanhDiagGaussian,
    )
    from offlinerlkit.nets import MLP  # type: ignore[import-not-found]
    from offlinerlkit.policy import MOPOPolicy  # type: ignore[import-not-found]
    from offlinerlkit.utils.scaler import StandardScaler  # type: ignore[import-not-found]

    from mbrl.config import build, compose

    parts = build(compose(["agent=bc", f"env={ENV}", f"dataset={DATASET}", f"seed={seed}"]).config)
    data, action = parts.buffer.all(), parts.env.action
    obs_dim, act_dim, rows = parts.env.obs_dim, action.dim, len(parts.buffer)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)

    actor_net = MLP(input_dim=obs_dim, hidden_dims=[128, 128])
    head = TanhDiagGaussian(
        latent_dim=actor_net.output_dim, output_dim=act_dim, unbounded=True, conditioned_sigma=True,
        max_mu=action.high[0].item(),
    )  # fmt: skip
    actor = ActorProb(actor_net, head, "cpu")
    critics = [Critic(MLP(obs_dim + act_dim, [128, 128]), "cpu") for _ in range(2)]
    log_alpha = torch.zeros(1, requires_grad=True)
    model = EnsembleDynamicsModel(
        obs_dim=obs_dim, action_dim=act_dim, hidden_dims=[64, 64, 64], num_ensemble=7, num_elites=5,
        weight_decays=[2.5e-5, 5e-5, 7.5e-5, 1e-4], device="cpu",
    )  # fmt: skip
    dynamics = EnsembleDynamics(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        StandardScaler(),
        lambda obs, action, next_obs: np.zeros((len(obs), 1), dtype=bool),
        penalty_coef=1.0,
    )
    policy = MOPOPolicy(
        dynamics,
        actor,
        *critics,
        torch.optim.Adam(actor.parameters(), lr=1e-4),
        *(torch.optim.Adam(critic.parameters(), lr=3e-4) for critic in critics),
        alpha=(-act_dim, log_alpha, torch.optim.Adam([log_alpha], lr=1e-4)),
    )
    shapes: dict[str, Any] = {
        "obs_shape": (obs_dim,), "obs_dtype": np.float32, "action_dim": act_dim,
        "action_dtype": np.float32, "device": "cpu",
    }  # fmt: skip
    real = ReplayBuffer(buffer_size=rows, **shapes)
    real.load_dataset(
        {
            "observations": data.obs.numpy(),
            "next_observations": data.next_obs.numpy(),
            "actions": data.action.numpy(),
            "rewards": data.reward.numpy(),
            "terminals": data.terminated.numpy(),
        }
    )
    imagined = ReplayBuffer(buffer_size=ROLLOUTS * LENGTH * KEPT, **shapes)

    begun = clocks()
    dynamics.train(real.sample_all(), Silent(), max_epochs_since_update=5)
    fitted = clocks()
    policy.train()
    for update in range(steps):
        if update % EVERY == 0:
            starts = real.sample(ROLLOUTS)["observations"].numpy()
            imagined.add_batch(**policy.rollout(starts, LENGTH)[0])
        policy.learn({"real": real.sample(REAL), "fake": imagined.sample(BATCH - REAL)})
    policy.eval()

    class Adapter:
        """OfflineRL-Kit's policy where ours is asked."""

        def act(self, obs: torch.Tensor, **_: Any) -> torch.Tensor:
            chosen = policy.select_action(obs.numpy(), deterministic=True)
            return torch.as_tensor(chosen).float().view(-1, act_dim)

        def reset(self, *_: Any, **__: Any) -> None:
            pass

    return finish(parts, Adapter(), seed, begun, fitted)


class Silent:
    """Where OfflineRL-Kit logs to."""

    model_dir = tempfile.gettempdir()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def finish(parts: Any, agent: Any, seed: int, begun: Any, fitted: Any) -> dict[str, float]:
    """Evaluate; give a row."""
    from mbrl.training.evaluation import evaluate

    ended = clocks()
    mean = evaluate(parts.make_eval_env, agent, episodes=10, seed=seed)["eval/mean_reward"]
    return {
        "return": round(mean, 2),
        "score": round(parts.dataset.score(mean), 2),
        "fit_cpu_s": round(fitted[0] - begun[0], 1),
        "cpu_s": round(ended[0] - begun[0], 1),
        "wall_s": round(ended[1] - begun[1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--run", choices=("ours", "theirs"), help="one side, in this process")
    args = parser.parse_args()
    if args.run:
        import torch

        torch.set_num_threads(1)
        seed = args.seeds[0]
        found = ours(seed, args.steps) if args.run == "ours" else peers(seed, args.steps, args.peer)
        print(json.dumps(found))
        return
    rows = []
    for seed in args.seeds:
        for side in ("ours", "theirs"):
            command = [sys.executable, __file__, args.peer, "--run", side, "--seeds", str(seed)]
            command += ["--steps", str(args.steps)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"side": side, "seed": seed, "updates": args.steps, **found})
            print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    with RESULTS.open("w", newline="") as file:
        file.write(
            f"# python -m scripts.benchmarks.bench_offlinerl_kit PEER --steps {args.steps}\n"
        )
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

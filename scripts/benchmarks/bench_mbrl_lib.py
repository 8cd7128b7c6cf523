"""Time the ensemble and MBPO against mbrl-lib's, each in a process of its own, in turns.

    python -m scripts.benchmarks.bench_mbrl_lib PEER [--rounds 9] [--seeds 0 1 2] [--only TASK ...]

PEER is the folder of mbrl-lib's own environment (its import name is ours); where there is none yet
it is made from PINS below, which takes a minute or two.

rollout: one step of 100,000 rows, 7 members of 4x200, 5 elites, 11 observations, 3 actions, the
end known and the reward learned; rollout_bf16: ours with precision=bf16. fit: one epoch of 10,240
rows in batches of 256, with the holdout's evaluation before and after; per batch. fit_128: of
3x128; fit_128_64: in batches of 64. mbpo: InvertedPendulum-v5, 1,250 steps, with the settings
of mbrl-lib's own preset for it; learning begins at step 500. Times are CPU seconds on one
thread, `ratio` is of medians. Writes results/benchmarks/mbrl_lib.csv.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

ROLLOUTS, OBS_DIM, ACT_DIM = 100_000, 11, 3
BATCH, BATCHES = 256, 40
ROWS = BATCH * BATCHES * 5 // 4  # a fifth is held out
STEPS, START, EPOCH, UPDATES = 1_250, 500, 250, 10
FITS = {"fit": (256, 200, 4), "fit_128": (256, 128, 3), "fit_128_64": (64, 128, 3)}  # batch, sizes
TASKS = ["rollout", "rollout_bf16", *FITS, "mbpo"]
# mbrl-lib's own pins (gymnasium 0.26, Hydra 1.0) know no v5 environments: it goes in without them
PINS = [
    *("torch==2.13.0", "numpy==2.4.6", "gymnasium==1.4.0", "mujoco==3.17.0", "hydra-core==1.3.8"),
    *("omegaconf==2.3.1", "tqdm==4.70.1", "termcolor==3.3.0", "matplotlib==3.11.2"),
    *("tensorboard==2.21.0", "imageio==2.38.1"),
]
PEER_PIN = "mbrl==0.2.0"
COUNTS = ["model_updates", "policy_updates", "return"]  # of each seed of mbpo

Task = Callable[[int], dict[str, float]]  # seed -> cpu seconds, and what was done in them


def example(seed: int) -> Any:
    """Draw transitions that can be learned; numpy arrays (ROWS, ...)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    obs = rng.standard_normal((ROWS, OBS_DIM), np.float32)
    action = rng.uniform(-1, 1, (ROWS, ACT_DIM)).astype(np.float32)
    mixing = rng.standard_normal((OBS_DIM + ACT_DIM, OBS_DIM + 1), np.float32) * 0.1
    change = np.tanh(np.concatenate([obs, action], 1) @ mixing)
    change += rng.standard_normal(change.shape, np.float32) * 0.01
    return obs, action, change[:, -1], obs + change[:, :-1]


def timed(work: Callable[[], Any]) -> dict[str, float]:
    start = time.process_time()
    work()
    return {"cpu": time.process_time() - start}


# ---- ours ----------------------------------------------------------------------------------


def our_tasks() -> dict[str, Task]:
    import torch

    from mbrl.cli import main as command
    from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
    from mbrl.envs.tasks import Hopper
    from mbrl.types import ActionSpec, Transitions

    torch.set_num_threads(1)
    one = torch.ones(ACT_DIM)
    generator = torch.Generator().manual_seed(0)
    obs, action, reward, next_obs = (torch.from_numpy(x) for x in example(0))
    never = torch.zeros(ROWS, dtype=torch.bool)
    data = Transitions(obs, action, reward, next_obs, never, never, never.long())

    def make(**settings: Any) -> GaussianEnsemble:
        return GaussianEnsemble(
            obs_dim=OBS_DIM,
            action=ActionSpec("continuous", -one, one),
            task=Hopper.task,
            generator=generator,
            **settings,
        )

    def fit(batch: int, hidden: int, num_layers: int) -> Task:
        updates = ROWS * 4 // 5 // batch
        training = EnsembleTraining(
            batch_size=batch, min_updates=updates, max_updates=updates, anneal_updates=0
        )
        model = make(hidden=hidden, num_layers=num_layers, training=training)
        return lambda seed: timed(lambda: model.fit(data, generator=generator))

    rows = torch.arange(ROLLOUTS) % ROWS
    starts, actions = obs[rows], action[rows]

    def rollout(precision: Literal["fp32", "bf16"]) -> Task:
        model = make(precision=precision)

        @torch.no_grad()
        def step() -> None:
            state = model.initial(starts, generator=generator)
            model.step(state, actions, generator=generator)

        return lambda seed: timed(step)

    def mbpo(seed: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            settings = [
                *("agent=mbpo", "env=inverted_pendulum", f"seed={seed}", f"run_dir={run}"),
                *(f"total_steps={STEPS}", f"eval_every={EPOCH}", "eval_episodes=1"),
                *("agent.num_rollouts=100_000", f"agent.learning_starts={START}"),
                *(f"agent.retrain_interval={EPOCH}", f"agent.updates_per_step={UPDATES}"),
                *("learner.hidden=256", "learner.learning_rate=3e-4", "learner.real_ratio=0"),
                *("learner.target_entropy=-1", "dynamics.hidden=200", "dynamics.num_layers=4"),
                *("dynamics.training.min_updates=1", "dynamics.training.max_updates=10_000"),
            ]
            found = timed(lambda: command(["train", *settings]))
            rows = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
            fits = [r["model/updates"] for r in rows if "model/updates" in r]
            found["model_updates"] = sum(fits)
            found["policy_updates"] = (STEPS - START + 1) * UPDATES
            found["return"] = json.loads((run / "summary.json").read_text())["eval/mean_reward"]
        return found

    return {
        "rollout": rollout("fp32"),
        "rollout_bf16": rollout("bf16"),
        **{name: fit(*sizes) for name, sizes in FITS.items()},
        "mbpo": mbpo,
    }


# ---- mbrl-lib ------------------------------------------------------------------------------


def watch(owner: Any, name: str) -> list[Any]:
    """Record what a function returns from now on."""
    function, seen = getattr(owner, name), []

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(function(*args, **options))
        return seen[-1]

    setattr(owner, name, watched)
    return seen


def peer_config(preset: Path, seed: int) -> Any:
    """Compose mbrl-lib's own preset of MBPO on InvertedPendulum."""
    from omegaconf import OmegaConf

    parts = {
        "algorithm": "algorithm/mbpo",
        "dynamics_model": "dynamics_model/gaussian_mlp_ensemble",
        "overrides": "overrides/mbpo_inv_pendulum",
    }
    groups = {name: OmegaConf.load(preset / f"{path}.yaml") for name, path in parts.items()}
    cfg = OmegaConf.create({"device": "cpu", "seed": seed, "log_frequency_agent": 1000})
    cfg = OmegaConf.merge(cfg, groups)
    # the Hydra of its time built nothing inside what it built
    cfg.dynamics_model._recursive_ = cfg.algorithm.agent._recursive_ = False
    return cfg


def peer_tasks() -> dict[str, Task]:
    import gymnasium
    import numpy as np
    import torch

    # the peer is called mbrl too, so that type checkers would look for this in ours
    mbrl, algorithm, termination_fns, models, util = (
        importlib.import_module(f"mbrl{name}")
        for name in ("", ".algorithms.mbpo", ".env.termination_fns", ".models", ".util")
    )
    assert mbrl.__file__ and not hasattr(models, "GaussianEnsemble")

    torch.set_num_threads(1)
    preset = Path(mbrl.__file__).parent / "examples" / "conf"

    def make_model(cfg: Any) -> Any:
        return util.common.create_one_dim_tr_model(cfg, (OBS_DIM,), (ACT_DIM,))

    cfg = peer_config(preset, 0)
    cfg.algorithm.normalize_double_precision = False  # not needed, and slower
    obs, action, reward, next_obs = example(0)
    never = np.zeros(ROWS, dtype=bool)
    buffer = util.ReplayBuffer(ROWS, (OBS_DIM,), (ACT_DIM,), rng=np.random.default_rng(0))
    buffer.add_batch(obs, action, next_obs, reward, never, never)
    rows = np.arange(ROLLOUTS) % ROWS
    starts, actions = obs[rows], action[rows]
    spaces = gymnasium.Env()
    spaces.observation_space = spaces.action_space = None  # pyright: ignore

    def fit(batch: int, hidden: int, num_layers: int) -> tuple[Any, Callable[[], None]]:
        cfg.dynamics_model.hid_size, cfg.dynamics_model.num_layers = hidden, num_layers
        model = make_model(cfg)
        trainer = models.ModelTrainer(
            model, optim_lr=cfg.overrides.model_lr, weight_decay=cfg.overrides.model_wd
        )

        def epoch() -> None:
            model.update_normalizer(buffer.get_all())
            parts = util.common.get_basic_buffer_iterators(buffer, batch, 0.2, ensemble_size=7)
            trainer.train(*parts, num_epochs=1, patience=5, silent=True)

        return model, epoch

    fits = {name: fit(*sizes) for name, sizes in FITS.items()}
    model, epoch = fits["fit"]
    epoch()
    world = models.ModelEnv(spaces, model, termination_fns.hopper, generator=torch.Generator())

    def rollout() -> None:
        state = world.reset(starts, return_as_np=True)
        world.step(actions, state, sample=True)

    model_updates = watch(models.OneDTransitionRewardModel, "update")
    policy_updates = watch(algorithm.pytorch_sac_pranz24.SAC, "update_parameters")
    returns = watch(algorithm, "evaluate")

    def mbpo(seed: int) -> dict[str, float]:
        cfg = peer_config(preset, seed)
        cfg.overrides.num_steps = STEPS - START // 2
        cfg.algorithm.initial_exploration_steps = START // 2  # its first fit is EPOCH steps later
        cfg.algorithm.random_initial_explore = True
        torch.manual_seed(seed)
        env, test_env = (gymnasium.make("InvertedPendulum-v5") for _ in range(2))
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for seen in (model_updates, policy_updates, returns):
            seen.clear()
        end = termination_fns.inverted_pendulum
        with tempfile.TemporaryDirectory() as folder:
            found = timed(lambda: algorithm.train(env, test_env, end, cfg, True, folder))
        found["model_updates"], found["policy_updates"] = len(model_updates), len(policy_updates)
        return found | {"return": returns[-1]}

    return {
        "rollout": lambda seed: timed(rollout),
        "rollout_bf16": lambda seed: timed(rollout),  # it has one precision
        **{name: lambda seed, epoch=epoch: timed(epoch) for name, (_, epoch) in fits.items()},
        "mbpo": mbpo,
    }


def worker(side: str) -> None:
    """Answer requests, a line of JSON each."""
    tasks = {"ours": our_tasks, "mbrl_lib": peer_tasks}[side]()
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print goes elsewhere
    for line in sys.stdin:
        name, seed = json.loads(line)
        print(json.dumps(tasks[name](seed)), file=answers, flush=True)


# ---- the two in turns ----------------------------------------------------------------------


class Side:
    """A worker process."""

    def __init__(self, python: str, name: str):
        command = [python, __file__, "--worker", name]
        if name == "mbrl_lib":  # it is imported as mbrl too: not from here
            command.insert(1, "-I")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, name: str, seed: int) -> dict[str, float]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps([name, seed]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args}: ended with {self._process.wait()}")
        return json.loads(answer)


def peer_python(folder: Path) -> str:
    """Return the Python of mbrl-lib's environment, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*install, *PINS], check=True)
        subprocess.run([*install, "--no-deps", PEER_PIN], check=True)
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of mbpo")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    if not options.peer:
        parser.error("PEER, the folder of mbrl-lib's environment, is missing")
    sides = {
        "mbrl_lib": Side(peer_python(options.peer), "mbrl_lib"),
        "ours": Side(sys.executable, "ours"),
    }
    lines = []
    for task in options.only:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        turns = options.seeds if task == "mbpo" else [0] * (options.rounds + 1)
        for seed in turns:
            for name, side in sides.items():
                found[name].append(side.ask(task, seed))
                if task == "mbpo":
                    print(f"{name:9} seed {seed}  {found[name][-1]}", flush=True)
        for name, answers in found.items():
            kept = answers if task == "mbpo" else answers[1:]  # the first warms up
            share = ROWS * 4 // 5 // FITS[task][0] if task in FITS else 1
            times = sorted(answer["cpu"] / share for answer in kept)
            median = statistics.median(times)
            if name == "mbrl_lib":
                peer = median
            counts = ["/".join(f"{a[k]:.0f}" for a in kept if k in a) for k in COUNTS]
            line = [task, name, *(f"{x:.4f}" for x in (median, times[0], times[-1]))]
            lines.append(",".join([*line, f"{peer / median:.2f}", *counts]))
            print(lines[-1], flush=True)
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "mbrl_lib.csv"
    command = " ".join(["# python -m scripts.benchmarks.bench_mbrl_lib PEER", *sys.argv[2:]])
    header = ",".join(["task", "side", "cpu_seconds", "fastest", "slowest", "ratio", *COUNTS])
    out.write_text("\n".join([command, header, *lines]) + "\n")


if __name__ == "__main__":
    main()

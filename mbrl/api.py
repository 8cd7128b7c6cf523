"""Agents from Python, with Stable-Baselines3's methods: `mbrl.load` and `mbrl.GymAgent`."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.config.check import check_saved
from mbrl.config.restore import restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    import gymnasium

    from mbrl.roles import Actor, VecEnv


class LoadedAgent:
    """Agent with SB3's `predict`.

    Args:
        agent: it acts.
        env: environment with the shapes of its observations and actions.

    Attributes:
        agent: the agent itself.
    """

    def __init__(self, agent: Actor, env: VecEnv):
        """Store the agent and the shapes of the environment."""
        from mbrl.roles import HasGymnasiumSpaces

        self.agent = agent
        self._action = env.action
        self._first_action, self._obs_shape = 0, (env.obs_dim,)
        if isinstance(env, HasGymnasiumSpaces):
            self._first_action, self._obs_shape = env.first_action, env.obs_shape
        self._device = env.device
        self._num_rows = 0  # of the last predict

    def predict(
        self,
        obs: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        *,
        env_state: Any = None,
    ) -> tuple[Any, None]:
        """Choose actions.

        A planning agent remembers its last plan: each row is an episode, begun anew where
        episode_start says so, after reset(), or when the number of rows changes.

        Args:
            obs: of one environment, or a batch (B, ...), array-like.
            state: not used; SB3's recurrent policies have one.
            episode_start: (B,) where an episode begins, as SB3's evaluate_policy gives it.
            deterministic: act as in evaluation, without exploration.
            env_state: the state (state_dim,) or (B, state_dim) of the simulator, for a model that
                is one.

        Returns:
            Actions as numpy, (act_dim,) or (B, act_dim); discrete ones as int64 () or (B,). The
            second is SB3's recurrent state: None, the agent keeps its own.

        Raises:
            BadInput: if obs is of another shape.
        """
        import numpy as np
        import torch

        array = np.asarray(obs, dtype=np.float32)
        rank = len(self._obs_shape)
        if array.shape[array.ndim - rank :] != self._obs_shape or array.ndim > rank + 1:
            shape = ", ".join(map(str, self._obs_shape))
            raise BadInput(f"obs: shape {array.shape} should be ({shape},) or (B, {shape})")
        rows = torch.from_numpy(array.reshape(-1, int(np.prod(self._obs_shape))))
        rows = rows.to(self._device)
        if rows.shape[0] != self._num_rows:
            self.reset()
            self._num_rows = rows.shape[0]
        elif episode_start is not None:
            starts = torch.as_tensor(np.asarray(episode_start).reshape(-1), dtype=torch.bool)
            self.agent.reset(starts.to(self._device), explore=not deterministic)
        simulated = None
        if env_state is not None:
            simulated = torch.as_tensor(env_state, device=self._device).reshape(len(rows), -1)
        with torch.no_grad():
            action = self.agent.act(rows, explore=not deterministic, env_state=simulated)
        if self._action.kind == "discrete":
            action = action.argmax(-1) + self._first_action
        action = action.cpu().numpy()
        return (action if array.ndim > rank else action.squeeze(0)), None

    def reset(self) -> None:
        """Start a new episode."""
        self.agent.reset(explore=True)
        self.agent.reset(explore=False)


def load(run: str | Path) -> LoadedAgent:
    """Load the agent of a run folder.

    Args:
        run: the folder.

    Raises:
        BadInput: if it is no run folder, or its checkpoint is missing or damaged.
    """
    from mbrl.training.run_folder import RunFolder

    parts = restore(RunFolder.open(Path(run)))
    return LoadedAgent(parts.agent, parts.env)


class GymAgent(LoadedAgent):
    """Agent that is trained, used and saved from Python, with SB3's methods.

    `GymAgent("mbpo", env="pendulum").learn(3000).predict(obs)`; the settings of `mbrl train` are
    keywords: `learner={"hidden": 64}`, `dynamics="sindy"`, `**{"agent.learning_starts": 100}`.

    Args:
        agent: as in `mbrl train agent=`.
        env: as in `mbrl train env=`, a gymnasium id, or a gymnasium Env of one's own. That Env is
            trained in; to go on with training it is reset with its last seed and its actions are
            replayed, so it must be a function of these.
        seed: of all random draws.
        verbose: 1 shows the progress of learn().
        overrides: further settings.

    Raises:
        BadInput: in one line, if a setting is unknown, impossible or does not fit.
    """

    def __init__(
        self,
        agent: str = "mbpo",
        env: str | gymnasium.Env = "pendulum",
        *,
        seed: int = 0,
        verbose: int = 0,
        **overrides: Any,
    ):
        """Compose the config and build the parts."""
        from mbrl.config import compose

        chosen = [f"agent={agent}", *_env_arguments(env), f"seed={seed}"]
        config, _ = compose([*chosen, *_arguments(overrides)])
        self._begin(config, env, verbose)

    def _begin(self, config: dict[str, Any], env: str | gymnasium.Env | None, verbose: int) -> None:
        """Build the parts of a config."""
        import torch

        from mbrl.buffer import ReplayBuffer
        from mbrl.config import build_agent, make_env
        from mbrl.envs import GymnasiumVecEnv
        from mbrl.training.run_folder import RunFolder

        torch.set_num_threads(config["num_threads"])
        device = config["device"]
        if env is None or isinstance(env, str):
            self.env: VecEnv = make_env(config)
        else:
            self.env = GymnasiumVecEnv.around([env], seed=config["seed"], device=device)
        num_envs = self.env.num_envs
        capacity = -(-config["buffer_size"] // num_envs) * num_envs
        self._dataset = None
        if config["dataset"] is not None:
            from mbrl.data import load_dataset

            spaces: Any = {"obs_dim": self.env.obs_dim, "action": self.env.action}
            self._dataset = load_dataset(config["dataset"], **spaces)
            capacity = len(self._dataset.data.reward)
        self._buffer = ReplayBuffer(capacity, self.env.obs_dim, self.env.action.dim, device)
        if self._dataset is not None:
            self._buffer.add(self._dataset.data, recorded=self._dataset.recorded)
        super().__init__(build_agent(config, self.env), self.env)
        self._verbose = verbose
        self._folder = tempfile.TemporaryDirectory(prefix="mbrl-")
        self._run = RunFolder.create(Path(self._folder.name) / "run", config)
        self.num_timesteps = 0

    def learn(self, total_timesteps: int, progress_bar: bool = False) -> GymAgent:
        """Train for so many environment steps more; an offline agent, for so many updates.

        Raises:
            BadInput: if there are none.
            EnvironmentFault: if the environment breaks its contract.
        """
        from mbrl.training.logger import Console, JsonLines, Logger
        from mbrl.training.loop import train
        from mbrl.training.offline_loop import train_offline

        if total_timesteps < 1:
            raise BadInput(f"total_timesteps={total_timesteps}: should be at least 1")
        config, total = self._run.config, self.num_timesteps + total_timesteps
        shown = [Console(total)] if progress_bar or self._verbose else []
        options: Any = {
            "total_steps": total,
            "run": self._run,
            "seed": config["seed"],
            "log_every": config["log_every"],
        }
        agent: Any = self.agent
        with contextlib.closing(Logger([JsonLines(self._run.metrics_path), *shown])) as logger:
            options["logger"] = logger
            if self._dataset is not None:
                digest = self._dataset.digest
                summary = train_offline(agent, self._buffer, digest=digest, **options)
            else:
                summary = train(self.env, agent, buffer=self._buffer, **options)
        self.num_timesteps = summary["step"]
        self._num_rows = 0  # the next predict begins new episodes
        return self

    def save(self, path: str | Path) -> None:
        """Save everything in a run folder: for load(), `mbrl.load`, `mbrl eval`, `--resume`.

        A run folder that is there is replaced.

        Raises:
            BadInput: if something else is there.
        """
        from mbrl.training.run_folder import RunFolder

        path = Path(path)
        if (path / "config.yaml").is_file() and (path / "versions.json").is_file():
            RunFolder(path, {}).claim()  # nobody trains in it
            shutil.rmtree(path)
        steps = max(self.num_timesteps, 1)
        config = {**self._run.config, "run_dir": str(path), "total_steps": steps}
        run = RunFolder.create(path, config)
        if self.num_timesteps == 0:
            run.save(0, {"agent": self.agent.state_dict()})
        else:
            shutil.copytree(self._run.path / "checkpoints", path / "checkpoints")
            shutil.copy(self._run.metrics_path, run.metrics_path)

    @classmethod
    def load(
        cls, path: str | Path, env: gymnasium.Env | None = None, *, verbose: int = 0
    ) -> GymAgent:
        """Load what save() or `mbrl train` wrote, to train further; path itself stays as it is.

        Args:
            path: a run folder.
            env: an Env of one's own, if it was trained in one.
            verbose: as in the constructor.

        Raises:
            BadInput: if it is no run folder, or its checkpoint is missing or damaged.
        """
        from mbrl.training.run_folder import RunFolder
        from mbrl.training.versions import warn_of_other_versions

        run = RunFolder.open(Path(path))
        check_saved(run.config, run.config_path)
        saved = run.load()
        if saved is None:
            raise BadInput(f"{path}: has no checkpoint yet; train it first")
        warn_of_other_versions(run.versions_path, "training goes on, but not bit for bit")
        self = cls.__new__(cls)
        self._begin(run.config, env, verbose)
        self.agent.load_state_dict(saved["agent"])
        if "loop" in saved:
            self.num_timesteps = saved["loop"]["progress"]["step"]
            shutil.copytree(run.path / "checkpoints", self._run.path / "checkpoints")
            shutil.copy(run.metrics_path, self._run.metrics_path)
        return self


def _env_arguments(env: str | gymnasium.Env) -> list[str]:
    """Return the settings of `mbrl train` for an environment."""
    import gymnasium

    import mbrl.envs  # registers mbrl/...  # noqa: F401
    from mbrl.config.library import Library

    if not isinstance(env, str):
        kind = type(env.unwrapped)
        id = env.spec.id if env.spec else f"{kind.__module__}:{kind.__name__}"
        return ["env=gym", f"env.id={id}"]
    known = env in Library().choices("env") or (env not in gymnasium.registry and ":" not in env)
    return [f"env={env}"] if known else ["env=gym", f"env.id={env}"]


def _arguments(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """Return settings as `mbrl train` takes them."""
    arguments = []
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            arguments += _arguments(value, f"{key}.")
        else:
            arguments.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return arguments

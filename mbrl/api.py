"""Agents from Python, with Stable-Baselines3's methods: `mbrl.load` and `mbrl.GymAgent`."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.config.restore import check_stored, most_memory, restore
from mbrl.config.trust import Trust
from mbrl.errors import BadInput, UnknownAttribute
from mbrl.memory import limited_memory
from mbrl.values import Count, Seed, checked

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec
    from torch import Tensor

    from mbrl.envs.given import Given
    from mbrl.roles import Actor, VecEnv
    from mbrl.types import Task


_OF_SB3 = {  # attributes of Stable-Baselines3's algorithms -> what there is instead
    "set_env": "GymAgent.load(RUN, env=...) takes an environment",
    "get_env": "the environment is .env, a VecEnv of this package",
    "get_vec_normalize_env": "nothing outside of the agent is normalized",
    "policy": "the agent itself is .agent",
    "replay_buffer": "save(RUN) keeps it, and learn() goes on with it",
    "save_replay_buffer": "save(RUN) keeps the replay buffer too",
    "load_replay_buffer": "GymAgent.load(RUN) reads the replay buffer too",
    "get_parameters": ".agent.state_dict() holds them",
    "set_parameters": ".agent.load_state_dict(...) takes them",
    "set_random_seed": "seed=... is given when it is made",
    "set_logger": "the metrics of learn() are in RUN/metrics.jsonl after save(RUN)",
    "logger": "the metrics of learn() are in RUN/metrics.jsonl after save(RUN)",
}


class LoadedAgent:
    """Agent with SB3's `predict`.

    Args:
        agent: it acts.
        env: environment with the shapes of its observations and actions.

    Attributes:
        agent: the agent itself.
        observation_space: gymnasium's, of one environment.
        action_space: gymnasium's, of one environment.
    """

    def __init__(self, agent: Actor, env: VecEnv):
        """Store the agent and the shapes of the environment."""
        from mbrl.roles import HasGymnasiumSpaces

        self.agent = agent
        self._action = env.action
        self._first_action = 0
        if isinstance(env, HasGymnasiumSpaces):
            self._first_action = env.first_action
            self.observation_space, self.action_space = env.observation_space, env.action_space
        else:
            self.observation_space, self.action_space = _spaces(env)
        self._obs_shape: tuple[int, ...] = self.observation_space.shape
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
    ) -> tuple[Any, Any]:
        """Choose actions.

        A planning agent remembers its last plan: each row is an episode, begun anew where
        episode_start says so, after reset(), or when the number of rows changes.

        Args:
            obs: of one environment, or a batch (B, ...), array-like.
            state: returned as it is; SB3's recurrent policies have one.
            episode_start: (B,) where an episode begins, as SB3's evaluate_policy gives it.
            deterministic: act as in evaluation, without exploration.
            env_state: the state (state_dim,) or (B, state_dim) of the simulator, for a model that
                is one.

        Returns:
            Actions as numpy, in the shape and type of the action space, or a batch of them;
            discrete ones as int64 () or (B,). The second is state: the agent keeps its own.

        Raises:
            BadInput: if an argument is of another shape or kind, or obs is not finite.
        """
        import numpy as np
        import torch

        if not isinstance(deterministic, bool | np.bool_):
            raise BadInput(f"deterministic={deterministic!r}: should be True or False")
        array = _observations(obs, self._obs_shape)
        rows = torch.from_numpy(array.reshape(-1, int(np.prod(self._obs_shape))))
        rows = rows.to(self._device)
        starts = None
        if episode_start is not None:
            starts = _rows_of("episode_start", episode_start, len(rows), width=1)
        if rows.shape[0] != self._num_rows:
            self.reset()
            self._num_rows = rows.shape[0]
        elif starts is not None:
            starts = starts[:, 0].bool().to(self._device)
            self.agent.reset(starts, explore=not deterministic)
        simulated = None
        if env_state is not None:
            simulated = _rows_of("env_state", env_state, len(rows)).to(self._device)
        with torch.no_grad():
            action = self.agent.act(rows, explore=not deterministic, env_state=simulated)
        native = self._native(action)
        return (native if array.ndim > len(self._obs_shape) else native.squeeze(0)), state

    def _native(self, action: Any) -> Any:
        """Convert actions (B, act_dim) to the type and shape of the action space."""
        import numpy as np

        if self._action.kind == "discrete":
            return (action.argmax(-1) + self._first_action).cpu().numpy()
        space = self.action_space
        array = action.cpu().numpy().astype(space.dtype).reshape(-1, *space.shape)
        return np.clip(array, space.low, space.high)  # between some bounds lies no float32

    def __getattr__(self, name: str) -> Any:
        """Raise an error that says, of SB3's attributes, what there is instead."""
        hint = f"; {_OF_SB3[name]}" if name in _OF_SB3 else ""
        raise UnknownAttribute(f"{name}: a {type(self).__name__} has no such attribute{hint}")

    def reset(self) -> None:
        """Start a new episode."""
        self.agent.reset(explore=True)
        self.agent.reset(explore=False)


@checked
def load(
    run: str | Path,
    env: Given | None = None,
    *,
    task: Task | None = None,
    trust: bool = False,
    config_dir: str | Path | None = None,
    accept_config: bool = False,
) -> LoadedAgent:
    """Load the agent of a run folder.

    Args:
        run: the folder.
        env: the environment, if one that exists only in Python was trained in.
        task: what is known of it, if it was trained with a Task from Python.
        trust: run code that is not this package's, and read files, that the folder names.
        config_dir: the folder of choices it was made with; its code is run.
        accept_config: take a config.yaml that was changed since the checkpoint was saved.

    Raises:
        BadInput: if it is no run folder, its checkpoint is missing or damaged, its environment
            exists only in Python and is not given, or it names what is not trusted.
    """
    from mbrl.training.run_folder import RunFolder

    if env is not None or task is not None:
        return GymAgent.load(
            run, env, task=task, trust=trust, config_dir=config_dir, accept_config=accept_config
        )
    parts = restore(RunFolder.open(Path(run)), _trust(trust, config_dir, accept_config))
    return LoadedAgent(parts.agent, parts.env)


class GymAgent(LoadedAgent):
    """Agent that is trained, used and saved from Python, with SB3's methods.

    `GymAgent("mbpo", env="pendulum").learn(3000).predict(obs)`; the settings of `mbrl train` are
    keywords: `learner={"hidden": 64}`, `dynamics="sindy"`, `**{"agent.learning_starts": 100}`.

    Args:
        agent: as in `mbrl train agent=`.
        env: one of
            a name, as in `mbrl train env=`, or a gymnasium id;
            a gymnasium Env of one's own, or a function (or class) that makes one;
            a VecEnv, such as mbrl.make_vec returns.
            To go on with training, a gymnasium Env is reset with its last seed and its actions are
            replayed, so it must be a function of these.
        task: what is known of a gymnasium environment in closed form, a mbrl.types.Task.
        seed: of all random draws.
        verbose: 1 shows the progress of learn().
        overrides: further settings; of an Env of one's own also `env.max_episode_steps` and
            `env.time_limit`, of a function that makes one `env.num_envs`.

    Raises:
        BadInput: in one line, if a setting is unknown, impossible or does not fit.
    """

    def __init__(
        self,
        agent: str = "mbpo",
        env: str | Given = "pendulum",
        *,
        task: Task | None = None,
        seed: int = 0,
        verbose: int = 0,
        **overrides: Any,
    ):
        """Compose the config and build the parts."""
        from mbrl.config import compose

        if env is None:
            raise BadInput("env=None: should be a name, a gymnasium id or an environment")
        chosen = [f"agent={agent}", *_env_arguments(env), f"seed={seed}"]
        config, _ = compose([*chosen, *_arguments(overrides)])
        if task is not None and isinstance(env, str):
            env = _maker(env, config)
        elif not isinstance(env, str) and config["env"].get("kwargs") and "env.kwargs" in overrides:
            raise BadInput("env.kwargs: are those of a gymnasium id; this env is there already")
        if not isinstance(env, str) and (task is not None or not _is_registered(env)):
            config["env"] = _stand_in(env, task, config["env"])
        self._begin(config, None if isinstance(env, str) else env, task, verbose)

    def _begin(
        self, config: dict[str, Any], env: Given | None, task: Task | None, verbose: int
    ) -> None:
        """Build the parts of a config."""
        import torch

        from mbrl.config import build_agent, make_buffer, make_env
        from mbrl.envs.given import repeats, vec_env_of
        from mbrl.training.run_folder import RunFolder

        torch.set_num_threads(config["num_threads"])
        device = config["device"]
        self._make_eval_env: Callable[[int], VecEnv] | None = None
        if env is None:
            self.env: VecEnv = make_env(config)
            self._make_eval_env = partial(make_env, config, "eval_env")
        else:
            limits = {key: config["env"].get(key) for key in ("max_episode_steps", "time_limit")}
            options: Any = {"task": task, "seed": config["seed"], "device": device, **limits}
            self.env = vec_env_of(env, num_envs=config["env"].get("num_envs", 1), **options)
            if repeats(env):
                self._make_eval_env = lambda count: vec_env_of(env, num_envs=count, **options)
            if self.env.max_episode_steps is None:
                warnings.warn(
                    f"{config['env'].get('name', 'env')}: no max_episode_steps is known; if its "
                    "episodes never end by themselves, set **{'env.max_episode_steps': 1000}",
                    stacklevel=3,
                )
        num_envs = self.env.num_envs
        capacity = -(-config["buffer_size"] // num_envs) * num_envs
        self._dataset = None
        if config["dataset"] is not None:
            from mbrl.data import load_dataset

            spaces: Any = {"obs_dim": self.env.obs_dim, "action": self.env.action}
            self._dataset = load_dataset(config["dataset"], **spaces, task=self.env.task)
            capacity = len(self._dataset.data.reward)
        self._buffer = make_buffer(config, self.env, capacity)
        if self._dataset is not None:
            self._buffer.add(self._dataset.data, recorded=self._dataset.recorded)
        super().__init__(build_agent(config, self.env), self.env)
        self._verbose = verbose
        self._folder = tempfile.TemporaryDirectory(prefix="mbrl-")
        self._run = RunFolder.create(Path(self._folder.name) / "run", config)
        self.num_timesteps = 0
        self._refusal: str | None = None  # why learn() cannot go on

    @checked
    def learn(self, total_timesteps: Count, *, progress_bar: bool = False) -> GymAgent:
        """Train for so many environment steps more; an offline agent, for so many updates.

        Args:
            total_timesteps: how many more; the count of steps goes on, as with SB3's
                reset_num_timesteps=False.
            progress_bar: show the progress.

        Raises:
            BadInput: if there are none, or a loaded agent was given an Env of another kind.
            EnvironmentFault: if the environment breaks its contract.
        """
        from mbrl.training.logger import Console, JsonLines, Logger
        from mbrl.training.loop import train
        from mbrl.training.offline_loop import train_offline

        if self._refusal is not None:
            raise BadInput(self._refusal)
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

        A run folder that is there is replaced, all at once: it stays if saving fails.

        Raises:
            BadInput: if something else is there, or another process trains in it.
        """
        from mbrl.lock import new_folder
        from mbrl.training.run_folder import RunFolder, is_taken

        path, before = Path(path), RunFolder(Path(path), {})
        replaced = before.config_path.is_file() and (path / "versions.json").is_file()
        if replaced:
            before.claim()

        def check() -> None:
            if is_taken(path) and not replaced:
                raise BadInput(f"{path}: already there, and no run; name a new folder")

        with new_folder(path, check) as folder:
            self._save(folder, path)

    def _save(self, folder: Path, path: Path) -> None:
        """Write a run in a folder which is to stand at a path."""
        from mbrl.training.run_folder import RunFolder

        steps = max(self.num_timesteps, 1)
        config = {**self._run.config, "run_dir": str(path), "total_steps": steps}
        run = RunFolder.create(folder, config)
        if self.num_timesteps == 0:
            run.save(0, {"agent": self.agent.state_dict()})
        else:
            shutil.copytree(self._run.path / "checkpoints", folder / "checkpoints")
            for name in ("metrics.jsonl", "summary.json"):
                shutil.copy(self._run.path / name, folder / name)
            run.seal_config()

    @checked
    def evaluate(self, num_episodes: Count = 10, *, seed: Seed | None = None) -> dict[str, Any]:
        """Run whole episodes with the deterministic policy.

        Those of an Env that was given as an instance are run in it, one after the other.

        Args:
            num_episodes: how many.
            seed: the episodes depend on it; None takes that of training.

        Returns:
            eval/mean_reward, eval/std_reward, eval/mean_ep_length, eval/episodes, eval/rewards
            (list).

        Raises:
            BadInput: if there are none.
            EnvironmentFault: if the environment breaks its contract, or an episode does not end.
        """
        own: int = self._run.config["seed"]
        return self._evaluate(self.agent, num_episodes, own if seed is None else seed)

    def _evaluate(self, agent: Actor, num_episodes: int, seed: int) -> dict[str, Any]:
        """Run whole episodes of any agent."""
        from mbrl.training.evaluation import evaluate, run_episodes, summarize

        self._num_rows = 0  # the next predict begins new episodes
        if self._make_eval_env is not None:
            return evaluate(self._make_eval_env, agent, episodes=num_episodes, seed=seed)
        rewards: list[float] = []
        lengths: list[float] = []
        for first in range(0, num_episodes, self.env.num_envs):
            earlier = run_episodes(self.env, agent, seed=seed, first=first)
            rewards, lengths = rewards + earlier[0], lengths + earlier[1]
        return summarize(rewards[:num_episodes], lengths[:num_episodes])

    @checked
    def report(self, path: str | Path, num_episodes: Count = 10) -> Path:
        """Save in a run folder, as save() does, and write its report.

        Args:
            path: the run folder.
            num_episodes: of the policy, and of a random one.

        Returns:
            The report, RUN/report.html.

        Raises:
            BadInput: if nothing was learned yet, or something else is at path.
        """
        import torch

        from mbrl.agents import Random
        from mbrl.report import report_run
        from mbrl.training.evaluation import collect_episodes
        from mbrl.types import Transitions

        if self.num_timesteps == 0:
            raise BadInput("report: nothing was learned yet; call learn() first")
        self.save(path)
        config = self._run.config
        seed = config["seed"]
        draws = torch.Generator(self.env.device).manual_seed(seed)

        def returns(agent: Actor) -> list[float]:
            return self._evaluate(agent, num_episodes, seed)["eval/rewards"]

        def episodes(agent: Actor) -> Transitions:
            make = self._make_eval_env
            envs = self.env if make is None else make(num_episodes)
            parts = [
                collect_episodes(envs, agent, seed=seed, first=first)
                for first in range(0, num_episodes, envs.num_envs)
            ]
            if make is not None:
                envs.close()
            return Transitions.concatenate(parts)

        random = Random(action=self.env.action, generator=draws)
        agents = {config["choices"]["agent"]: self.agent, "random": random}
        return report_run(Path(path), config, agents, returns=returns, episodes=episodes)

    @classmethod
    @checked
    def load(
        cls,
        path: str | Path,
        env: Given | None = None,
        *,
        task: Task | None = None,
        verbose: int = 0,
        trust: bool = False,
        config_dir: str | Path | None = None,
        accept_config: bool = False,
    ) -> GymAgent:
        """Load what save() or `mbrl train` wrote, to train further; path itself stays as it is.

        Args:
            path: a run folder.
            env: the environment, if one that exists only in Python was trained in.
            task: what is known of it, if it was trained with a Task from Python.
            verbose: as in the constructor.
            trust: run code that is not this package's, and read files, that the folder names.
            config_dir: the folder of choices it was made with; its code is run.
            accept_config: take a config.yaml that was changed since the checkpoint was saved.

        Raises:
            BadInput: if it is no run folder, its checkpoint is missing or damaged, or it names
                what is not trusted.
        """
        from mbrl.training.faults import load_part
        from mbrl.training.run_folder import RunFolder
        from mbrl.training.versions import warn_of_other_versions

        run = RunFolder.open(Path(path))
        config = run.config
        if env is not None:
            config = {**config, "env": _given_again(config.get("env"), env, task)}
        elif task is not None:
            raise BadInput("task: goes with env, the environment that it is known of")
        run.config = config
        without = () if env is None else ("env",)
        agreed = _trust(trust, config_dir, accept_config)
        check_stored(run, agreed, with_data=True, without=without)
        saved = run.load()
        if saved is None:
            raise BadInput(f"{path}: has no checkpoint yet; train it first")
        warn_of_other_versions(run.versions_path, "training goes on, but not bit for bit")
        self = cls.__new__(cls)
        on_cpu = config["device"] == "cpu"
        with limited_memory(most_memory(run, agreed)) if on_cpu else contextlib.nullcontext():
            self._begin(config, env, task, verbose)
        if env is not None and "buffer" in saved:
            self._compare(saved, run.config["choices"]["env"])
        load_part(run.path, "agent", self.agent, saved.get("agent"))
        if "loop" in saved:
            self.num_timesteps = run.step
            shutil.copytree(run.path / "checkpoints", self._run.path / "checkpoints")
            for name in ("metrics.jsonl", "summary.json"):
                if (run.path / name).is_file():
                    shutil.copy(run.path / name, self._run.path / name)
            self._run.seal_config()
        return self

    def _compare(self, saved: dict[str, Any], name: str) -> None:
        """Check that a given environment is like the one that a checkpoint was made in.

        Raises:
            BadInput: if its observations or actions are of another length.
        """
        width = saved["buffer"]["rows"].shape[1]  # 2 * obs_dim + act_dim + 3, see ReplayBuffer
        own = self._buffer.state_dict()["rows"].shape[1]
        seen, given = saved["loop"]["obs"].shape[-1], self.env.obs_dim
        if (width, seen) != (own, given):
            raise BadInput(
                f"env: observations of {given} numbers and actions of {self.env.action.dim}, but "
                f"the run's have {seen} and {width - 2 * seen - 3}; take the environment that it "
                "was trained in"
            )
        if self.env.state_dict().keys() != saved["env"].keys():
            self._refusal = (
                f"env: the run was trained in env={name}, whose last episode cannot go on in the "
                "given Env; leave env out of GymAgent.load() to train on"
            )


def _trust(code: bool, config_dir: str | Path | None, changes: bool) -> Trust:
    """Return what the user agrees to."""
    return Trust(code, None if config_dir is None else Path(config_dir), changes)


def _env_arguments(env: str | Given) -> list[str]:
    """Return the settings of `mbrl train` for an environment."""
    import gymnasium

    import mbrl.envs  # registers mbrl/...  # noqa: F401
    from mbrl.config.library import Library

    if not isinstance(env, str):
        spec = _is_registered(env)
        if spec is None:
            return ["env=gym", "env.id=CartPole-v1"]  # a stand-in replaces it
        kwargs = {key: value for key, value in spec.kwargs.items() if key != "render_mode"}
        return ["env=gym", f"env.id={spec.id}", *_arguments({"env.kwargs": kwargs or None})]
    known = env in Library().choices("env") or (env not in gymnasium.registry and ":" not in env)
    return [f"env={env}"] if known else ["env=gym", f"env.id={env}"]


def _is_registered(env: Given) -> EnvSpec | None:
    """Return the spec of an Env that gymnasium.make would make again, None of any other."""
    import gymnasium

    spec = env.spec if isinstance(env, gymnasium.Env) else None
    if spec is None or spec.id not in gymnasium.registry or spec.additional_wrappers:
        return None
    with contextlib.suppress(TypeError, ValueError):
        json.dumps(spec.kwargs)
        return spec
    return None


def _maker(env: str, config: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """Return a function that makes an environment by its gymnasium id.

    Raises:
        BadInput: if the name is one of `mbrl train env=`, which has what is known of it.
    """
    from mbrl.envs.from_gymnasium import make_gymnasium

    node = config["env"]
    if config["choices"]["env"] != "gym" or node.get("task") is not None:
        raise BadInput(f"task: env={env} states what is known of it; leave one of them out")

    def make() -> gymnasium.Env:
        return make_gymnasium(node["id"], **(node.get("kwargs") or {}))

    make.__qualname__ = node["id"]
    return make


def _stand_in(env: Given, task: Task | None, node: dict[str, Any]) -> dict[str, Any]:
    """Return what the config holds of an environment that exists only in Python."""
    from mbrl.envs.given import name_of

    kept = {key: node.get(key) for key in ("num_envs", "max_episode_steps", "time_limit")}
    given = {"name": name_of(env), "has_task": task is not None}
    return {"_target_": "mbrl.envs.OnlyInPython", **given, **kept}


def _given_again(node: Any, env: Given, task: Task | None) -> dict[str, Any]:
    """Return what the config holds of an environment that is given to a loaded agent.

    Raises:
        BadInput: if the run had a Task and none is given.
    """
    node = node if isinstance(node, dict) else {}
    if node.get("_target_") != "mbrl.envs.OnlyInPython":
        return _stand_in(env, task, node)
    if node.get("has_task") and task is None:
        raise BadInput(f"task: {node.get('name')} was trained with a Task; give it again, task=...")
    return node


def _spaces(env: VecEnv) -> tuple[Any, Any]:
    """Return gymnasium's observation and action space of one of several environments."""
    import numpy as np
    from gymnasium import spaces

    observations = spaces.Box(-np.inf, np.inf, (env.obs_dim,), np.float32)
    if env.action.kind == "discrete":
        return observations, spaces.Discrete(env.action.num_actions)
    low, high = (x.cpu().numpy() for x in (env.action.low, env.action.high))
    return observations, spaces.Box(low, high, dtype=np.float32)


def _observations(obs: Any, shape: tuple[int, ...]) -> Any:
    """Return one observation, or a batch of them, as a float32 array.

    Raises:
        BadInput: if it is something else, or not finite.
    """
    import numpy as np
    import torch

    each = ", ".join(map(str, shape))
    right = f"({each},) or (B, {each})" if len(shape) == 1 else f"({each}) or (B, {each})"
    if isinstance(obs, tuple) and len(obs) == 2 and isinstance(obs[1], dict):
        raise BadInput("obs: a tuple of 2 should be an observation; `obs, info = env.reset()`")
    try:
        numbers = np.asarray(obs.detach() if isinstance(obs, torch.Tensor) else obs)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is named
            array = np.real(numbers).astype(np.float32)
    except (TypeError, ValueError):
        kind = type(obs).__name__
        raise BadInput(f"obs: a {kind} should be numbers of shape {right}, on the CPU") from None
    if np.iscomplexobj(numbers):
        raise BadInput(f"obs: complex numbers should be real ones of shape {right}")
    if numbers.dtype.kind not in "biuf" or np.ma.is_masked(obs):
        kind = "masked numbers" if np.ma.is_masked(obs) else str(numbers.dtype)
        raise BadInput(f"obs: an array of {kind} should be numbers of shape {right}")
    rank = len(shape)
    if array.shape[array.ndim - rank :] != shape or array.ndim > rank + 1 or not array.size:
        raise BadInput(f"obs: shape {array.shape} should be {right}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise BadInput(f"obs: {array[index]} at {index} should be finite in float32")
    return array


def _rows_of(name: str, value: Any, num_rows: int, *, width: int | None = None) -> Tensor:
    """Return what is given for each row as a tensor (num_rows, columns).

    Raises:
        BadInput: if it is for another number of rows, or not of width columns.
    """
    import numpy as np
    import torch

    array = np.asarray(value)
    wrong = array.size != num_rows * width if width else array.size == 0 or array.size % num_rows
    if array.dtype.kind not in "biuf" or wrong:
        right = f"({num_rows},)" if width == 1 else f"({num_rows},) or ({num_rows}, ...)"
        raise BadInput(f"{name}: shape {array.shape} of {array.dtype} should be {right}")
    if array.ndim and num_rows > 1 and array.shape[0] != num_rows:
        raise BadInput(f"{name}: shape {array.shape} should have {num_rows} rows, as obs has")
    return torch.from_numpy(array.reshape(num_rows, -1).copy())


def _arguments(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """Return settings as `mbrl train` takes them.

    Raises:
        BadInput: if one is no number, text, list or mapping.
    """
    arguments = []
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            arguments += _arguments(value, f"{key}.")
            continue
        try:
            text = value if isinstance(value, str) else json.dumps(value, default=_plain)
        except (TypeError, ValueError):
            kind = type(value).__name__
            advice = "; a Task is given as task=..." if kind == "Task" or "task" in key else ""
            raise BadInput(
                f"{key}: a {kind} should be a number, text, list or mapping{advice}"
            ) from None
        arguments.append(f"{key}={text}")
    return arguments


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's own.

    Raises:
        TypeError: if it is something else.
    """
    import numpy as np

    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)

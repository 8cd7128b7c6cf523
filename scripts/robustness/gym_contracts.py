"""Check every `mbrl/...` id against the contracts of gymnasium and Stable-Baselines3.

    python -m scripts.robustness.gym_contracts [--ids ID ...] [--checks NAME ...] [--out FILE]

One row for each id and check; rows that are there already are kept. "ok", or in one line what is
wrong. Numbers are compared to the last bit. RecordVideo needs moviepy, a package that gymnasium
does not install; where it is missing, its writer is replaced by one that writes the frames' shape.
"""

import argparse
import contextlib
import copy
import csv
import pickle
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode

import mbrl.envs
from mbrl.envs.registration import LIMITS
from mbrl.errors import BadInput

OUT = Path("results/robustness/gym_contracts.csv")
MODES = tuple(AutoresetMode)
# what the checkers remark of gymnasium's own environments too: unbounded observations, and actions
# that are not in [-1, 1]
REMARKS = ("infinity", "symmetric and normalized", "different from the unwrapped version")


def one(id: Any, **options: Any) -> Any:
    """Make one environment."""
    return gymnasium.make(id, **options)


def several(id: Any, **options: Any) -> Any:
    """Make a vector environment."""
    return gymnasium.make_vec(id, **options)


def same(a: Any, b: Any, where: str = "") -> None:
    """Check that two results of gymnasium are equal to the last bit, in values and dtypes."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), f"{where}: keys {sorted(a)} and {sorted(b)}"
        for key, value in a.items():
            same(value, b[key], f"{where}/{key}")
    elif isinstance(a, tuple | list) or _are_objects(a):
        assert len(a) == len(b), f"{where}: {len(a)} and {len(b)}"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif a is None or b is None:
        assert a is b, f"{where}: {a} and {b}"
    else:
        x, y = np.asarray(a), np.asarray(b)
        assert x.dtype == y.dtype, f"{where}: {x.dtype} and {y.dtype}"
        assert np.array_equal(x, y), f"{where}: {x} and {y}"


def _are_objects(a: Any) -> bool:
    """Return whether this is an array of objects, such as info["final_obs"]."""
    return isinstance(a, np.ndarray) and a.dtype.kind == "O"


def actions(env: Any, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield random actions, float32 and float64 in turn, the same for the same seed."""
    draws, space = np.random.default_rng(seed), env.action_space
    while True:
        for dtype in (np.float32, np.float64):
            yield draws.uniform(space.low, space.high).astype(dtype)


def refused(call: Callable[[], Any], kind: type[Exception], words: str) -> None:
    """Check that a call is refused in one line with these words."""
    try:
        call()
    except kind as error:
        assert words in str(error), f"{error} has no {words}"
        assert "\n" not in str(error), f"{error} has several lines"
    else:
        raise AssertionError(f"not refused: {words}")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Make errors of warnings, other than the known remarks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for words in REMARKS:
            warnings.filterwarnings("ignore", message=f".*{words}")
        yield


def checkers(id: str) -> None:
    """Run the checkers of gymnasium and SB3."""
    from stable_baselines3.common.env_checker import check_env as sb3_check

    with silent():
        env = one(f"mbrl/{id}")
        gymnasium_check(env.unwrapped, skip_render_check=True)
        sb3_check(env, skip_render_check=True)
        env.close()


def specification(id: str) -> None:
    """Check the spec: time limit, copies, and that an environment can be made of it again."""
    env = one(f"mbrl/{id}")
    assert env.spec is not None and env.spec.max_episode_steps == LIMITS[id]
    specs = [env.spec, copy.deepcopy(env.spec), pickle.loads(pickle.dumps(env.spec))]
    specs.append(type(env.spec).from_json(env.spec.to_json()))
    if id in gymnasium.registry:
        assert env.spec.reward_threshold == gymnasium.spec(id).reward_threshold
    first = env.reset(seed=3)[0]
    for spec in specs:
        again = one(spec)
        same(again.reset(seed=3)[0], first, "made of the spec")
        again.close()
    vector = several(f"mbrl/{id}", num_envs=2, max_episode_steps=5)
    assert vector.spec is not None and vector.spec.max_episode_steps == 5
    again = several(pickle.loads(pickle.dumps(vector.spec)))
    assert again.num_envs == 2 and again.unwrapped.max_episode_steps == 5
    for each in (env, vector, again):
        each.close()


def limits(id: str) -> None:
    """Check max_episode_steps in make and make_vec, and what is no limit."""
    env = one(f"mbrl/{id}", max_episode_steps=5)
    vector = several(f"mbrl/{id}", num_envs=2, max_episode_steps=5)
    for each, still in ((env, np.zeros), (vector, np.zeros)):
        each.reset(seed=0)
        ends = [each.step(still(each.action_space.shape, np.float32))[3] for _ in range(5)]
        assert np.all(ends[-1]) and not np.any(ends[:-1]), ends
        each.close()
    for wrong in (0, -2):
        make = partial(several, f"mbrl/{id}", max_episode_steps=wrong)
        refused(make, BadInput, f"max_episode_steps={wrong}: should be at least 1")


def vectorized(id: str, modes: tuple[str, ...] = ("vector_entry_point", "sync", "async")) -> None:
    """Check that all ways to make several environments show the same episodes."""
    options = {"num_envs": 2, "max_episode_steps": 4}
    envs = [several(f"mbrl/{id}", vectorization_mode=m, **options) for m in modes]
    first = envs[0]
    for seed in (5, [3, 7], [7, 3]):
        starts = [env.reset(seed=seed) for env in envs]
        draws = actions(first)
        for _ in range(10):  # past a reset of their own
            action = next(draws)
            steps = [env.step(action.copy()) for env in envs]
            for start, step, mode in zip(starts[1:], steps[1:], modes[1:], strict=True):
                same(starts[0], start, f"{mode} reset")
                same(steps[0], step, f"{mode} step")
    for env in envs:
        env.close()


def vectorized_here(id: str) -> None:
    """Check the ways that need no other process."""
    vectorized(id, ("vector_entry_point", "sync"))


def seeds(id: str) -> None:
    """Check seeds: a number, a list, parts of it, none, and what is no seed."""
    env, many = one(f"mbrl/{id}"), several(f"mbrl/{id}", num_envs=2)
    alone = [env.reset(seed=seed)[0] for seed in (3, 4, 7)]
    same(many.reset(seed=3)[0], np.stack(alone[:2]), "a number")
    for kind in (list, tuple, np.array):
        same(many.reset(seed=kind([3, 7]))[0], np.stack([alone[0], alone[2]]), "a list")
    many.reset(seed=[3, 3])
    after = many.reset(seed=[7, None])[0]
    same(after[0], alone[2], "a part")
    env.reset(seed=3)
    same(after[1], env.reset()[0], "the other part goes on")
    assert not np.array_equal(env.reset()[0], env.reset()[0]), "two episodes begin alike"
    fresh = [several(f"mbrl/{id}", num_envs=2) for _ in range(2)]
    starts = [np.asarray(each.reset()[0]) for each in fresh]
    assert not np.array_equal(starts[0], starts[1]), "unseeded environments begin alike"
    same(many.reset(seed=np.array(3))[0], np.stack(alone[:2]), "a number of numpy")
    refused(lambda: many.reset(seed=[1]), BadInput, "seed: 1 seeds")
    for wrong in (-1, 0.5, "a"):
        refused(partial(many.reset, seed=wrong), BadInput, "at least 0")
        refused(partial(env.unwrapped.reset, seed=wrong), BadInput, "at least 0")
    for each in (env, many, *fresh):
        each.close()


def options(id: str) -> None:
    """Check that options are refused, and reset masks keep to gymnasium's form."""
    env, many = one(f"mbrl/{id}"), several(f"mbrl/{id}", num_envs=2)
    for each in (env, many):
        each.reset(seed=0, options={})
        refused(partial(each.reset, options={"x_init": 1.0}), BadInput, "options: x_init")
        for wrong in ([], ["a"], "reset_mask", 3):
            refused(partial(each.reset, options=wrong), BadInput, "should be a dict or None")
    for mask in ([True, False], np.ones(2), np.ones(3, bool), np.zeros(2, bool)):
        wrong = {"reset_mask": mask}
        refused(partial(many.reset, options=wrong), BadInput, "options: reset_mask")
    given = {"reset_mask": np.array([True, False])}
    many.reset(options=given)
    assert "reset_mask" in given, "the options were changed"
    for each in (env, many):
        each.close()


def follow(
    own: Any, other: Any, mode: AutoresetMode, steps: int, seed: Sequence[int] = (5, 1, 9)
) -> int:
    """Step two vector environments side by side; return the number of episodes that ended."""
    assert own.metadata["autoreset_mode"] is mode is other.metadata["autoreset_mode"]
    spaces = ("observation_space", "action_space")
    for name in (*spaces, *(f"single_{space}" for space in spaces)):
        assert getattr(own, name) == getattr(other, name), name
    ended = 0
    same(own.reset(seed=list(seed)), other.reset(seed=list(seed)), "reset")
    draws = actions(own)
    for t in range(steps):
        action = next(draws)
        a, b = own.step(action.copy()), other.step(action.copy())
        same(a, b, f"step {t}")
        done = a[2] | a[3]
        ended += int(done.sum())
        if mode is AutoresetMode.DISABLED and done.any():
            a, b = (env.reset(options={"reset_mask": done.copy()}) for env in (own, other))
            same(a, b, f"reset in step {t}")
        elif t == steps // 2:
            same(own.reset(), other.reset(), "reset without a seed")
    own.close()
    other.close()
    return ended


def autoreset(id: str, steps: int = 40) -> None:
    """Check the three modes against gymnasium's SyncVectorEnv of the single environments."""
    limit = {"num_envs": 3, "max_episode_steps": 9}
    for mode in MODES:
        own = several(f"mbrl/{id}", autoreset_mode=mode.value, **limit)
        kwargs: Any = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
        other = several(f"mbrl/{id}", **kwargs, **limit)
        assert follow(own, other, mode, steps) >= 3 * (steps // 9 - 2)
    wrong = partial(several, f"mbrl/{id}", autoreset_mode="Never")
    refused(wrong, BadInput, "autoreset_mode='Never': should be one of NextStep")


def original(id: str, steps: int = 300) -> None:
    """Check episodes, info included, against gymnasium's own environment of the same name."""
    if id not in gymnasium.registry:
        return
    for mode in MODES:
        for limit in (LIMITS[id], 40):
            size = {"num_envs": 3, "max_episode_steps": limit}
            own = several(f"mbrl/{id}", autoreset_mode=mode, **size)
            kwargs: Any = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
            follow(own, several(id, **kwargs, **size), mode, steps)
    single(id, steps)


def original_long(id: str) -> None:
    """Check 200 steps of eight seeds, and 1,000 steps of three twice, in each mode."""
    if id in gymnasium.registry:
        for mode in MODES:
            own = several(f"mbrl/{id}", num_envs=8, autoreset_mode=mode)
            kwargs: Any = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
            other = several(id, num_envs=8, **kwargs)
            follow(own, other, mode, steps=200, seed=range(8))
    original(id, steps=1000)


def single(id: str, steps: int) -> None:
    """Check episodes of one environment, with and without seeds, against gymnasium's own."""
    own, other = one(f"mbrl/{id}"), one(id)
    same(own.reset(seed=2), other.reset(seed=2), "reset")
    draws = actions(own)
    for t in range(steps):
        action = next(draws)
        a, b = own.step(action.copy()), other.step(action.copy())
        same(a[0], b[0], f"step {t}: observation")
        assert float(a[1]) == float(b[1]) and a[2:4] == b[2:4], f"step {t}: {a[1:4]} {b[1:4]}"
        _same_info(a[4], b[4], f"step {t}: info")
        if a[2] or a[3] or t % 70 == 69:
            same(own.reset()[0], other.reset()[0], f"reset in step {t}")
    own.close()
    other.close()


def _same_info(a: dict[str, Any], b: dict[str, Any], where: str) -> None:
    """Check two infos of single environments, whose numbers may be of numpy or of Python."""
    assert a.keys() == b.keys(), where
    assert all(np.array_equal(a[key], b[key]) for key in a), where


def wrapped(id: str) -> None:
    """Check gymnasium's wrappers of one and of several environments."""
    from gymnasium import wrappers

    many = wrappers.vector
    plain = one(f"mbrl/{id}", max_episode_steps=5)
    normal = wrappers.NormalizeReward(wrappers.NormalizeObservation(plain))
    counted = wrappers.ClipAction(wrappers.RecordEpisodeStatistics(normal))
    env: Any = wrappers.FrameStackObservation(counted, 3)
    rows = several(f"mbrl/{id}", num_envs=2, max_episode_steps=5)
    vector: Any = many.NormalizeReward(many.NormalizeObservation(rows))
    vector = many.RecordEpisodeStatistics(many.DtypeObservation(vector, np.float32))
    for each in (env, vector):
        with each if each is env else contextlib.closing(each):
            obs = each.reset(seed=0)[0]
            assert each.observation_space.shape == np.shape(obs)
            for _ in range(5):
                result = each.step(np.zeros(each.action_space.shape, np.float32))
            assert np.all(result[4]["episode"]["l"] == 5), result[4]
    stacked = several(
        f"mbrl/{id}",
        num_envs=2,
        vectorization_mode="sync",
        wrappers=(partial(wrappers.FrameStackObservation, stack_size=3),),
    )
    assert stacked.reset(seed=0)[0].shape[:2] == (2, 3)
    stacked.close()


def sb3(id: str) -> None:
    """Check SB3's vector environments of one process."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

    plain = make_vec_env(f"mbrl/{id}", n_envs=2, seed=3, env_kwargs={"max_episode_steps": 5})
    first = [one(f"mbrl/{id}").reset(seed=3 + i)[0] for i in range(2)]
    same(plain.reset(), np.stack(first), "DummyVecEnv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the Monitor below is overwritten, as it says
        env = VecFrameStack(VecNormalize(VecMonitor(plain)), 2)
    env.reset()
    draws = np.random.default_rng(0)
    space: Any = env.action_space
    for _ in range(5):
        sample = draws.uniform(space.low, space.high, (2, *space.shape)).astype(np.float32)
        infos = env.step(sample)[-1]
    assert all(info["episode"]["l"] <= 5 for info in infos if "episode" in info)
    assert all("terminal_observation" in info for info in infos if "episode" in info)
    env.close()


def _make(id: str) -> Any:
    """Make one environment in another process, where nothing is registered yet."""
    return one(f"mbrl.envs:mbrl/{id}", max_episode_steps=5)


def subprocesses(id: str) -> None:
    """Check SB3's SubprocVecEnv against its DummyVecEnv."""
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    makers = [partial(_make, id), partial(_make, id)]
    envs: list[Any] = [DummyVecEnv(list(makers)), SubprocVecEnv(list(makers))]
    for env in envs:
        env.seed(3)
    same(envs[0].reset(), envs[1].reset(), "reset")
    space, draws = envs[0].action_space, np.random.default_rng(0)
    for t in range(12):
        action = draws.uniform(space.low, space.high, (2, *space.shape)).astype(np.float32)
        a, b = (env.step(action.copy()) for env in envs)
        same(a[0], b[0], f"step {t}")
        same(a[1], b[1].astype(np.float32), f"rewards of step {t}")  # SB3's own dtypes differ
        same(a[2], b[2], f"ends of step {t}")
    for env in envs:
        env.close()


def learns(id: str) -> None:
    """Check that SB3's PPO, SAC and TD3 learn, are saved with VecNormalize, and go on."""
    from stable_baselines3 import PPO, SAC, TD3
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecNormalize

    off_policy = {"learning_starts": 20, "batch_size": 8}
    on_policy = {"n_steps": 50, "batch_size": 50, "n_epochs": 1}
    for algorithm in (PPO, SAC, TD3):
        make = partial(make_vec_env, f"mbrl/{id}", 2, env_kwargs={"max_episode_steps": 20})
        env, settings = VecNormalize(make()), on_policy if algorithm is PPO else off_policy
        small: Any = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0, **settings}
        model = algorithm("MlpPolicy", env, **small).learn(200)
        with tempfile.TemporaryDirectory() as folder:
            model.save(f"{folder}/model")
            env.save(f"{folder}/env.pkl")
            again = VecNormalize.load(f"{folder}/env.pkl", make())
            other = algorithm.load(f"{folder}/model", env=again, device="cpu")
        obs: Any = again.reset()
        same(model.predict(obs, deterministic=True)[0], other.predict(obs, deterministic=True)[0])
        assert np.isfinite(evaluate_policy(other, again, n_eval_episodes=2)[0])
        other.learn(50)
        env.close()
        again.close()


def pictures(id: str) -> None:
    """Check render() and RecordVideo of one and of several environments."""
    size: Any = {"render_mode": "rgb_array", "width": 96, "height": 64}
    env = one(f"mbrl/{id}", max_episode_steps=3, **size)
    many = several(f"mbrl/{id}", num_envs=2, max_episode_steps=3, **size)
    with tempfile.TemporaryDirectory() as folder, _movies():
        recorded = gymnasium.wrappers.RecordVideo(env, f"{folder}/one")
        both = gymnasium.wrappers.vector.RecordVideo(many, f"{folder}/many", video_length=3)
        for each in (recorded, both):
            each.reset(seed=0)
            for _ in range(3):
                each.step(each.action_space.sample())
        frame, frames = env.render(), many.render()
        assert isinstance(frames, tuple) and len(frames) == 2
        for picture in (frame, *frames):
            assert picture.shape == (64, 96, 3) and picture.dtype == np.uint8
            assert picture.std() > 1, "the picture is of one color"
        assert env.metadata["render_fps"] > 0 and many.call("render")[0].shape == frame.shape
        for each in (recorded, both):
            each.close()
        assert all(list(Path(folder, name).iterdir()) for name in ("one", "many")), "no video"
    plain = one(f"mbrl/{id}")
    plain.reset(seed=0)
    assert plain.unwrapped.render() is None
    plain.close()
    make = partial(several, f"mbrl/{id}", render_mode="ansi")
    refused(make, BadInput, "render_mode='ansi': should be 'rgb_array'")


@contextlib.contextmanager
def _movies() -> Iterator[None]:
    """Replace moviepy's writer where it is not installed."""
    try:
        import moviepy  # type: ignore[import-not-found]  # noqa: F401

        yield
        return
    except ImportError:
        pass

    class Clip:
        """Frames that are written as their number."""

        def __init__(self, frames: list[np.ndarray], fps: float):
            """Store the frames."""
            self.frames = frames

        def write_videofile(self, path: str, **options: Any) -> None:
            """Write the frames' number."""
            Path(path).write_text(str(len(self.frames)))

    names = ["moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"]
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[-1]].ImageSequenceClip = Clip  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def habits(id: str) -> None:
    """Check what users of gymnasium do besides: order, shapes, attributes, copies, closing."""
    env, many = one(f"mbrl/{id}"), several(f"mbrl/{id}", num_envs=2)
    assert many.spec is not None and many.spec.id == f"mbrl/{id}" and many.num_envs == 2
    for each in (env.unwrapped, many):
        space: Any = each.action_space
        action = space.sample()
        refused(partial(each.step, action), ResetNeeded, "before calling env.reset()")
        space.seed(1)
        first = space.sample()
        space.seed(1)
        each.reset(seed=5)
        assert np.array_equal(first, space.sample()), "reset seeds the action space"
        wrong = (action[..., :-1], action[None], float(action.flat[0]), np.full(99, 0.1))
        for each_wrong in wrong:
            refused(partial(each.step, each_wrong), BadInput, "action: shape should be")
        for each_wrong in (np.array(["a"]), [[1.0, 2.0], [3.0]], {"a": 1}, None):
            refused(partial(each.step, each_wrong), BadInput, "should be numbers")
        given = action.copy()
        result = each.step(given)
        assert np.array_equal(given, action), "the action was changed"
        kept = copy.deepcopy(result)
        each.step(action.astype(np.float64))
        same(list(result), list(kept), "a result was changed by the next step")
        assert each.observation_space.contains(result[0]), "outside its space"
    assert isinstance(env.unwrapped.np_random, np.random.Generator)
    assert env.unwrapped.np_random_seed == 5 and many.np_random_seed == (5, 6)
    assert len(many.np_random) == 2 == len(many.get_attr("np_random"))
    assert many.get_attr("render_mode") == many.call("render_mode") == (None, None)
    refused(lambda: many.set_attr("gravity", 1), BadInput, "gravity cannot be set")
    refused(lambda: many.call("reset"), BadInput, "no reset()")
    unknown = partial(several, f"mbrl/{id}", gravity_of_mars=3.7)
    refused(unknown, BadInput, "gravity_of_mars")
    with env:
        pass
    env.close()
    many.close()
    many.close()


def copies(id: str) -> None:
    """Check that copies of one and of several environments go on as the others do."""
    for make in (one, partial(several, num_envs=2)):
        env = make(f"mbrl/{id}")
        env.reset(seed=4)
        draws = actions(env)
        env.step(next(draws))
        both = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
        for _ in range(4):
            action = next(draws)
            step = env.step(action.copy())
            for other in both:
                same(list(step), list(other.step(action.copy())), "a copy")
        start = env.reset()
        for other in both:
            same(start, other.reset(), "a copy's next episode")
            other.close()
        env.close()


FAST: dict[str, Callable[[str], None]] = {
    "checkers": checkers,
    "specification": specification,
    "limits": limits,
    "vectorized_here": vectorized_here,
    "seeds": seeds,
    "options": options,
    "autoreset": autoreset,
    "wrapped": wrapped,
    "sb3": sb3,
    "habits": habits,
    "copies": copies,
}
SLOW: dict[str, Callable[[str], None]] = {
    "original": original_long,
    "vectorized": vectorized,
    "subprocesses": subprocesses,
    "learns": learns,
    "pictures": pictures,
}


def main() -> None:
    """Run the checks and append their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = FAST | SLOW
    parser.add_argument("--ids", nargs="+", default=list(LIMITS), choices=list(LIMITS))
    parser.add_argument("--checks", nargs="+", default=list(known), choices=list(known))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    done: set[tuple[str, str]] = set()
    if arguments.out.exists():
        with arguments.out.open() as file:
            next(file)
            done = {(row["id"], row["check"]) for row in csv.DictReader(file)}
    else:
        arguments.out.write_text("# python -m scripts.robustness.gym_contracts\nid,check,result\n")
    failures = 0
    for id in arguments.ids:
        for name in arguments.checks:
            if (id, name) in done:
                continue
            result = "no original" if name == "original" and id not in gymnasium.registry else "ok"
            try:
                known[name](id)
            except Exception as error:  # whatever an id does wrong
                result = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                failures += 1
            with arguments.out.open("a") as file:
                csv.writer(file, lineterminator="\n").writerow([id, name, result])
            print(id, name, result, flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    assert mbrl.envs  # the ids are registered by its import
    main()

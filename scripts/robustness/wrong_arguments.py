"""Call every public function with wrong arrays; each should be answered by a ValueError.

python -m scripts.robustness.wrong_arguments [--out results/robustness/wrong_arguments.csv]

Each array of each call is replaced in turn: other widths and dimensions, one row more, no row, NaN,
infinity, complex numbers, text, None, a tensor of another device. The error should name the
argument, and the shape where that is wrong. float64, integers, numpy arrays and lists are right
input: they should give what float32 gives. One row per call and argument in the table.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
import yaml
from torch import Tensor

import mbrl
import mbrl.envs
from mbrl.buffer import ReplayBuffer
from mbrl.config import instantiate
from mbrl.imagination import ImaginedVecEnv, ModelEnv, ModelVectorEnv, rollout
from mbrl.planners import UPMPC
from mbrl.report import k_step_error
from mbrl.types import ActionSpec, Task, Transitions

CONFIGS = Path(mbrl.__file__).parent / "configs"
OBS_DIM, ACT_DIM, ROWS = 3, 2, 6
ACTION = ActionSpec.box([-1.0, -2.0], [1.0, 2.0])
TRAINING = {"_target_": "mbrl.dynamics.EnsembleTraining", "min_updates": 5, "max_updates": 5}
DENSE = {"hidden": 8, "num_layers": 1, "training": TRAINING}
SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("ensemble", "bootstrapped_ensemble"), DENSE),
    "reward_consistent": {
        "base": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
        "dynamics_reward": {"_target_": "mbrl.dynamics.ChristoffelReward", "degrees": [1]},
        "candidates": {
            "_target_": "mbrl.dynamics.CandidateGenerator",
            "holdout_ensemble": {"hidden": 8, "num_updates": 20},
        },
    },
    "sparse_relu": {"hidden": [6], "schedule": [3], "dense_updates": 9, "stage_updates": 9},
    "sindy_or_ensemble": {
        "sparse": {"_target_": "mbrl.dynamics.SINDy"},
        "dense": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
    },
    "sindy_residual": {
        "sparse": {"_target_": "mbrl.dynamics.SINDy"},
        "dense": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
    },
}
Arrays = dict[str, Tensor]


class Call(NamedTuple):
    """Public call, and the arrays that it takes."""

    name: str
    function: Callable[..., Any]  # of the arrays, by name
    arrays: Arrays
    rows: bool = True  # whether the number of rows is that of something else
    widths: bool = True  # whether the width is that of something else
    # whether NaN should be refused: not inside imagination, where planners name a model's faults
    finite: bool = True
    repeats: bool = True  # whether the same input gives the same output
    costly: bool = False  # only wrong arrays are tried
    devices: bool = True  # whether the device is that of something else
    single: bool = False  # one dimension less is one row, as in Stable-Baselines3
    opaque: bool = False  # a model's belief: a tensor, of any width and dimensions
    dims: bool = True  # whether the number of dimensions is fixed
    optional: bool = False  # whether the last array may be None


class Outcome(NamedTuple):
    """What came of a call with one wrong array."""

    call: str
    argument: str
    change: str
    verdict: str  # "" is right
    message: str


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def move(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors of a damped linear system."""
    return 0.9 * obs + 0.1 * torch.cat([action, action.sum(1, keepdim=True)], 1)


def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return minus the squared distance from zero."""
    return -next_obs.square().sum(1) - 0.1 * action.square().sum(1)


TASK = Task(reward=reward, obs_names=("x", "y", "z"))


def transitions(rows: int = 100) -> Transitions:
    """Return episodes of 20 steps of the system at random."""
    action = ACTION.sample(rows, generator=seeded(2)).view(-1, 20, ACT_DIM)
    path = [torch.randn(action.shape[0], OBS_DIM, generator=seeded(1))]
    for part in action.unbind(1):
        path.append(move(path[-1], part))
    whole = torch.stack(path, 1)
    obs, after, taken = (
        whole[:, :-1].flatten(0, 1),
        whole[:, 1:].flatten(0, 1),
        action.flatten(0, 1),
    )
    ends = torch.arange(rows) % 20 == 19
    return Transitions.from_arrays(obs, taken, after, reward(obs, taken, after), None, ends)


def build(group: str, name: str, **scope: Any) -> Any:
    """Build a part as the command line does, small."""
    node = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text()) | SMALL.get(name, {})
    given = {"device": "cpu", "seed": 0, "generator": seeded(), "total_steps": 100} | scope
    return instantiate(node, **given)


def names(group: str) -> list[str]:
    """List the choices of a group."""
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml") if file.stem != "none")


def of_fields(function: Callable[[Transitions], Any], data: Transitions) -> Callable[..., Any]:
    """Return a function of the fields of transitions, by name."""
    return lambda **arrays: function(data._replace(**arrays))


def data_calls() -> Iterator[Call]:
    """Yield the calls of the types, the buffer and the datasets."""
    data = transitions()
    fields = data._asdict()
    floats = {name: fields[name] for name in ("obs", "action", "next_obs", "reward")}
    ends = {name: fields[name] for name in ("terminated", "truncated", "episode")}
    yield Call(
        "Transitions.from_arrays", Transitions.from_arrays, floats, widths=False, optional=True
    )
    yield Call("Transitions.from_arrays ends", of_fields(lambda d: d.validated(), data), ends)
    ends_of_box = {"low": ACTION.low, "high": ACTION.high}
    yield Call("ActionSpec.box", ActionSpec.box, ends_of_box, rows=False, widths=False)
    yield Call(
        "ActionSpec.clip",
        lambda action: ACTION.clip(action),
        {"action": data.action[:6]},
        rows=False,
        finite=False,
        dims=False,
    )
    yield Call("ReplayBuffer.add", of_fields(ReplayBuffer(500, OBS_DIM, ACT_DIM).add, data), floats)
    from mbrl.data import content_hash, merge, save_dataset

    yield Call("content_hash", of_fields(content_hash, data), floats, widths=False)
    yield Call("merge", of_fields(lambda d: merge([d], [30]), data), floats, widths=False)

    count = itertools.count()

    def save(**arrays: Tensor) -> None:
        save_dataset(
            f"mine/steps{next(count)}-v0", data._replace(**arrays), ACTION, env="e", algorithm="a"
        )

    yield Call(
        "save_dataset", save, {k: v for k, v in floats.items() if k != "next_obs"}, costly=True
    )


def model_calls() -> Iterator[Call]:
    """Yield the calls of every dynamics model."""
    data = transitions()
    fields = {name: getattr(data, name) for name in ("obs", "action", "next_obs", "reward")}
    few = {name: column[:ROWS] for name, column in fields.items()}
    for name in names("dynamics"):
        if name == "simulator":  # it has the calls of its environment
            continue
        make = partial(build, "dynamics", name, obs_dim=OBS_DIM, action=ACTION, task=TASK)
        model = make()
        model.fit(data, generator=seeded())
        yield from calls_of_model(name, make, model, data, few)
        if name == "ensemble":
            error = of_fields(partial(k_step_error, model, horizon=3), data)
            yield Call("k_step_error", error, fields)
    function = mbrl.dynamics.FunctionModel(move, reward)
    yield Call(
        "FunctionModel.initial",
        function.initial,
        {"obs": few["obs"]},
        rows=False,
        widths=False,
        devices=False,
    )
    yield Call(
        "FunctionModel.step",
        lambda action: function.step(few["obs"], action)[1],
        {"action": few["action"]},
        widths=False,
        finite=False,
    )
    sequence = torch.zeros(ROWS, 5, 4, ACT_DIM)
    returns = lambda actions: rollout(function, few["obs"], actions=actions)  # noqa: E731
    yield Call("rollout", returns, {"actions": sequence}, widths=False, finite=False)


def calls_of_model(
    name: str, make: Callable[[], Any], model: Any, data: Transitions, few: Arrays
) -> Iterator[Call]:
    """Yield the calls of a model, which is fitted."""
    pair = {"obs": few["obs"], "action": few["action"]}
    fields = {key: getattr(data, key) for key in few}
    state = model.initial(few["obs"])
    fit = of_fields(lambda d: make().fit(d, generator=seeded()), data)
    yield Call(f"{name}.fit", fit, fields, costly=True)
    yield Call(f"{name}.initial", model.initial, {"obs": few["obs"]}, rows=False)
    step = lambda action: model.step(state, action)[1]  # noqa: E731
    yield Call(f"{name}.step", step, {"action": few["action"]}, finite=False)
    yield Call(f"{name}.observe", partial(model.observe, state), pair)
    yield Call(f"{name}.uncertainty", model.uncertainty, pair)


def planner_calls() -> Iterator[Call]:
    """Yield the calls of planners and of the policies' planner."""
    data = transitions()
    model = mbrl.dynamics.FunctionModel(move, reward)
    obs = data.obs[:ROWS]
    for name in names("planner"):
        if name in ("mip", "bab"):  # of ReLU networks only; what they share with others is below
            continue
        planner = build("planner", name, action=ACTION)
        plan = lambda state: planner.plan(state, model, generator=0).actions  # noqa: B023, E731
        yield Call(f"{name}.plan", plan, {"state": obs}, rows=False, widths=False, opaque=True)
    policy = build("learner", "sac", obs_dim=OBS_DIM, action=ACTION)
    ensemble = build("dynamics", "ensemble", obs_dim=OBS_DIM, action=ACTION, task=TASK)
    ensemble.fit(data, generator=seeded())
    up_mpc = UPMPC(dynamics=ensemble, learner=policy, action=ACTION, generator=seeded())
    yield Call(
        "UPMPC.select",
        lambda obs: up_mpc.select(obs, generator=seeded()),
        {"obs": obs},
        rows=False,
        finite=False,
        repeats=False,
    )


def policy_calls() -> Iterator[Call]:
    """Yield the calls of learners, penalties and agents."""
    data = transitions()
    obs = data.obs[:ROWS]
    for name in names("learner"):
        learner = build("learner", name, obs_dim=OBS_DIM, action=ACTION)
        select = lambda obs: learner.select(obs, generator=seeded(), deterministic=True)  # noqa: B023, E731
        yield Call(f"{name}.select", select, {"obs": obs}, rows=False, finite=False)
        yield Call(f"{name}.value", partial(learner.value), {"obs": obs}, rows=False, finite=False)
    for name in AGENTS:
        agent = mbrl.GymAgent(name, "pendulum")
        act = partial(agent.agent.act, explore=False)
        predict = lambda obs: agent.predict(obs, deterministic=True)[0]  # noqa: B023, E731
        obs = {"obs": torch.full((1, agent.env.obs_dim), 0.1)}
        draws = name in ("random", "pets", "sindy_mpc")  # of a generator that goes on
        widths = name != "random"
        yield Call(f"{name}.act", act, obs, rows=False, widths=widths, repeats=not draws)
        yield Call(f"{name}.predict", predict, obs, rows=False, repeats=not draws, single=True)


AGENTS = ("random", "sac", "mbpo", "pets", "coplanner", "sb3_sac", "sindy_rl", "sindy_mpc")


def env_calls() -> Iterator[Call]:
    """Yield the calls of environments, own, gymnasium's, and those made of models."""
    model = mbrl.dynamics.FunctionModel(move, reward)
    starts = transitions().obs[:ROWS]
    for name in (
        "Pendulum-v1",
        "Hopper-v5",
        "Reacher-v5",
        "CartPole-v1",
    ):
        make: Any = mbrl.make_vec
        env = make(name, num_envs=2)
        action = torch.zeros(2, env.action.dim)
        step = lambda action: (env.reset(0), env.step(action).next_obs)[1]  # noqa: B023, E731
        yield Call(f"{name}.step", step, {"action": action}, devices=False)
        if name in ("Pendulum-v1", "Hopper-v5"):
            env.reset(0)
            state = env.env_state()
            simulate = lambda state, action: env.simulate(state, action)[0]  # noqa: B023, E731
            arrays = {"state": state, "action": torch.zeros(2, 3, env.action.dim)}
            yield Call(f"{name}.simulate", simulate, arrays, devices=False, finite=False)
    single = gymnasium.make("mbrl/Pendulum-v1", disable_env_checker=True).unwrapped
    yield Call(
        "mbrl/Pendulum-v1.step",
        lambda action: (single.reset(seed=0), single.step(action)[0])[1],
        {"action": torch.zeros(1)},
        rows=False,
        devices=False,
    )
    vector = gymnasium.make_vec("mbrl/Hopper-v5", num_envs=2)
    yield Call(
        "mbrl/Hopper-v5 vector.step",
        lambda action: (vector.reset(seed=0), vector.step(action)[0])[1],
        {"action": torch.zeros(2, 3)},
        devices=False,
    )

    def imagined(num: int) -> ImaginedVecEnv:
        return ImaginedVecEnv(model, starts=starts, num_envs=num, action=ACTION, generator=seeded())

    world, worlds = ModelEnv(imagined(1)), ModelVectorEnv(imagined(2))
    yield Call(
        "ImaginedVecEnv.step",
        lambda action: imagined(2).step(action).next_obs,
        {"action": torch.zeros(2, ACT_DIM)},
        devices=False,
    )
    yield Call(
        "ModelEnv.step",
        lambda action: (world.reset(seed=0), world.step(action)[0])[1],
        {"action": torch.zeros(ACT_DIM)},
        rows=False,
        devices=False,
    )
    yield Call(
        "ModelVectorEnv.step",
        lambda action: (worlds.reset(seed=0), worlds.step(action)[0])[1],
        {"action": torch.zeros(2, ACT_DIM)},
        devices=False,
    )


def mutants(call: Call, array: Tensor) -> Iterator[tuple[str, Any, str]]:
    """Yield (change, value, kind) of an array; kinds: shape, empty, type, device, value, same."""
    yield from other_shapes(call, array)
    yield "no row", array[:0], "empty"
    yield "complex", array.to(torch.complex64), "type"
    yield "text", "nonsense", "type"
    yield "list of text", [["a"]], "type"
    yield "rows of different lengths", [[0.0, 1.0], [0.0]], "type"
    yield "objects", np.array([None, "a"], dtype=object), "type"
    yield "a dictionary", {"a": 1.0}, "type"
    masked = np.ma.masked_array(array.numpy(), np.ones(array.shape, bool))
    yield "masked numbers", masked, "type"
    yield "None", None, "free" if call.optional else "type"
    if call.devices:
        yield "another device", array.to("meta"), "device"
    if array.is_floating_point():
        for what, value in (("NaN", torch.nan), ("infinity", torch.inf)):
            wrong = array.clone()
            wrong.view(-1)[0] = value
            yield what, wrong, "value" if call.finite else "free"
    if not call.costly and not call.opaque:
        if array.is_floating_point():
            yield "float64", array.double(), "same"
            yield "float16 of whole numbers", array.round().half(), "runs"
        yield "numpy", array.numpy(), "same"
        there = array.numpy()
        yield "other byte order", there.astype(there.dtype.newbyteorder(">")), "same"
        yield "backward strides", np.flip(np.flip(there).copy()), "same"
        if array.is_floating_point():
            yield "longer floats", there.astype(np.longdouble), "same"
            yield "a gradient", array.clone().requires_grad_(), "same"
        yield "list", array.tolist(), "same"


def other_shapes(call: Call, array: Tensor) -> Iterator[tuple[str, Any, str]]:
    """Yield an array in other shapes."""
    width = array.shape[-1]
    if array.dim() > 1 and call.widths:
        yield "one column more", torch.cat([array, array[..., :1]], -1), "shape"
        if width > 1:
            yield "one column less", array[..., :-1], "shape"
    if array.dim() == 1 and not call.rows and call.widths:
        yield "one number more", torch.cat([array, array[:1]]), "shape"
    if call.rows:
        yield "one row more", torch.cat([array, array[:1]]), "shape"
    if call.dims and not call.opaque:
        if array.dim() > 1 and not call.single:
            yield "one dimension less", array[0], "shape"
        yield "one dimension more", array[None], "shape"
    yield "a number", torch.tensor(0.5), "shape"


def numbers(result: Any) -> list[Tensor]:
    """Return the numbers in a result, one tensor each."""
    if isinstance(result, Tensor | np.ndarray):
        return [torch.as_tensor(result)]
    if isinstance(result, tuple | list):
        return [tensor for part in result for tensor in numbers(part)]
    return []


def has_shape(message: str, value: Any) -> bool:
    """Return whether a message names the shape of a value, or its width where rows were chosen."""
    shape = tuple(np.shape(value))
    return str(shape) in message or (len(shape) == 2 and f", {shape[1]}) should" in message)


def judge(call: Call, argument: str, change: str, value: Any, kind: str) -> Outcome:
    """Run a call with one array replaced."""
    arrays = call.arrays | {argument: value}
    try:
        result = call.function(**arrays)
    except ValueError as error:
        message = str(error)
        either = kind == "device" or change == "one row more"  # of two that differ, either is wrong
        named = [*call.arrays, "should be on"] if either else [argument]
        verdict = ""
        if kind in ("same", "runs"):
            verdict = "right input refused"
        elif len(message.splitlines()) != 1:
            verdict = "not one line"
        elif kind != "free" and not any(name in message for name in named):
            verdict = "argument not named"
        elif kind == "shape" and not either and not has_shape(message, value):
            verdict = "shape not named"
        return Outcome(call.name, argument, change, verdict, message)
    except Exception as error:  # the finding itself
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Outcome(call.name, argument, change, "another error", message)
    if kind in ("shape", "type", "device", "value"):
        return Outcome(call.name, argument, change, "accepted", "")
    if kind == "same" and call.repeats:
        expected = numbers(call.function(**call.arrays))
        equal = len(expected) == len(numbers(result)) and all(
            torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
            for a, b in zip(expected, numbers(result), strict=True)
        )
        if not equal:
            return Outcome(call.name, argument, change, "another result", "")
    return Outcome(call.name, argument, change, "", "")


def outcomes(calls: Iterator[Call]) -> Iterator[Outcome]:
    """Yield what came of every wrong array of every call."""
    for call in calls:
        call.function(**call.arrays)  # right input runs
        for argument, array in call.arrays.items():
            for change, value, kind in mutants(call, array):
                yield judge(call, argument, change, value, kind)


def all_calls() -> Iterator[Call]:
    """Yield every call."""
    for group in (data_calls, model_calls, planner_calls, policy_calls, env_calls):
        yield from group()


def main() -> None:
    """Write the table, and the failures to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/wrong_arguments.csv"))
    options = parser.parse_args()
    counts: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        for outcome in outcomes(all_calls()):
            key = outcome.call, outcome.argument
            counts.setdefault(key, Counter())["tries"] += 1
            if outcome.verdict:
                counts[key]["failures"] += 1
                print(*outcome, sep=" | ", flush=True)
    with options.out.open("w", newline="") as file:
        file.write("# python -m scripts.robustness.wrong_arguments\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["call", "argument", "tries", "failures"])
        for key, count in counts.items():
            writer.writerow([*key, count["tries"], count["failures"]])
    tries, failures = (sum(c[k] for c in counts.values()) for k in ("tries", "failures"))
    print(f"{len(counts)} arguments, {tries} tries, {failures} failures")


if __name__ == "__main__":
    main()

"""Building by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.config import build, compose, instantiate, make_env
from mbrl.errors import BadInput
from tests.config.parts import HERE, Sizes, compose_toy

ARM: dict[str, Any] = {
    "_target_": "mbrl.envs.tasks.Mjcf",
    "path": str(Path(__file__).parents[2] / "examples/own/arm.xml"),
}


def fresh(part: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(part))


def test_instantiate_builds_nested_nodes_and_injects_by_name():
    inner = {"_target_": f"{HERE}.Inner", "scale": 2.0}
    node = {
        "_target_": f"{HERE}.Outer",
        "_requires_": ["x"],
        "inner": inner,
        "others": [inner, {**inner, "obs_dim": 7}],
        "schedule": [3, 4],
    }
    outer = instantiate(node, "part", fresh, obs_dim=5, unneeded=1)
    assert (outer.inner.obs_dim, outer.inner.scale, outer.schedule) == (5, 2.0, (3, 4))
    assert [other.obs_dim for other in outer.others] == [5, 7]
    seeds = [p.generator.initial_seed() for p in (outer, outer.inner, outer.others[0])]
    assert seeds == [len("part"), len("part.inner"), len("part.others.0")]


def test_what_a_nested_part_refuses_is_named_by_its_key():
    node = {"_target_": f"{HERE}.Outer", "inner": {"_target_": f"{HERE}.Picky", "size": 3}}
    with pytest.raises(BadInput, match=r"^part\.inner\.size=3: should be even$"):
        instantiate(node, "part", fresh)


def test_what_the_node_gives_is_not_injected():
    node = {"_target_": f"{HERE}.Inner", "obs_dim": 3, "generator": None}
    assert instantiate(node, "x", fresh, obs_dim=5).generator is None
    assert instantiate(node, "x", fresh, obs_dim=5).obs_dim == 3


def test_build_gives_each_part_what_it_names(mine):
    config, _ = compose_toy(
        mine, "dynamics=toy", "planner=toy", "learner=model", "bonus=big", "env.num_envs=3"
    )
    parts = build(config)
    given = parts.agent.given  # type: ignore[attr-defined]
    assert parts.env.num_envs == 3 and parts.make_eval_env(2).num_envs == 2
    assert given["env"] is parts.env and given["action"] is parts.env.action
    assert given["learner"].dynamics is given["dynamics"]
    assert given["bonus"] == Sizes(3) and type(given["planner"]).__name__ == "ToyPlanner"
    assert given["total_steps"] == 5000 and parts.buffer.capacity == 5001  # a multiple of num_envs
    assert build({**config, "buffer_size": 10}).buffer.capacity == 10


def test_the_seed_decides_every_generator(mine):
    def seed(*arguments):
        agent = build(compose_toy(mine, *arguments).config).agent
        return agent.given["generator"].initial_seed()  # type: ignore[attr-defined]

    assert seed() == seed() == seed("planner=toy")
    assert seed() != seed("seed=1")


def test_a_device_that_is_not_there_is_refused(mine):
    found = torch.cuda.device_count()
    with pytest.raises(BadInput, match=f"there are {found} CUDA devices"):
        build(compose_toy(mine, f"device=cuda:{found}").config)


@pytest.mark.parametrize(
    "node, words",
    [
        (
            {"_target_": "gymnasium.envs.classic_control.CartPoleEnv"},
            "env._target_=gymnasium.*: it makes a CartPoleEnv, no VecEnv; .*env.id=MODULE:ID",
        ),
        (
            {"_target_": "mbrl.envs.GymnasiumVecEnv", "id": "CartPole-v1", "task": {"reward": 3}},
            "env.task: a dict should be an mbrl.types.Task; in YAML, the _target_ of a function",
        ),
        (
            {"_target_": "mbrl.envs.GymnasiumVecEnv", "id": "CartPole-v1", "task": {}},
            "env.task: a dict should be",
        ),
        (
            {"_target_": "mbrl.envs.mujoco_env", "task": ARM | {"costs": [{"sensor": "hnd"}]}},
            r"^env.task.costs.0.sensor=hnd: did you mean hand\?",
        ),
    ],
)
def test_what_is_no_environment_or_no_task_is_named(node, words):
    config = {"seed": 0, "device": "cpu", "total_steps": 1, "dataset": None, "env": node}
    with pytest.raises(BadInput, match=words):
        make_env(config)


class Broken:
    """A part whose constructor has a fault of its own."""

    def __init__(self, size: int = 1):
        raise KeyError("weights")


def test_a_part_that_cannot_be_built_is_bad_input_with_the_line_that_raised():
    where = rf"^agent._target_={__name__}.Broken: cannot be built \(KeyError: 'weights', "
    with pytest.raises(BadInput, match=where + r"test_build.py line [0-9]+\)$"):
        instantiate({"_target_": f"{__name__}.Broken"}, "agent")


def test_a_module_that_cannot_be_imported_is_bad_input_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "halved.py").write_text("class Part(:\n")
    with pytest.raises(BadInput, match=r"agent._target_=halved.Part: cannot be imported \(Synt"):
        instantiate({"_target_": "halved.Part"}, "agent")


def test_updates_are_of_the_precision_that_is_asked_for_and_else_float32():
    config = compose(["agent=sac", "env=pendulum", "learner.precision=bf16"]).config
    assert build(config).agent.learner._updates.settings.bfloat16
    del config["learner"]["precision"]  # as in a run that an older version saved
    assert not build(config).agent.learner._updates.settings.bfloat16

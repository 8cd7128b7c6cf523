"""Help: every parameter, in 80 columns."""

import re

import pytest
import yaml

from mbrl.config import compose
from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.compose import assemble
from mbrl.config.describe import describe
from mbrl.config.library import Library
from mbrl.config.signatures import read_signature
from mbrl.errors import BadInput
from tests.config.parts import HERE, write


def parameters_of(node, key):
    """The keys that a part and the parts within it can be set by, but those given by the run."""
    injected = {*FROM_RUN, *FROM_ENV, *Library().defaults}
    for name, parameter in read_signature(node["_target_"]).parameters.items():
        if name in node or (parameter.default is not None and name not in injected):
            yield f"{key}.{name}"
        if isinstance(node.get(name), dict) and "_target_" in node[name]:
            yield from parameters_of(node[name], f"{key}.{name}")


@pytest.mark.parametrize("agent", Library().choices("agent"))
def test_help_shows_every_parameter_of_every_part_in_80_columns(agent):
    shown = describe([f"agent={agent}"])
    keys = [line[2:].partition("=")[0] for line in shown.splitlines() if re.match(r"  \w", line)]
    config = assemble([f"agent={agent}"], Library()).config
    parts = [group for group in Library().defaults if "_target_" in (config.get(group) or {})]
    wanted = [key for group in parts for key in parameters_of(config[group], group)]
    assert {"agent", "env"} <= set(parts) and len(wanted) > 3
    assert set(keys) >= {*wanted, "total_steps", "logger.wandb"}
    assert len(keys) == len(set(keys)) and not any(key.endswith(".generator") for key in keys)
    for line in shown.splitlines():
        assert len(line) <= 80 or len(line.split()) == 1, line


def test_help_says_what_a_value_may_be_where_it_comes_from_and_what_for():
    shown = describe(["agent=mbpo", "env=hopper", "learner.tau=0.1"])
    assert "preset experiment=mbpo_hopper is applied" in shown
    for line in (
        "  learner.tau=0.1  (typed)",
        "  learner.hidden=128  (experiment=mbpo_hopper)",
        "  dynamics.num_elites=5  (dynamics=bootstrapped_ensemble)",
        "  dynamics.training.learning_rate=0.001  (default)",
        "  seed=0  (train.yaml)",
        "  total_steps=20000  (experiment=mbpo_hopper)",
    ):
        assert line in shown.splitlines(), line
    words = " ".join(shown.split())
    assert "a whole number, at least 1 and at most num_members; networks used for" in words
    assert "environment transitions; policy updates when offline" in words


def test_help_follows_parts_within_parts(mine):
    deep = {"_target_": f"{HERE}.Limited", "deep": {"_target_": f"{HERE}.Limited", "share": 0.25}}
    write(mine, {"planner/limited": yaml.safe_dump(deep)})
    lines = describe(["env=toy", "agent=toy", "planner=limited"], mine).splitlines()
    assert f"planner.deep: {HERE}.Limited" in lines
    assert "  planner.deep.share=0.25  (planner=limited)" in lines
    assert "  planner.share=0.5  (default)" in lines


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("mbpo pendulum", "agent=mbpo env=pendulum"),
        ("pendulum agent=pets", "env=pendulum"),
        ("sac hopper seed=3", "agent=sac env=hopper"),
        ("mpbo", "agent=mbpo"),
    ],
)
def test_choices_without_their_group_are_suggested_with_it(typed, meant):
    with pytest.raises(BadInput) as caught:
        compose(typed.split())
    assert str(caught.value).endswith(f": write {meant}")


def test_a_default_that_is_a_constant_is_shown_by_its_value():
    assert "  env.max_torque=2.0  (default)\n" in describe(["env=pendulum"])

"""Roles: who plays which is told by its methods, and what a role leaves open must be written."""

import inspect
from typing import NamedTuple

import pytest
import torch

from mbrl import roles
from mbrl.roles import (
    Actor,
    Agent,
    Dynamics,
    OfflineAgent,
    Plan,
    Planner,
    has_ability,
    needed_env_state,
)
from tests.toys import ToyAgent, ToyDynamics, ToyEnv, ToyLearner, ToyModel, ToySelector

OPTIONAL = {  # role -> a class that plays it, one that does not
    roles.SimulatesFromState: (ToyEnv(), ToyModel()),
    roles.Model: (ToyModel(), ToyEnv()),
    roles.ActionSelector: (ToySelector(), ToyModel()),
    roles.PolicyLearner: (ToyLearner(), ToySelector()),
    roles.ValuesStates: (ToyLearner(), ToySelector()),
    roles.KnowsUncertainty: (ToyDynamics(), ToyModel()),
}


@pytest.mark.parametrize("role", OPTIONAL, ids=lambda role: role.__name__)
def test_a_role_is_told_by_its_methods(role):
    plays, does_not = OPTIONAL[role]
    assert isinstance(plays, role) and not isinstance(does_not, role)


@pytest.mark.parametrize("ability", [roles.SimulatesSequences, roles.KnowsUncertainty])
def test_an_ability_is_told_as_by_isinstance(ability):
    for part in (ToyEnv(), ToyModel(), ToyDynamics()):
        assert has_ability(part, ability) == isinstance(part, ability)


ABSTRACT = {
    Dynamics: {"fit", "initial", "observe", "step", "uncertainty"},
    Planner: {"start", "plan"},
    Actor: {"act", "reset", "state_dict", "load_state_dict"},
    Agent: {"act", "reset", "state_dict", "load_state_dict", "update"},
    OfflineAgent: {"act", "reset", "state_dict", "load_state_dict", "fit", "learn"},
}


@pytest.mark.parametrize("role", ABSTRACT, ids=lambda role: role.__name__)
def test_what_a_role_leaves_open_must_be_written(role):
    assert role.__abstractmethods__ == ABSTRACT[role]
    assert inspect.isabstract(role)
    with pytest.raises(TypeError, match="abstract"):
        role()
    missing = sorted(ABSTRACT[role])[0]
    written = {name: lambda self: None for name in ABSTRACT[role] - {missing}}
    with pytest.raises(TypeError, match=missing):
        type("Unfinished", (role,), written)()


def test_the_simulators_state_is_read_only_where_it_is_needed():
    class Watched(ToyEnv):
        reads = 0

        def env_state(self):
            self.reads += 1
            return super().env_state()

    env, agent = Watched(2), ToyAgent()
    state = env.reset(0)
    assert needed_env_state(agent, env) is None and env.reads == 0
    agent.needs_env_state = True
    assert needed_env_state(agent, env).equal(state) and env.reads == 1


def test_a_plans_memory_is_its_warm_start_by_its_former_name():
    class WarmStart(NamedTuple):
        mean: torch.Tensor

    warm_start = WarmStart(torch.ones(1))
    plan = Plan(torch.zeros(1, 2, 1), torch.zeros(1), warm_start, {})
    with pytest.deprecated_call(match="Plan.warm_start"):
        assert plan.memory is warm_start

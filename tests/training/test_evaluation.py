"""Evaluation: whole episodes, their returns worked out by hand."""

import math

import pytest
import torch

from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import VecStep
from mbrl.training.evaluation import (
    ENDLESS,
    check_ends,
    check_finite,
    collect_episodes,
    episode_steps,
    evaluate,
)
from tests.toys import ToyAgent, ToyEnv


class Staged(ToyEnv):
    """VecEnv whose environment i ends after i + 1 steps and pays 10^i a step."""

    obs_dim = 1
    max_episode_steps: int | None = 5

    def __init__(self, num_envs: int):
        super().__init__(num_envs)
        self.count, self.seed, self.is_closed = 0, None, False

    def reset(self, seed=None):
        self.seed = seed
        return torch.zeros(self.num_envs, 1)

    def step(self, action):
        self.count += 1
        rows = torch.arange(self.num_envs)
        obs = torch.full((self.num_envs, 1), float(self.count))
        ended = self.count % (rows + 1) == 0
        return VecStep(obs, obs, 10.0**rows, ended & (rows % 2 == 0), ended & (rows % 2 == 1))

    def close(self):
        self.is_closed = True


class Watched(ToyAgent):
    """Remember what it was asked."""

    def __init__(self):
        super().__init__()
        self.acts, self.resets = [], []

    def act(self, obs, *, explore, env_state=None):
        self.acts.append((obs[0, 0].item(), explore))
        return torch.zeros(obs.shape[0], 1)

    def reset(self, done=None, *, explore=True):
        self.resets.append((None if done is None else done.tolist(), explore))


def test_each_episode_counts_until_its_end():
    made = []

    def make(number):
        made.append(Staged(number))
        return made[-1]

    agent = Watched()
    score = evaluate(make, agent, episodes=3, seed=2)
    assert score["eval/rewards"] == [1.0, 20.0, 300.0]
    assert score["eval/mean_reward"] == pytest.approx(107.0)
    squares = [(x - 107) ** 2 for x in (1, 20, 300)]
    assert score["eval/std_reward"] == pytest.approx(math.sqrt(sum(squares) / 3))
    assert score["eval/mean_ep_length"] == 2.0 and score["eval/episodes"] == 3
    (env,) = made
    assert env.seed == 1_002_000 and env.is_closed and env.count == 3
    assert agent.acts == [(0.0, False), (1.0, False), (2.0, False)]
    assert agent.resets == [
        (None, False),
        ([True, False, False], False),
        ([True, True, False], False),
        ([True, False, True], False),
    ]


def test_evaluations_of_a_seed_repeat_and_those_of_others_differ():
    first = evaluate(ToyEnv, ToyAgent(), episodes=5, seed=3)
    assert evaluate(ToyEnv, ToyAgent(), episodes=5, seed=3) == first
    other = evaluate(ToyEnv, ToyAgent(), episodes=5, seed=4)
    assert not set(other["eval/rewards"]) & set(first["eval/rewards"])  # no start in common


def test_steps_are_numbered_until_all_episodes_have_ended():
    running, numbers = torch.tensor([True, True]), []
    for number in episode_steps(Staged(2), running):
        numbers.append(number)
        running[number - 1] = False
    assert numbers == [1, 2]


def test_an_episode_that_outlasts_its_limit_is_a_fault():
    with pytest.raises(EnvironmentFault) as caught:
        list(episode_steps(Staged(3), torch.tensor([False, False, True])))
    assert str(caught.value) == "environment 2, step 5: the episode has not ended after 5 steps"


def test_an_episode_without_a_limit_ends_the_evaluation():
    class Endless(ToyEnv):
        max_episode_steps: int | None = None

    steps = episode_steps(Endless(2), torch.tensor([True, True]))
    with pytest.raises(EnvironmentFault, match=r"env\.max_episode_steps=1000") as caught:
        list(steps)
    assert (caught.value.index, caught.value.step) == (0, ENDLESS)


@pytest.mark.parametrize(
    "value, kind", [(math.nan, "a NaN"), (math.inf, "an infinity"), (-math.inf, "an infinity")]
)
def test_what_is_not_finite_is_named_with_its_environment(value, kind):
    spoilt = torch.zeros(3, 2)
    spoilt[1, 1] = value
    with pytest.raises(EnvironmentFault) as caught:
        check_finite(7, action=torch.zeros(3, 1), observation=spoilt)
    assert str(caught.value) == f"environment 1, step 7: {kind} in the observation"
    check_finite(7, reward=torch.zeros(3))
    with pytest.raises(EnvironmentFault, match=f"environment 2, step 1: {kind} in the reward"):
        check_finite(1, reward=torch.tensor([0.0, 1.0, value]))


class Spoilt(Staged):
    """Observe a NaN in the second step, after the first action has been given."""

    def step(self, action):
        step = super().step(action)
        return step._replace(next_obs=step.next_obs / 0 * 0) if self.count == 2 else step


def test_actions_and_observations_of_an_evaluation_are_checked():
    with pytest.raises(EnvironmentFault, match="environment 0, step 2: a NaN in the observation"):
        evaluate(Spoilt, Watched(), episodes=2, seed=0)

    class Lost(Watched):
        def act(self, obs, *, explore, env_state=None):
            return super().act(obs, explore=explore) / 0

    with pytest.raises(EnvironmentFault, match="environment 0, step 1: a NaN in the action"):
        evaluate(Staged, Lost(), episodes=2, seed=0)


def test_fresh_data_are_one_whole_episode_of_each_environment():
    data = collect_episodes(ToyEnv(3), ToyAgent(), seed=2)
    assert data.episode.unique().tolist() == [0, 1, 2]
    assert data.obs[:3].equal(ToyEnv(3).reset(2_000_002_000))  # apart from all other seeds
    for number in range(3):
        rows = data.select(data.episode == number)
        assert len(rows.reward) == 20 and rows.next_obs[:-1].equal(rows.obs[1:])
        assert (rows.terminated | rows.truncated).nonzero().tolist() == [[19]]
        assert torch.allclose(rows.action, -rows.obs.sum(1, keepdim=True).clamp(-1, 1))


def test_an_episode_that_ends_early_adds_nothing_afterwards():
    class Pushed(ToyAgent):
        def act(self, obs, *, explore, env_state=None):
            return torch.ones(obs.shape[0], 1)  # out at 3, from each start after other steps

    data = collect_episodes(ToyEnv(4), Pushed(), seed=0)
    lengths = [int((data.episode == number).sum()) for number in range(4)]
    assert len(set(lengths)) > 1 and max(lengths) <= 20
    for number in range(4):
        rows = data.select(data.episode == number)
        assert (rows.terminated | rows.truncated).nonzero().tolist() == [[lengths[number] - 1]]


def test_episodes_that_never_end_are_named_before_a_run():
    class Endless(ToyEnv):
        max_episode_steps = None

        def step(self, action):
            self._elapsed[:] = 0
            return super().step(0 * action)

    with pytest.raises(BadInput, match="no episode has ended in 10000 random steps"):
        check_ends(Endless, 0)

    class Limited(Endless):
        max_episode_steps = 20

    class Ends(ToyEnv):
        max_episode_steps = None

    for make in (Limited, Ends, None):
        check_ends(make, 0)

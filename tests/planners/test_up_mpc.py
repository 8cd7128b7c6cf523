"""UP-MPC against a plain loop, probabilities computed by hand, and its rules."""

import math
import random

import pytest
import torch

from mbrl.errors import BadInput, NumericalFault
from mbrl.planners import UPMPC
from mbrl.types import ActionSpec, Prediction
from tests.toys import ACTION, ToyModel, ToySelector, generator

WIDE = ActionSpec("continuous", torch.tensor([-2.0]), torch.tensor([2.0]))


class World:
    """x' = x + a; reward, uncertainty and end are odd functions of (x, a, x'), as plain floats."""

    def __init__(self, bound: float):
        self.bound = bound

    def outcome(self, x: float, a: float) -> tuple[float, float, float, bool, bool]:
        after = x + a
        return after, math.sin(3 * after) - 0.1 * a * a, abs(math.cos(2 * x)) + 0.3 * abs(a), (
            abs(after) > self.bound
        ), abs(after) < 5  # fmt: skip


class WorldModel:
    """The same as a batched model."""

    def __init__(self, world: World):
        self.bound = world.bound

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        x, a = state[:, 0], action[:, 0]
        y = x + a
        reward = torch.sin(3 * y) - 0.1 * a * a
        doubt = torch.cos(2 * x).abs() + 0.3 * a.abs() if with_uncertainty else None
        return y[:, None], Prediction(y[:, None], reward, y.abs() > self.bound, y.abs() < 5, doubt)


class NotingPolicy:
    """Acts by -x / 2 + noise and keeps the noise that it drew, call by call."""

    def __init__(self):
        self.draws = []

    def select(self, obs, *, generator, deterministic=False):
        noise = torch.randn(obs.shape[0], generator=generator, dtype=torch.float64)
        self.draws.append(noise)
        return (-obs[:, 0] / 2 + noise)[:, None]

    def value(self, obs):
        return 2 - obs[:, 0].abs()


def by_hand(world, xs, draws, k, horizon, alpha, discount, terminal, endless):
    """Choose one candidate's first action for each x in xs, one number at a time."""
    first, others, later = (
        (draws[0], *draws[1:2], draws[2:]) if k > 1 else (draws[0], [], draws[1:])
    )
    chosen = []
    for e, start in enumerate(xs):
        best = None
        for c in range(k):
            noise = first[e] if c == 0 else others[e * (k - 1) + c - 1]
            a, x, score, weight = -start / 2 + noise, start, 0.0, 1.0
            first_action, ended = a, False
            for h in range(horizon):
                if h:
                    a = -x / 2 + later[h - 1][e * k + c]
                after, reward, doubt, ends, valid = world.outcome(x, a)
                score += weight * (reward + alpha * doubt)
                weight *= discount
                x = after
                ended = ends and not endless
                if ended or not valid:
                    break
            if terminal and not ended:
                score += weight * (2 - abs(x))
            if best is None or score > best[0]:
                best = (score, first_action)
        chosen.append(best[1])
    return chosen


def test_1000_random_cases_choose_as_a_plain_loop_does():
    dice = random.Random(0)
    differed = 0
    for case in range(1000):
        envs, k, horizon = dice.randint(1, 6), dice.randint(1, 6), dice.randint(1, 6)
        alpha, discount = dice.uniform(-3, 3), dice.choice([0.5, 0.9, 0.97, 1.0])
        terminal, endless = dice.random() < 0.5, dice.random() < 0.3
        world, policy = World(dice.uniform(0.5, 3)), NotingPolicy()
        xs = [dice.uniform(-1, 1) for _ in range(envs)]
        selector = UPMPC(
            learner=policy,
            dynamics=WorldModel(world),
            action=WIDE,
            generator=generator(case),
            num_candidates=k,
            horizon=horizon,
            alpha=alpha,
            discount=discount,
            terminal_value=terminal,
            variant="paper" if endless else "corrected",
        )
        obs = torch.tensor(xs, dtype=torch.float64)[:, None]
        found = selector.select(obs, generator=generator(1000 + case))
        draws = [noise.tolist() for noise in policy.draws]
        wanted = by_hand(world, xs, draws, k, horizon, alpha, discount, terminal, endless)
        assert found[:, 0].tolist() == pytest.approx(wanted, abs=1e-12), case
        differed += found[:, 0].tolist() != [-x / 2 + n for x, n in zip(xs, draws[0], strict=True)]
    assert differed > 500  # most cases had something to choose


class Coin:
    """Acts 1 with probability p, else -1."""

    def __init__(self, p):
        self.p = p

    def select(self, obs, *, generator, deterministic=False):
        heads = torch.rand(obs.shape[0], 1, generator=generator) < self.p
        return torch.where(heads, 1.0, -1.0)


class Fork:
    """From 0, action 1 leads where the model is unsure; nothing pays, and nothing else is unsure.

    dear: what the unsure step costs.
    """

    def __init__(self, dear=0.0):
        self.dear = dear

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        unsure = ((state == 0) & (action == 1))[:, 0].float()
        after = state + 2 + action
        never = torch.zeros(len(after), dtype=torch.bool)
        return after, Prediction(after, -self.dear * unsure, never, ~never, unsure)


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, 1 - 0.7**5),  # unsure unless all five candidates are sure
        (-1.0, 0.3**5),  # sure unless all five are unsure
        (0.0, 0.3),  # a tie is the policy's own choice
    ],
)
def test_two_actions_are_chosen_with_the_probability_computed_by_hand(alpha, expected, horizon):
    rows = 100_000
    selector = UPMPC(
        learner=Coin(0.3),
        dynamics=Fork(),
        action=ACTION,
        generator=generator(1),
        alpha=alpha,
        horizon=horizon,
    )
    chosen = selector.select(torch.zeros(rows, 1), generator=generator(2))
    share = (chosen == 1).double().mean().item()
    assert share == pytest.approx(expected, abs=4.5 * math.sqrt(expected * (1 - expected) / rows))
    assert selector.metrics()["alpha"] == alpha


def test_a_bonus_is_weighed_against_what_it_costs():
    """The unsure branch costs 2: alpha = 1.9 does not pay for it, alpha = 2.1 does."""
    for alpha, expected in ((1.9, 0.3**5), (2.1, 1 - 0.7**5)):
        selector = UPMPC(
            learner=Coin(0.3),
            dynamics=Fork(2.0),
            action=ACTION,
            generator=generator(1),
            alpha=alpha,
        )
        chosen = selector.select(torch.zeros(20_000, 1), generator=generator(2))
        assert (chosen == 1).double().mean().item() == pytest.approx(expected, abs=0.02)


def test_measured_alpha_flips_and_spreads_are_those_computed_by_hand():
    """Rewards -2 u: spread(R) / spread(u) = 2, and 1.5 of it outbids every reward."""
    rows = 50_000
    selector = UPMPC(
        learner=Coin(0.5),
        dynamics=Fork(2.0),
        action=ACTION,
        generator=generator(1),
        alpha=1.5,
        scale_alpha=True,
        num_candidates=2,
    )
    assert selector.metrics() == {}
    chosen = selector.select(torch.zeros(rows, 1), generator=generator(2))
    assert (chosen == 1).double().mean().item() == pytest.approx(0.75, abs=0.01)
    found = selector.metrics()
    assert found["alpha"] == pytest.approx(3.0) and found["spread_ratio"] == pytest.approx(2.0)
    assert found["flipped"] == pytest.approx(0.5, abs=0.01)  # wherever the two differ
    assert found["action_spread"] == pytest.approx(0.5, abs=0.01)  # 1 half range where they do


def test_measurements_of_single_choices_are_averages_of_the_last_hundred():
    selector = UPMPC(
        learner=Coin(0.5), dynamics=Fork(), action=ACTION, generator=generator(1), num_candidates=2
    )
    draws, spreads = generator(2), []
    for _ in range(300):
        selector.select(torch.zeros(1, 1), generator=draws)
        spreads.append(selector.metrics()["action_spread"])
    assert spreads[0] in (0.0, 1.0) and 0.3 < spreads[-1] < 0.7
    assert len(set(spreads)) > 100


class Ending:
    """Pays 1 and doubts 1 at every step; action 1 ends at once. Belief: obs."""

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        ended = action[:, 0] > 0
        one = torch.ones(len(state))
        return state, Prediction(state, one, ended, torch.ones_like(ended), one)


@pytest.mark.parametrize(
    ("alpha", "variant", "expected"),
    [
        (0.0, "corrected", 0.3**5),  # a longer life earns more
        (1.0, "corrected", 0.3**5),
        (-2.0, "corrected", 1 - 0.7**5),  # less doubt to come
        (1.0, "paper", 0.3),  # as released: an end changes nothing, all candidates tie
    ],
)
def test_candidates_that_end_earn_nothing_further(alpha, variant, expected):
    class Steady(Coin):
        def select(self, obs, *, generator, deterministic=False):
            if obs[0, 0] == 1:  # later on
                return -torch.ones(obs.shape[0], 1)
            return super().select(obs, generator=generator)

    class Marking(Ending):
        def step(self, state, action, **options):
            _, pred = super().step(state, action, **options)
            return torch.ones_like(state), pred._replace(next_obs=torch.ones_like(state))

    selector = UPMPC(
        learner=Steady(0.3),
        dynamics=Marking(),
        action=ACTION,
        generator=generator(1),
        alpha=alpha,
        variant=variant,
        horizon=3,
    )
    chosen = selector.select(torch.zeros(20_000, 1), generator=generator(2))
    assert (chosen == 1).double().mean().item() == pytest.approx(expected, abs=0.02)


def plain(**options):
    options = {"learner": ToySelector(), "dynamics": ToyModel(), **options}
    return UPMPC(action=ACTION, generator=generator(5), **options)


@pytest.mark.parametrize("variant", ["corrected", "paper"])
def test_one_candidate_is_the_policy_bit_for_bit(variant):
    obs = torch.randn(37, 2, generator=generator(1))
    ours, policys = generator(2), generator(2)
    selector = plain(num_candidates=1, variant=variant)
    for _ in range(3):
        found = selector.select(obs, generator=ours)
        assert found.equal(ToySelector().select(obs, generator=policys))
        assert ours.get_state().equal(policys.get_state())


def test_the_caller_loses_one_draw_of_the_policy_whatever_is_planned():
    obs = torch.randn(37, 2, generator=generator(1))
    ours, policys = generator(2), generator(2)
    selector = plain(num_candidates=7, variant="paper", num_noise_candidates=2)
    first = ToySelector().select(obs, generator=policys)
    found = selector.select(obs, generator=ours)
    assert ours.get_state().equal(policys.get_state())
    assert not found.equal(first)
    mean = selector.select(obs, generator=ours, deterministic=True)
    assert mean.equal(ToySelector().select(obs, generator=policys, deterministic=True))
    assert ours.get_state().equal(policys.get_state())


def test_chunks_keep_each_row_to_its_own_candidates():
    """With a policy that is sure of itself nothing depends on the draws."""

    class Sure:
        def select(self, obs, *, generator, deterministic=False):
            return ACTION.clip(obs[:, :1] * 3)

    obs = torch.randn(50, 2, generator=generator(1))
    for chunk in (1, 12, 10_000):
        selector = plain(learner=Sure(), chunk=chunk)
        assert selector.select(obs, generator=generator(2)).equal(ACTION.clip(obs[:, :1] * 3))


def test_noise_widens_the_candidates_of_a_narrow_policy():
    class Narrow:
        def select(self, obs, *, generator, deterministic=False):
            return torch.zeros(obs.shape[0], 1)

    obs = torch.randn(200, 2, generator=generator(1))
    narrow = plain(learner=Narrow(), num_candidates=8)
    assert narrow.select(obs, generator=generator(2)).unique().tolist() == [0]
    assert narrow.metrics()["action_spread"] == 0
    wide = plain(learner=Narrow(), num_candidates=8, num_noise_candidates=4, alpha=0.0)
    found = wide.select(obs, generator=generator(2))
    assert wide.metrics()["action_spread"] > 0.2
    assert (found.abs() <= 1).all() and len(found.unique()) > 50
    assert (found * obs.sum(1, keepdim=True)).sum() < 0  # pushes back, as pays


class Bump:
    """One step pays most at the action 0.37, and is surest there."""

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        miss = (action[:, 0] - 0.37).abs()
        never = torch.zeros(len(state), dtype=torch.bool)
        return state, Prediction(state, -miss, never, ~never, miss)


def test_noise_is_drawn_anew_around_the_better_half():
    """Refits close in on what is better, which alpha decides."""
    obs = torch.zeros(300, 2)
    options = {"dynamics": Bump(), "horizon": 1, "alpha": 0.5}
    options |= {"num_candidates": 9, "num_noise_candidates": 8}
    missed = [
        (plain(num_noise_refits=refits, **options).select(obs, generator=generator(2)) - 0.37)
        .abs()
        .mean()
        for refits in (0, 2, 4)
    ]
    assert missed[0] > 3 * missed[1] and missed[1] > 1.5 * missed[2]
    options |= {"alpha": 4.0}  # doubt outbids the reward: as far off as can be
    far = plain(num_noise_refits=2, **options).select(obs, generator=generator(2))
    assert (far < -0.9).double().mean() > 0.85


def test_goes_on_from_its_state_bit_for_bit():
    obs = torch.randn(9, 2, generator=generator(1))
    one, other = plain(scale_alpha=True), plain(scale_alpha=True)
    one.select(obs, generator=generator(2))
    assert not one.select(obs, generator=generator(3)).equal(
        other.select(obs, generator=generator(3))
    )
    other.load_state_dict(one.state_dict())
    for seed in (4, 5):
        a, b = (s.select(obs, generator=generator(seed)) for s in (one, other))
        assert a.equal(b) and one.metrics() == other.metrics()


def test_refusals():
    with pytest.raises(BadInput, match="needs a policy"):
        plain(learner=None)
    with pytest.raises(BadInput, match="terminal_value=True"):
        plain(terminal_value=True)
    with pytest.raises(BadInput, match="num_noise_candidates=5"):
        plain(num_noise_candidates=5)
    with pytest.raises(BadInput, match="num_noise_refits=1"):
        plain(num_noise_candidates=1, num_noise_refits=1)
    discrete = ActionSpec("discrete", torch.zeros(2), torch.ones(2), 2)
    with pytest.raises(BadInput, match="bounded"):
        UPMPC(
            learner=ToySelector(), dynamics=ToyModel(), action=discrete, generator=generator(),
            num_noise_candidates=1,
        )  # fmt: skip

    class Certain(ToyModel):
        def step(self, state, action, **options):
            after, pred = super().step(state, action, **options)
            return after, pred._replace(uncertainty=None)

    class Broken(ToyModel):
        def step(self, state, action, **options):
            after, pred = super().step(state, action, **options)
            return after, pred._replace(reward=pred.reward * math.nan)

    with pytest.raises(BadInput, match="predicts no uncertainty"):
        plain(dynamics=Certain()).select(torch.zeros(2, 2), generator=generator())
    with pytest.raises(NumericalFault, match="NaN"):
        plain(dynamics=Broken()).select(torch.zeros(2, 2), generator=generator())

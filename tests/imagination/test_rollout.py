"""The one rollout loop against a plain loop, and its rules at termination and invalid steps."""

import pytest
import torch

from mbrl.imagination.rollout import imagine, rollout
from mbrl.nn import products
from mbrl.types import Prediction
from tests.toys import ToyModel, ToySelector, generator, move, reward, terminated


class Scripted:
    """A model whose reward is 1 a step and whose flags come from the action's value."""

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        after = state + 1
        flag = action[:, 0]
        one = torch.ones_like(flag)
        doubt = 10 * one if with_uncertainty else None
        return after, Prediction(after, one, flag == 1, flag != 2, doubt)


def test_equals_a_plain_loop():
    draws = generator(1)
    obs = torch.rand(3, 2, generator=draws) * 6 - 3
    actions = torch.rand(3, 5, 7, 1, generator=draws) * 2 - 1
    found = rollout(ToyModel(), obs, actions, discount=0.9, chunk=4).value
    for e in range(3):
        for k in range(5):
            x, total, alive = obs[e : e + 1], 0.0, True
            for t in range(7):
                u = actions[e, k, t : t + 1]
                y = move(x, u)
                total += alive * 0.9**t * reward(x, u, y).item()
                alive = alive and not terminated(x, u, y).item()
                x = y
            assert found[e, k].item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 10_000])
def test_chunks_do_not_change_the_values(chunk):
    draws = generator(2)
    obs = torch.rand(4, 2, generator=draws)
    actions = torch.rand(4, 6, 3, 1, generator=draws)
    whole = rollout(ToyModel(), obs, actions).value
    torch.testing.assert_close(rollout(ToyModel(), obs, actions, chunk=chunk).value, whole)


def test_a_model_is_stepped_in_fast_products_where_rows_are_many(monkeypatch):
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: True)
    seen = {}

    class Looking(ToyModel):
        def step(self, state, action, **options):
            seen[len(action)] = products._setting().fp32_precision
            return super().step(state, action, **options)

    for num in (products.MANY_ROWS, 2):
        rollout(Looking(), torch.zeros(1, 2), torch.zeros(1, num, 3, 1))
    assert seen == {products.MANY_ROWS: "bf16", 2: products.DEFAULT}


def test_termination_ends_reward_and_terminal_value_but_an_invalid_step_bootstraps():
    actions = torch.zeros(1, 3, 4, 1)
    actions[0, 1, 1] = 1  # terminates in its second step
    actions[0, 2, 1] = 2  # the model gives up in its second step
    found = rollout(
        Scripted(),
        torch.zeros(1, 1),
        actions,
        discount=0.5,
        terminal_value=lambda obs: 100 * obs[:, 0],
        with_uncertainty=True,
    )
    earned = [1 + 0.5 + 0.25 + 0.125, 1.5, 1.5]
    # the last observation is 4 where it lived, and 2 where the row was frozen
    expected = [earned[0] + 400 * 0.5**4, earned[1], earned[2] + 200 * 0.5**2]
    assert found.value[0].tolist() == pytest.approx(expected)
    assert found.uncertainty[0].tolist() == pytest.approx([18.75, 15, 15])


class Doubling:
    """x doubles at each step and ends beyond 8; notes the largest x that it is shown."""

    def __init__(self, same_flags: bool = False):
        self.seen = 0.0
        self.same_flags = same_flags
        self.flags = None

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        self.seen = max(self.seen, state.max().item())
        after = 2 * state + action
        ended = after[:, 0] > 8
        flags = ended, torch.ones_like(ended)
        if self.same_flags:  # nobody ends
            self.flags = self.flags or (torch.zeros_like(ended), flags[1])
            flags = self.flags
        return after, Prediction(after, after[:, 0], *flags, None)


def test_a_row_that_ended_is_frozen_so_that_it_cannot_blow_up():
    model = Doubling()
    obs = torch.tensor([[5.0], [1.5], [0.01]])
    actions = torch.zeros(3, 1, 400, 1, requires_grad=True)
    value = rollout(model, obs, actions).value
    assert model.seen <= 16  # 2^400 would be infinite
    assert value[:2, 0].tolist() == [10, 3 + 6 + 12]
    value.sum().backward()
    assert torch.isfinite(actions.grad).all()
    assert actions.grad[0, 0].count_nonzero() == 1  # what follows the end changes nothing


def test_flags_that_a_model_hands_out_again_and_again():
    obs, actions = torch.rand(3, 1), torch.rand(3, 4, 3, 1)
    found = rollout(Doubling(same_flags=True), obs, actions, discount=0.9).value
    torch.testing.assert_close(found, rollout(Endless(), obs, actions, discount=0.9).value)


class Endless:
    def step(self, state, action, **options):
        after = 2 * state + action
        never = torch.zeros_like(after[:, 0], dtype=torch.bool)
        return after, Prediction(after, after[:, 0], never, ~never, None)


def test_hold_repeats_each_action():
    obs = torch.rand(2, 2, generator=generator(3))
    actions = torch.rand(2, 4, 3, 1, generator=generator(4))
    held = rollout(ToyModel(), obs, actions, hold=2, discount=0.9).value
    plain = rollout(ToyModel(), obs, actions.repeat_interleave(2, dim=2), discount=0.9).value
    torch.testing.assert_close(held, plain)


def test_policy_acts_after_the_given_actions():
    obs = torch.rand(2, 2, generator=generator(3))
    first = torch.rand(2, 4, 1, 1, generator=generator(4))

    class Deterministic:
        def select(self, obs, *, generator, deterministic=False):
            return ToySelector().select(obs, generator=generator, deterministic=True)

    found = rollout(ToyModel(), obs, first, policy=Deterministic(), horizon=5).value
    x = obs.repeat_interleave(4, 0)
    u, total = first.reshape(8, 1), torch.zeros(8)
    for _ in range(5):
        y = move(x, u)
        total += reward(x, u, y)
        x, u = y, Deterministic().select(y, generator=generator())
    torch.testing.assert_close(found, total.view(2, 4))


def test_particles_are_averaged_particle_by_particle():
    model = ToyModel()
    obs = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    state = model.initial(obs, num_particles=3)
    state = state + torch.tensor([0.0, 0.0, 0.3, 0.3, 0.6, 0.6])[:, None]
    actions = torch.zeros(2, 2, 2, 1)
    found = rollout(model, state, actions, num_particles=3).value
    for e in range(2):
        each = [
            rollout(model, obs[e : e + 1] + shift, actions[e : e + 1]).value[0, 0].item()
            for shift in (0.0, 0.3, 0.6)
        ]
        assert found[e, 0].item() == pytest.approx(sum(each) / 3, abs=1e-6)


def test_a_whole_sequence_model_gives_the_same_values():
    class Whole(ToyModel):
        def simulate(self, state, actions):
            seen = []
            for t in range(actions.shape[1]):
                state, pred = self.step(state, actions[:, t])
                seen.append(pred[:4])
            return Prediction(*(torch.stack(x, 1) for x in zip(*seen, strict=True)), None)

    obs = torch.rand(3, 2, generator=generator(5)) * 3
    actions = torch.rand(3, 4, 6, 1, generator=generator(6))
    torch.testing.assert_close(
        rollout(Whole(), obs, actions, hold=2).value,
        rollout(ToyModel(), obs, actions, hold=2).value,
    )


def test_imagine_steps_the_model_and_holds_each_action():
    obs = torch.rand(3, 2, generator=generator(1))
    asked = []

    def act(index, seen):
        asked.append((index, seen))
        return seen[:, :1] * 0.1

    steps = list(imagine(ToyModel(), obs, obs, act, 5, hold=2))
    assert [index for index, _ in asked] == [0, 1, 2]
    x, u = obs, obs[:, :1] * 0.1
    for t, step in enumerate(steps):
        if t % 2 == 0:
            u = x[:, :1] * 0.1
            assert asked[t // 2][1].equal(x)
        assert step.obs.equal(x) and step.action.equal(u) and step.alive.all() and step.all_alive
        x = move(x, u)
        assert step.next_obs.equal(x) and step.state.equal(x)


def test_imagine_freezes_rows_after_they_terminate_or_are_invalid():
    """Row 0 goes on, row 1 terminates in its second step, row 2 is invalid in its first."""
    flags = torch.tensor([[0.0, 0, 2], [0, 1, 0], [0, 0, 0], [0, 0, 0]])[..., None]
    start = torch.zeros(3, 1)
    steps = list(imagine(Scripted(), start, start, lambda index, obs: flags[index], 4))
    alive = [[True, True, True], [True, True, False], [True, False, False], [True, False, False]]
    assert [step.alive.tolist() for step in steps] == alive
    assert [step.all_alive for step in steps] == [True, False, False, False]
    states = [[1, 1, 1], [2, 2, 1], [3, 2, 1], [4, 2, 1]]
    assert [step.state[:, 0].tolist() for step in steps] == states
    assert [step.next_obs[:, 0].tolist() for step in steps] == states
    assert [step.obs[:, 0].tolist() for step in steps] == [[0, 0, 0], *states[:3]]
    assert steps[0].still_alive().tolist() == [True, True, False]


def test_imagine_may_be_left_early_and_then_asks_the_model_no_further():
    model = Doubling()
    start = torch.ones(1, 1)
    for t, _ in enumerate(imagine(model, start, start, lambda index, obs: 0 * obs, 100)):
        if t == 2:
            break
    assert model.seen == 4


@pytest.mark.parametrize(
    ("risk", "expected"),
    [(None, 5.5), (1.0, 5.5), (0.2, 1.5), (0.25, (1 + 2 + 1.5) / 2.5), (0.01, 1.0)],
)
def test_returns_are_averaged_over_the_worst_particles(risk, expected):
    """Ten particles that pay 10, 9 ... 1; of a quarter, the third counts half."""

    class Paying:
        def step(self, state, action, **options):
            flags = torch.zeros(len(state), dtype=torch.bool)
            return state, Prediction(state, state[:, 0], flags, ~flags, None)

    state = torch.arange(10.0, 0, -1)[:, None]
    actions = torch.zeros(1, 3, 1, 1)
    value = rollout(Paying(), state, actions, num_particles=10, risk=risk).value
    assert value.tolist() == [[pytest.approx(expected)] * 3]

"""What is known of an environment is compared with what it does."""

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.task_check import TaskCheck, check_task
from mbrl.types import Task, Transitions
from tests.toys import TASK, ToyEnv, collect
from tests.toys import reward as true


def data(steps: int = 60, **changes) -> Transitions:
    rows = collect(ToyEnv(2), steps).all()
    return rows._replace(**{name: change(rows) for name, change in changes.items()})


def check(task: Task, rows: Transitions) -> None:
    known = TaskCheck(task, rows.obs.shape[1], unit="row")
    for row in range(rows.reward.shape[0]):
        known.add(rows.select(torch.tensor([row])), row)
    known.check()


def refused(task: Task, rows: Transitions) -> str:
    with pytest.raises(BadInput) as caught:
        check(task, rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_right_task_passes_in_every_unit():
    rows = data()
    check(TASK, rows)
    for scale in (1e-6, 1e6):
        reward = lambda o, a, n, s=scale: s * true(o, a, n)  # noqa: E731
        check(TASK._replace(reward=reward), rows._replace(reward=scale * rows.reward))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda r: -r,
        lambda r: 0.9 * r,
        lambda r: r + 0.1 * r.abs().max(),
        lambda r: r * 0,
        lambda r: r * float("nan"),
    ],
)
def test_a_wrong_reward_is_named_with_what_came_in_every_unit(wrong, scale):
    rows = data()
    task = Task(reward=lambda o, a, n: wrong(scale * true(o, a, n)))
    words = refused(task, rows._replace(reward=scale * rows.reward))
    assert words.startswith("task.reward (") and "row 0, step 0" in words
    assert f"the environment gave {scale * rows.reward[0]:.6g}" in words
    assert "reward=None" in words and "tolerance=" in words


def test_the_row_that_contradicts_is_named_late_too():
    rows = data(900)
    late = rows.reward.clone()
    late[1721] = 1e3
    words = refused(TASK, rows._replace(reward=late))
    assert "row 0, step 1721" in words


def test_noise_of_the_reward_is_allowed_for_by_the_tolerance():
    noise = 0.05 * torch.randn(120, generator=torch.Generator().manual_seed(0))
    rows = data()
    noisy = rows._replace(reward=rows.reward + noise * rows.reward[:20].abs().max())
    assert "tolerance=" in refused(TASK, noisy)
    check(TASK._replace(tolerance=0.3), noisy)


def test_a_wrong_end_is_named():
    rows = data()
    never = Task(terminated=lambda o, a, n: torch.zeros_like(n[:, 0], dtype=torch.bool))
    check(never, rows)
    ended = torch.zeros(120, dtype=torch.bool)
    ended[70] = True
    words = refused(never, rows._replace(terminated=ended))
    assert "it is False where the environment gave terminated=True (row 0, step 70)" in words
    always = Task(terminated=lambda o, a, n: torch.ones_like(n[:, 0], dtype=torch.bool))
    assert "it is True where" in refused(always, rows) and "terminated=None" in refused(
        always, rows
    )


def test_an_end_at_the_very_threshold_is_left_to_rounding():
    rows = data()
    edge = rows.next_obs.clone()
    edge[:, 0] = 2.4
    at = Task(terminated=lambda o, a, n: n[:, 0] > 2.4)
    check(at, rows._replace(next_obs=edge, terminated=torch.ones(120, dtype=torch.bool)))
    check(at, rows._replace(next_obs=edge, terminated=torch.zeros(120, dtype=torch.bool)))


def test_cancellation_in_float32_is_no_contradiction():
    rows = data()
    far = rows._replace(obs=rows.obs + 1e4, next_obs=rows.next_obs + 1e4)
    exact = (rows.next_obs[:, 0] - rows.obs[:, 0]) / 0.01
    speed = Task(reward=lambda o, a, n: (n[:, 0] - o[:, 0]) / 0.01)
    check(speed, far._replace(reward=exact))


def test_names_and_indices_must_fit():
    assert check_task(None, 3) == Task()
    for task, words in (
        (Task(obs_names=("a", "b")), "task.obs_names: 2 names, a, b, should be 8"),
        (Task(angle_pairs=((0, 8),)), r"task.angle_pairs: \(0, 8\) should be two indices below"),
        (Task(positions=((-1, 0),)), "task.positions"),
        ({"reward": 3}, "a dict should be an mbrl.types.Task"),
    ):
        with pytest.raises(BadInput, match=words):
            check_task(task, 8)


def test_what_is_no_angle_is_named():
    words = refused(Task(angle_pairs=((0, 1),)), data())
    assert words.startswith("task.angle_pairs: (0, 1)") and "row 0, step 0" in words


@pytest.mark.parametrize(
    "task, words",
    [
        (Task(reward=lambda o, a, n: n[:, :1]), r"returned shape \(20, 1\) for 20 rows"),
        (Task(reward=lambda o, a, n: 1.0), "returned float for 20 rows"),  # type: ignore[arg-type]
        (Task(reward=lambda o, a, n: n[:, 9]), "raised IndexError"),
        (Task(terminated=lambda o, a, n: n[:, 0]), "torch.float32 should be torch.bool"),
    ],
)
def test_functions_that_return_something_else_are_named(task, words):
    with pytest.raises(BadInput, match=words):
        check(task, data())

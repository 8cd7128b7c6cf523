"""On a CUDA device the same comes out as on the CPU; `pytest -m gpu`, where there is one."""

import json

import pytest
import torch

import mbrl
from mbrl.buffer import ReplayBuffer
from mbrl.cli import main
from mbrl.dynamics.ensemble import EnsembleTraining, GaussianEnsemble
from mbrl.imagination.rollout import rollout
from mbrl.learners.sac import SAC
from mbrl.planners import CEM, ICEM, MPPI, UPMPC, Gradient
from mbrl.types import ActionSpec, Prediction, Transitions
from tests.contracts.parts import make, names
from tests.contracts.test_dynamics import SMALL
from tests.learners.sac_problems import batch_of
from tests.toys import ACTION, TASK, ToyEnv, collect, move, reward, terminated

pytestmark = pytest.mark.gpu
CUDA = "cuda"


def actions_on(device: str) -> ActionSpec:
    return ACTION._replace(low=ACTION.low.to(device), high=ACTION.high.to(device))


def draws(device: str, seed: int = 0) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def transitions(rows: int) -> Transitions:
    obs = torch.rand(rows, 2, generator=draws("cpu")) * 6.2 - 3.1
    action = ACTION.sample(rows, generator=draws("cpu", 1))
    following = move(obs, action)
    ended = terminated(obs, action, following)
    paid = reward(obs, action, following)
    no = torch.zeros_like(ended)
    return Transitions(obs, action, paid, following, ended, no, torch.arange(rows))


def ensemble(device: str, **options) -> GaussianEnsemble:
    action = actions_on(device)
    sizes = {"num_members": 3, "num_elites": 2, "hidden": 32, "num_layers": 2, **options}
    return GaussianEnsemble(
        obs_dim=2, action=action, task=TASK, generator=draws(device), device=device, **sizes
    )


@pytest.fixture(scope="module")
def twins() -> dict[str, GaussianEnsemble]:
    """One fitted ensemble on both."""
    here = ensemble("cpu", training=EnsembleTraining(min_updates=300, max_updates=300))
    here.fit(transitions(1000), generator=draws("cpu"))
    there = ensemble(CUDA)
    there.load_state_dict(here.state_dict())
    return {"cpu": here, CUDA: there}


def test_an_ensemble_predicts_and_doubts_the_same(twins):
    data = transitions(4000)
    found = {}
    for device, model in twins.items():
        state = model.initial(data.obs.to(device))
        _, found[device] = model.step(state, data.action.to(device), with_uncertainty=True)
    for one, other in zip(found["cpu"], found[CUDA], strict=True):
        assert other.device.type == CUDA
        assert torch.allclose(one.double(), other.cpu().double(), atol=1e-4)


def test_an_ensemble_is_fitted_there():
    model = ensemble(CUDA, training=EnsembleTraining(min_updates=300, max_updates=300))
    data = Transitions(*(x.to(CUDA) for x in transitions(1000)))
    metrics = model.fit(data, generator=draws(CUDA))
    assert metrics["model/updates"] == 550  # the annealing included
    _, seen = model.step(model.initial(data.obs), data.action)
    assert (seen.next_obs - data.next_obs).abs().mean() < 0.05


def test_a_fit_learns_rare_ends_there():
    training = EnsembleTraining(min_updates=10, max_updates=10)
    model = ensemble(CUDA, termination="learned", training=training)
    data = Transitions(*(x.to(CUDA) for x in transitions(2000)))
    assert 0 < data.terminated.sum() < 200
    metrics = model.fit(data, generator=draws(CUDA))
    assert metrics["model/missed_ends"] < 0.1, metrics
    assert metrics["model/false_ends"] < 0.1, metrics


@pytest.mark.parametrize("name", [n for n in names("dynamics") if n != "simulator"])
def test_every_model_predicts_there_what_it_predicts_here_and_fits(name):
    data, models = collect(ToyEnv(4), 100).all(), {}
    for device in ("cpu", CUDA):
        action = actions_on(device)
        models[device] = make(
            "dynamics", name, SMALL.get(name), obs_dim=2, action=action, task=TASK, env=ToyEnv(),
            device=device, generator=draws(device),
        )  # fmt: skip
    error = models["cpu"].fit(data, generator=draws("cpu"))["model/holdout_mse"]
    models[CUDA].load_state_dict(models["cpu"].state_dict())
    seen = {}
    for device, model in models.items():
        state = model.initial(data.obs.to(device))
        with torch.no_grad():
            seen[device] = model.step(state, data.action.to(device))[1]
    for one, other in zip(seen["cpu"][:4], seen[CUDA][:4], strict=True):
        assert other.device.type == CUDA
        assert torch.allclose(one.double(), other.cpu().double(), atol=1e-4)
    there = Transitions(*(x.to(CUDA) for x in data))
    assert models[CUDA].fit(there, generator=draws(CUDA))["model/holdout_mse"] < 2 * error + 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backward", ["manual", "autograd"])
def test_sac_takes_the_same_steps(backward, precision):
    """From one batch and noise: all draws are made on the CPU."""
    sizes = {"hidden": 32, "batch_size": 64} if precision == "fp32" else {"hidden": 128}
    learners = {}
    for device in ("cpu", CUDA):
        action = actions_on(device)
        learners[device] = SAC(
            obs_dim=2, action=action, generator=draws(device), backward=backward,
            precision=precision, **sizes,
        )  # fmt: skip
    for mine, other in zip(learners["cpu"].networks[2:], learners[CUDA].networks[2:], strict=True):
        other.copy_(mine)
    buffer = ReplayBuffer(1000, 2, 1)
    buffer.add(transitions(1000))
    for batch in learners["cpu"]._updates.batches.draw(((buffer, None),), 4):
        parts = batch.obs, batch.of_critics[:1, :, 2:], batch.next_obs, batch.reward
        parts = *parts, batch.discount, batch.noise
        for device, learner in learners.items():
            learner._updates.step(batch_of(*(x.to(device) for x in parts)))
    tolerance = 1e-4 if precision == "fp32" else 2e-3  # Adam's four steps of 3e-4, either way
    for mine, other in zip(learners["cpu"].networks[2:], learners[CUDA].networks[2:], strict=True):
        assert torch.allclose(mine, other.cpu(), atol=tolerance)


def test_a_buffer_gives_back_what_it_was_given():
    data = transitions(300)
    buffer = ReplayBuffer(200, 2, 1, CUDA)
    buffer.add(data)
    for kept, given in zip(buffer.all(), data, strict=True):
        assert kept.cpu().equal(given[100:])
    again = ReplayBuffer(200, 2, 1, CUDA)
    again.load_state_dict(
        {k: getattr(v, "cpu", lambda v=v: v)() for k, v in buffer.state_dict().items()}
    )
    for kept, given in zip(again.all(), buffer.all(), strict=True):
        assert kept.equal(given)


def test_sequences_are_scored_the_same(twins):
    actions = ACTION.sample(3 * 40 * 12, generator=draws("cpu")).view(3, 40, 12, 1)
    found = {}
    for device, model in twins.items():
        state = model.initial(torch.tensor([[1.0, 0.0], [-2.5, 0.5], [0.0, -1.0]], device=device))
        found[device] = rollout(model, state, actions.to(device), discount=0.97).value
    assert torch.allclose(found["cpu"], found[CUDA].cpu(), atol=1e-2)


class Point:
    """The damped point itself, as a model."""

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        after = move(state, action)
        never = torch.zeros_like(after[:, 0], dtype=torch.bool)
        return after, Prediction(after, reward(state, action, after), never, ~never, None)


@pytest.mark.parametrize("kind", [CEM, ICEM, MPPI, Gradient])
def test_planners_find_plans_as_good(kind):
    """Each draws its own noise there; to do nothing is a tenth worse."""
    obs, value, model = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), {}, Point()
    for device in ("cpu", CUDA):
        action = actions_on(device)
        planner = kind(action=action, horizon=8)
        state = model.initial(obs.to(device))
        plan = planner.plan(state, model, generator=draws(device, 5 + (device == CUDA)))
        assert plan.actions.device.type == device
        value[device] = plan.value.cpu()
    idle = rollout(model, obs, torch.zeros(2, 1, 8, 1)).value[:, 0]
    assert (value[CUDA] > 0.9 * idle).all()
    assert torch.allclose(value["cpu"], value[CUDA], rtol=0.02)


def test_up_mpc_chooses_by_what_the_model_says_there(twins):
    learner = SAC(
        obs_dim=2,
        action=actions_on(CUDA),
        generator=draws(CUDA),
        hidden=32,
        batch_size=64,
    )
    obs = torch.rand(500, 2, generator=draws(CUDA), device=CUDA) * 4 - 2
    own = {"learner": learner, "dynamics": twins[CUDA], "action": actions_on(CUDA)}
    doubt = {}
    for alpha in (-1e4, 0.0, 1e4):
        selector = UPMPC(**own, generator=draws(CUDA, 1), horizon=1, alpha=alpha, num_candidates=8)
        action = selector.select(obs, generator=draws(CUDA, 2))
        model = twins[CUDA]
        with torch.no_grad():
            _, seen = model.step(model.initial(obs), action, with_uncertainty=True)
        doubt[alpha] = seen.uncertainty
    assert (doubt[-1e4] <= doubt[1e4] + 1e-6).all()
    assert doubt[-1e4].mean() < doubt[0.0].mean() < doubt[1e4].mean()


@pytest.mark.parametrize("batch_size", [64, 256])
def test_sac_replays_its_updates_as_a_graph(batch_size):
    data, learners = transitions(1000), []
    for backward in ("manual", "manual", "autograd"):
        learner = SAC(
            obs_dim=2, action=actions_on(CUDA), generator=draws(CUDA), hidden=32,
            batch_size=batch_size, backward=backward,
        )  # fmt: skip
        learners.append(learner)
    learners[1]._updates._chunk = learners[1]._updates._run_eagerly
    found = []
    for learner in learners:
        buffer = ReplayBuffer(1000, 2, 1, CUDA)
        buffer.add(data)
        found.append([learner.improve(buffer, num_updates=20) for _ in range(3)][0])
        learner._updates.check()  # not every call reads its losses
    replayed, plain, derived = (torch.cat(x.networks[2:5]) for x in learners)
    assert torch.allclose(replayed, plain, atol=1e-4)
    assert torch.allclose(replayed, derived, atol=1e-3)
    assert found[0] == pytest.approx(found[1], rel=1e-2, abs=1e-3)  # of the first call


def test_a_graph_draws_from_the_rows_that_were_added_after_its_capture():
    """The first rows have reward 0 and the later ones 1: the critics learn of them."""
    learner = SAC(obs_dim=2, action=actions_on(CUDA), generator=draws(CUDA), hidden=32)
    data, buffer = transitions(1000), ReplayBuffer(100_000, 2, 1, CUDA)
    buffer.add(data._replace(reward=torch.zeros(1000)))
    for _ in range(10):
        learner.improve(buffer, num_updates=16)
    before = learner.value(data.obs.to(CUDA)).mean()
    for _ in range(50):
        buffer.add(data._replace(reward=torch.ones(1000)))
        learner.improve(buffer, num_updates=16)
    assert learner.value(data.obs.to(CUDA)).mean() > before + 1


def test_seeds_of_a_stack_end_there_where_they_end_alone():
    data = transitions(1000)

    def learners() -> list[SAC]:
        return [
            SAC(obs_dim=2, action=actions_on(CUDA), generator=draws(CUDA, seed), hidden=32)
            for seed in range(3)
        ]

    buffers = [ReplayBuffer(1000, 2, 1, CUDA) for _ in range(3)]
    for seed, buffer in enumerate(buffers):
        buffer.add(data._replace(reward=data.reward + seed))
    alone, together = learners(), learners()
    stack = SAC.stack(together)
    for num_updates in (16, 5, 16, 16, 5):
        for learner, buffer in zip(alone, buffers, strict=True):
            learner.improve(buffer, num_updates=num_updates)
        stack.improve(buffers, [None] * 3, num_updates=num_updates)
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one.networks.actor, other.networks.actor, atol=1e-3)
        assert torch.allclose(one.networks.critic, other.networks.critic, atol=1e-3)


def test_ensembles_are_fitted_together_there():
    rows = [Transitions(*(x.to(CUDA) for x in transitions(1000))) for _ in range(2)]
    training = EnsembleTraining(min_updates=300, max_updates=300)
    models = [ensemble(CUDA, training=training) for _ in range(2)]
    found = GaussianEnsemble.fit_together(models, rows, [draws(CUDA, 1), draws(CUDA, 2)])
    assert [metrics["model/updates"] for metrics in found] == [550, 550]
    for model, data in zip(models, rows, strict=True):
        _, seen = model.step(model.initial(data.obs), data.action)
        assert (seen.next_obs - data.next_obs).abs().mean() < 0.05


def test_a_buffer_adds_there_what_a_mask_names():
    data, here, there = transitions(300), ReplayBuffer(250, 2, 1), ReplayBuffer(250, 2, 1, CUDA)
    mask = torch.arange(100) % 3 > 0
    for part in (slice(0, 100), slice(100, 200), slice(200, 300)) * 2:
        rows = Transitions(*(x[part] for x in data))
        here.add_where(rows, mask)
        there.add_where(Transitions(*(x.to(CUDA) for x in rows)), mask.to(CUDA))
    assert there.num_added == here.num_added == 396
    for one, other in zip(here.all(), there.all(), strict=True):
        assert other.cpu().equal(one)


def test_several_seeds_train_and_resume_there(tmp_path):
    tiny = ["agent=mbpo", "env=pendulum", "eval_episodes=1", "agent.num_rollouts=200"]
    tiny += ["dynamics.training.min_updates=20", "dynamics.training.max_updates=50"]
    tiny += [
        "agent.updates_per_step=2",
        "agent.learning_starts=100",
        f"run_dir={tmp_path / 'runs'}",
    ]
    assert main(["train", *tiny, "num_seeds=2", f"device={CUDA}", "total_steps=120"]) == 0
    assert main(["train", "--resume", str(tmp_path / "runs"), "total_steps=140"]) == 0
    for seed in "01":
        summary = json.loads((tmp_path / "runs" / seed / "summary.json").read_text())
        assert summary["step"] == 140


@pytest.mark.parametrize("agent", ["mbpo", "coplanner", "pets", "sac"])
def test_a_run_trains_resumes_and_acts_on_the_cpu(agent, tmp_path):
    tiny = ["save_every=200", "eval_episodes=1"]
    if agent in ("mbpo", "coplanner"):
        tiny += ["agent.num_rollouts=200", "agent.updates_per_step=1"]
    if agent in ("mbpo", "coplanner", "pets"):
        tiny += ["dynamics.training.min_updates=20", "dynamics.training.max_updates=50"]
    if agent == "pets":
        tiny += [f"planner.{x}" for x in ("num_samples=20", "horizon=5", "num_iterations=1")]
    path = tmp_path / "run"
    first = [*tiny, "total_steps=220"]
    assert (
        main(["train", f"agent={agent}", "env=pendulum", "device=cuda", *first, f"run_dir={path}"])
        == 0
    )
    assert main(["train", "--resume", str(path), "total_steps=240"]) == 0
    summary = json.loads((path / "summary.json").read_text())
    assert summary["step"] == 240
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("device: cuda", "device: cpu"))
    action, _ = mbrl.load(path, accept_config=True).predict(
        torch.tensor([1.0, 0.0, 0.0]).numpy(), deterministic=True
    )
    assert abs(action).max() <= 2.0

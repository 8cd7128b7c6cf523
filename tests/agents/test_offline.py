"""Offline learning: known answers on small problems, and `mbrl train dataset=...` as typed."""

import json

import pytest
import torch
from torch.nn.functional import pad

from mbrl.agents import OfflineDyna
from mbrl.buffer import ReplayBuffer
from mbrl.cli import main
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.learners import BC, IQL, SAC, TD3BC, BellmanPenalty, UncertaintyPenalty
from mbrl.learners.sac import AutogradGradients
from mbrl.learners.sac_networks import Batch, forward, gaussian_log_prob, layers
from mbrl.types import ActionSpec, Prediction, Transitions
from tests.toys import ACTION, TASK, ToyEnv, ToyLearner, ToyModel, collect, generator

UNIT = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))
MODEL_FREE = (
    "learner.hidden=16 total_steps=60 save_every=20 eval_every=30 eval_episodes=2 log_every=10"
)


def bandit(rows: int = 4000) -> ReplayBuffer:
    """One step, actions spread over [-1, 0.8], the best one at 0.5."""
    draws = generator(3)
    action = 1.8 * torch.rand(rows, 1, generator=draws) - 1
    obs = torch.randn(rows, 2, generator=draws)
    ends = torch.ones(rows, dtype=torch.bool)
    reward = 1 - (action[:, 0] - 0.5).square()
    buffer = ReplayBuffer(rows, 2, 1)
    buffer.add(Transitions(obs, action, reward, obs, ends, ~ends, torch.arange(rows)))
    return buffer


def learned(kind, updates: int = 1500, **options) -> torch.Tensor:
    learner = kind(
        obs_dim=2, action=UNIT, generator=generator(1), hidden=32, learning_rate=1e-3, **options
    )
    data = bandit()
    learner.improve(data, num_updates=updates)
    obs = data.all().obs[:200]
    return learner.select(obs, generator=generator(2), deterministic=True).mean()


def test_cloning_gives_the_mean_action():
    assert learned(BC) == pytest.approx(-0.1, abs=0.06)


def test_td3_bc_weighs_the_best_action_against_the_mean():
    """alpha = 0 clones; a large alpha leaves the data's mean for the critic's best action."""
    assert learned(TD3BC, alpha=0.0) == pytest.approx(-0.1, abs=0.1)
    assert learned(TD3BC, 3000, alpha=50.0) == pytest.approx(0.5, abs=0.15)


def test_iql_weighs_the_actions_by_their_advantage():
    """The weighted mean action, with the weights computed by hand; temperature 0 clones."""
    action = torch.linspace(-1, 0.8, 2000)
    reward = 1 - (action - 0.5).square()
    low, high = -3.0, 3.0
    for _ in range(60):  # the expectile of the reward, by bisection
        middle = (low + high) / 2
        gap = reward - middle
        slope = (torch.where(gap > 0, 0.7, 0.3) * gap).mean()
        low, high = (middle, high) if slope > 0 else (low, middle)
    weight = (8.0 * (reward - low)).exp().clamp(max=100)
    expected = ((weight * action).sum() / weight.sum()).item()
    assert learned(IQL, 3000, temperature=8.0, tau=0.05) == pytest.approx(expected, abs=0.1)
    assert expected > 0.3
    assert learned(IQL, temperature=0.0) == pytest.approx(-0.1, abs=0.06)


def test_values_of_a_chain_are_discounted_sums():
    """Reward 1 in every step that never ends is worth 1 / (1 - discount); one that ends, 1."""
    rows = 64
    obs = torch.zeros(rows, 2)
    obs[rows // 2 :, 0] = 1.0  # here the episode ends
    ends = obs[:, 0] > 0
    buffer = ReplayBuffer(rows, 2, 1)
    action = 2 * torch.rand(rows, 1, generator=generator()) - 1
    buffer.add(Transitions(obs, action, torch.ones(rows), obs, ends, ~ends, torch.arange(rows)))
    where = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    for kind in (TD3BC, IQL):
        learner = kind(
            obs_dim=2, action=UNIT, generator=generator(1), hidden=16, learning_rate=3e-3,
            discount=0.8, tau=0.05,
        )  # fmt: skip
        learner.improve(buffer, num_updates=1500)
        torch.testing.assert_close(learner.value(where), torch.tensor([5.0, 1.0]), atol=0.2, rtol=0)


def test_the_conservative_term_is_the_gap_of_the_two_means():
    """Its gradient, against one of the gap written out on the same batch."""
    sac = SAC(obs_dim=2, action=UNIT, generator=generator(1), hidden=8, batch_size=12)
    nets, draws = sac.networks, generator(4)
    noise = torch.randn(1, 24, generator=draws)
    batch = Batch(
        torch.randn(12, 3, generator=draws), torch.randn(12, 2, generator=draws),
        torch.randn(12, generator=draws), torch.full((12,), 0.9), noise, gaussian_log_prob(noise),
    )  # fmt: skip
    plain, _ = AutogradGradients(nets, target_entropy=-1.0).critic(batch)
    options = {"target_entropy": -1.0, "conservatism": 3.0, "num_real": 5}
    pushed, _ = AutogradGradients(nets, **options).critic(batch)

    flat = nets.critic.detach().requires_grad_()
    critic = layers(flat, 2, nets.critic_sizes)
    mean, log_std = forward(batch.taken[None, :, :2], layers(nets.actor, 1, nets.actor_sizes))[0]
    action = (mean + log_std.exp() * noise[0, :12]).tanh()[:, None].detach()
    imagined = torch.cat([batch.taken[5:, :2], action[5:]], 1).expand(2, -1, -1)
    real = batch.taken[:5].expand(2, -1, -1)
    gap = forward(imagined, critic).mean(2) - forward(real, critic).mean(2)
    (expected,) = torch.autograd.grad(3.0 * gap.sum(), flat)
    torch.testing.assert_close(pushed - plain, expected, atol=1e-5, rtol=1e-4)


class Doubtful(ToyModel):
    """Two successors of each row, apart by twice the action."""

    def candidates(self, state, action, num, *, generator):
        rows = [state + (-1) ** i * pad(action, (0, 1)) for i in range(num)]
        after = torch.cat(rows)
        ends = torch.zeros(len(after), dtype=torch.bool)
        ends[0] = True
        return after, Prediction(after, ends.float(), ends, ~ends, None)


def test_mobile_charges_for_values_apart():
    learner = ToyLearner()
    learner.value = lambda obs: obs[:, 0]
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    nothing = torch.zeros(6)
    given = Transitions(obs, action, nothing, obs, nothing > 0, nothing > 0, nothing.long())
    found = BellmanPenalty(scale=2.0, num_candidates=2, discount=0.5)(given, Doubtful(), learner)
    expected = 2 * 0.5 * action[:, 0].abs()  # values obs +- action: std |action|
    first = torch.tensor([0.0, (obs[0, 0] - action[0, 0]).item()]).std(correction=0)  # one ended
    expected[0] = 2 * 0.5 * first
    torch.testing.assert_close(found, expected)


def ensemble(**options) -> GaussianEnsemble:
    return GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=8, num_layers=1,
        training=EnsembleTraining(min_updates=5, max_updates=5), **options,
    )  # fmt: skip


def test_mopo_charges_for_the_models_uncertainty():
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    nothing = torch.zeros(6)
    given = Transitions(obs, action, nothing, obs, nothing > 0, nothing > 0, nothing.long())
    model = ensemble()
    expected = model.step(model.initial(obs), action, with_uncertainty=True)[1].uncertainty
    found = UncertaintyPenalty(scale=3.0)(given, model, ToyLearner())
    torch.testing.assert_close(found, 3 * expected)
    assert (expected > 0).all()


def test_the_largest_standard_deviation_is_that_of_the_elites():
    model = ensemble(uncertainty="std")
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    x = model.inputs(torch.cat([obs, action], 1)).expand(model.num_members, -1, -1)
    out = model._run(x)
    norms = out.log_var.exp().sum(-1).sqrt()
    torch.testing.assert_close(model.uncertainty(obs, action), norms[model.elites].amax(0))
    model._uncertainty = "raw_std"
    model.targets.std.copy_(torch.tensor([2.0, 0.5, 3.0]))
    spread = out.log_var.mul(0.5).exp() * model.targets.std
    torch.testing.assert_close(
        model.uncertainty(obs, action), spread.norm(dim=-1)[model.elites].amax(0)
    )


def test_rollouts_are_renewed_when_due_however_updates_are_split():
    def run(parts):
        agent = OfflineDyna(
            dynamics=ensemble(), learner=ToyLearner(), generator=generator(5),
            num_rollouts=10, rollout_length=2, rollout_interval=7, retain_rollouts=3,
        )  # fmt: skip
        data = collect(ToyEnv(2), 40)
        agent.fit(data)
        for number in parts:
            agent.learn(data, number)
        assert agent.branched_rollouts.buffer is not None
        return agent.branched_rollouts.buffer

    whole, split = run([20]), run([1, 9, 4, 6])
    assert whole.num_added == split.num_added and 30 < whole.num_added <= 3 * 10 * 2
    assert whole.all().obs.equal(split.all().obs)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A run of random actions, from which datasets are collected."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "agent=random", "env=pendulum", "total_steps=1", "run_dir=random"]) == 0
    collect_dataset("pendulum/random-v0")
    return tmp_path


def collect_dataset(name: str, seed: int = 0) -> None:
    command = f"collect random --steps 300 --id {name} --seed {seed} --ref-max -100"
    assert main(command.split()) == 0


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


def test_a_dataset_is_learned_from_evaluated_and_reported(home, capsys):
    options = f"env=pendulum dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=td3_bc {options} run_dir=run".split()) == 0
    summary = json.loads((home / "run" / "summary.json").read_text())
    assert [e["step"] for e in summary["evaluations"]] == [30, 60]
    rows = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    scores = [row["eval/normalized_score"] for row in rows if "eval/mean_reward" in row]
    assert scores[-1] == summary["eval/normalized_score"] < 100
    capsys.readouterr()
    assert main(["eval", "run", "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["eval/mean_reward"]
    assert found == pytest.approx(summary["eval/mean_reward"])
    assert main(["report", "run", "--episodes", "1"]) == 0


def test_without_the_environment_there_is_a_report(home, capsys):
    options = f"env=dataset dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=bc {options} run_dir=run".split()) == 0
    summary = json.loads((home / "run" / "summary.json").read_text())
    assert summary["finished"] and summary["evaluations"] == []
    last = json.loads((home / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["eval/action_gap"] < 3
    assert main(["report", "run"]) == 0
    assert "the dataset: mean return" in (home / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["eval", "run"]) == 2
    assert "no environment to act in" in capsys.readouterr().err
    assert main(["train", "agent=mbpo", "env=dataset", "run_dir=other"]) == 2
    assert "env=dataset needs dataset" in capsys.readouterr().err


def test_another_dataset_under_the_same_name_is_refused(home, capsys):
    import shutil

    options = f"env=pendulum dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=iql {options} run_dir=run".split()) == 0
    shutil.rmtree(home / "datasets" / "pendulum" / "random-v0")
    collect_dataset("pendulum/random-v0", seed=7)
    capsys.readouterr()
    assert main(["train", "--resume", "run", "total_steps=90"]) == 2
    assert "its dataset is not the one it began with" in capsys.readouterr().err


def test_gym_agent_learns_from_a_dataset(home):
    from mbrl.api import GymAgent

    agent = GymAgent("td3_bc", "pendulum", dataset="pendulum/random-v0", learner={"hidden": 16})
    agent.learn(20).learn(10)
    assert agent.num_timesteps == 30
    assert agent.predict([1.0, 0.0, 0.0])[0].shape == (1,)


def test_what_needs_a_dataset_says_so(capsys):
    assert main(["train", "agent=mopo", "env=pendulum"]) == 2
    assert "agent=mopo needs dataset: give dataset=DATASET" in capsys.readouterr().err

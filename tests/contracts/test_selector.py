"""What every planning selector keeps to, over every model that knows its uncertainty."""

import pytest
import torch
import yaml

from mbrl.config import build, compose
from mbrl.roles import PlanningSelector
from tests.contracts.parts import CONFIGS, make, names
from tests.contracts.test_dynamics import build as build_model
from tests.toys import ACTION, ToyEnv, ToyLearner, collect, generator


def uncertain() -> list[str]:
    """List the models whose YAML says that they provide uncertainty."""
    says = {name: CONFIGS / "dynamics" / f"{name}.yaml" for name in names("dynamics")}
    nodes = {name: yaml.safe_load(file.read_text()) for name, file in says.items()}
    return [name for name, node in nodes.items() if "uncertainty" in node.get("_provides_", ())]


@pytest.fixture(scope="module", params=["toy", *uncertain()])
def model(request):
    model = build_model(request.param)
    model.fit(collect(ToyEnv(4), 100).all(), generator=generator(1))
    return model


VARIANTS = [
    {},
    {"variant": "paper"},
    {"scale_alpha": True, "terminal_value": True, "num_noise_candidates": 2, "num_noise_refits": 1},
]


@pytest.mark.parametrize("name", names("selector"))
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("alpha", [-2.0, 1.0])
def test_selector(name, options, alpha, model):
    def selector():
        return make(
            "selector", name, {"alpha": alpha, **options},
            learner=ToyLearner(), dynamics=model, action=ACTION, generator=generator(2),
        )  # fmt: skip

    one, other = selector(), selector()
    assert isinstance(one, PlanningSelector)
    obs = collect(ToyEnv(3), 50).all().obs
    torch.manual_seed(0)
    found = one.select(obs, generator=generator(3))
    torch.manual_seed(1)  # nothing is drawn from global randomness
    assert found.equal(other.select(obs, generator=generator(3)))
    assert found.shape == (150, 1) and found.dtype == obs.dtype
    assert (found >= ACTION.low).all() and (found <= ACTION.high).all()
    plain = ToyLearner().select(obs, generator=generator(3))
    assert not found.equal(plain)
    assert one.metrics() == other.metrics() and one.metrics()["action_spread"] > 0
    draws = generator(4)
    ToyLearner().select(obs, generator=draws)
    after = generator(4)
    one.select(obs, generator=after)
    assert after.get_state().equal(draws.get_state())  # the caller loses the policy's draws alone
    single = one.select(obs[:1], generator=generator(5))
    assert single.shape == (1, 1)


@pytest.mark.parametrize("dynamics", uncertain())
@pytest.mark.parametrize("alpha", [-2.0, 2.0])
def test_doubt_is_avoided_or_sought(dynamics, alpha):
    """Over every model the chosen first actions are less, or more, in doubt than the policy's."""
    model = build_model(dynamics)
    data = collect(ToyEnv(4), 100).all()
    noise = 0.01 * torch.randn(
        data.next_obs.shape, generator=generator(8)
    )  # so that members differ
    model.fit(data._replace(next_obs=data.next_obs + noise), generator=generator(1))
    selector = make(
        "selector", "up_mpc", {"alpha": 1000 * alpha, "horizon": 1},
        learner=Uniform(), dynamics=model, action=ACTION, generator=generator(2),
    )  # fmt: skip
    obs = collect(ToyEnv(3), 100).all().obs
    chosen = selector.select(obs, generator=generator(3))
    usual = Uniform().select(obs, generator=generator(3))

    def uncertainty(action):
        pred = model.step(model.initial(obs), action, with_uncertainty=True)[1]
        assert pred.uncertainty is not None
        return pred.uncertainty.double().mean().item()

    assert alpha * uncertainty(chosen) > alpha * uncertainty(usual)


class Uniform:
    """Any action is as likely as another."""

    def select(self, obs, *, generator, deterministic=False):
        return ACTION.sample(obs.shape[0], generator=generator)


@pytest.mark.parametrize("dynamics", uncertain())
def test_the_agent_takes_every_uncertain_model(dynamics):
    """Composed as `mbrl train` would, over a real environment and SAC."""
    training = {"_target_": "mbrl.dynamics.EnsembleTraining", "min_updates": 20, "max_updates": 40}
    dense = {"hidden": 16, "num_layers": 2, "training": training}
    arguments = [f"dynamics={dynamics}", "env=pendulum", "experiment=none", "learner.hidden=16"]
    config = compose(["agent=coplanner", *arguments, "agent.learning_starts=60",
                      "agent.num_rollouts=200", "total_steps=400"]).config  # fmt: skip
    for node in (config["dynamics"], config["dynamics"].get("dense", {})):
        if node.get("_target_", "").endswith("GaussianEnsemble"):
            node |= dense
    parts = build(config)
    buffer = collect(parts.env, 300)  # fewer, and a filter hardly stands by any step
    metrics = parts.agent.update(buffer)
    action = parts.agent.act(buffer.all().obs[:4], explore=True)
    assert action.shape == (4, 1) and action.isfinite().all()
    assert metrics["planner/rollout/alpha"] == -2 and metrics["model/alive"] > 0

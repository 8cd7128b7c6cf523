"""A NaN or an infinity is named where it enters: environment and step, or transitions so far."""

import pytest
import torch

from mbrl.agents import MPC, Dyna, ModelFree
from mbrl.buffer import ReplayBuffer
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.learners import SAC
from mbrl.planners import CEM
from mbrl.training.loop import train
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import Record
from tests.toys import ACTION, TASK, ToyAgent, ToyEnv, ToyLearner, ToyModel, generator

NAN, INF = float("nan"), float("inf")
BAD = [(NAN, "a NaN"), (INF, "an infinity"), (-INF, "an infinity")]


class Spoilt(ToyEnv):
    """Set a value in a field of environment 1's seventh step."""

    def __init__(self, num_envs=2, field="next_obs", value=NAN):
        super().__init__(num_envs)
        self.field, self.value, self.count = field, value, 0

    def step(self, action):
        self.count += 1
        step = super().step(action)
        if self.count == 7:
            tensor = getattr(step, self.field)
            tensor[1] = self.value
        return step


class SpoiltAgent(ToyAgent):
    """Set the seventh action of environment 1 to a value."""

    def __init__(self, value, explore=True):
        super().__init__()
        self.value, self.explore, self.count = value, explore, 0

    def act(self, obs, *, explore, env_state=None):
        action = super().act(obs, explore=explore)
        self.count += explore == self.explore
        if self.count == 7 and explore == self.explore:
            action[1] = self.value
        return action


def run(path, *, env=None, agent=None, make_eval_env=ToyEnv):
    folder = RunFolder.create(path / "run", {})
    return train(
        env or ToyEnv(2), agent or ToyAgent(), buffer=ReplayBuffer(102, 2, 1), run=folder,
        logger=Record(),
        make_eval_env=make_eval_env, seed=0, total_steps=100, eval_every=40, eval_episodes=2,
        save_every=10, log_every=20,
    )  # fmt: skip


@pytest.mark.parametrize(("value", "named"), BAD)
@pytest.mark.parametrize(("field", "word"), [("next_obs", "observation"), ("reward", "reward")])
def test_what_an_environment_gives(tmp_path, field, word, value, named):
    with pytest.raises(EnvironmentFault, match=f"environment 1, step 7: {named} in the {word}"):
        run(tmp_path, env=Spoilt(field=field, value=value))
    # the checkpoint before it is whole, and nothing spoilt is in it
    assert torch.isfinite(RunFolder(tmp_path / "run", {}).load("buffer")["buffer"]["rows"]).all()


@pytest.mark.parametrize(("value", "named"), BAD)
def test_what_an_agent_does(tmp_path, value, named):
    with pytest.raises(EnvironmentFault, match=f"environment 1, step 7: {named} in the action"):
        run(tmp_path, agent=SpoiltAgent(value))


@pytest.mark.parametrize("who", ["environment", "agent"])
def test_in_an_evaluation_it_says_so(tmp_path, who):
    named = r"environment 1, step 7: a NaN in the \w+ \(in the evaluation after 40 transitions\)"
    with pytest.raises(EnvironmentFault, match=named):
        if who == "agent":
            run(tmp_path, agent=SpoiltAgent(NAN, explore=False))
        else:
            run(tmp_path, make_eval_env=lambda n: Spoilt(n))


def sac(**settings):
    return SAC(obs_dim=2, action=ACTION, generator=generator(), hidden=8, batch_size=8, **settings)


@pytest.mark.parametrize("backward", ["manual", "autograd"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_a_loss(tmp_path, value, backward):
    learner = sac(backward=backward)
    agent = ModelFree(action=ACTION, learner=learner, generator=generator(), learning_starts=20)
    learner.networks.target.fill_(value)
    with pytest.raises(NumericalFault, match=r"SAC: train/\w+ is .* \(after 20 transitions\)"):
        run(tmp_path, agent=agent)


def ensemble():
    return GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=8, num_layers=1,
        training=EnsembleTraining(min_updates=5, max_updates=10),
    )  # fmt: skip


def test_the_loss_of_a_model(tmp_path):
    model = ensemble()
    model.networks.weights[0].data.fill_(1e38)
    agent = Dyna(
        action=ACTION, dynamics=model, learner=ToyLearner(), generator=generator(),
        learning_starts=20,
    )  # fmt: skip
    with pytest.raises(NumericalFault, match=r"dynamics loss is .* \(after 20 transitions\)"):
        run(tmp_path, agent=agent)


class SpoiltModel(ToyModel):
    """Predict a value for one row."""

    learned = True

    def __init__(self, field, value):
        self.field, self.value = field, value

    def fit(self, data, *, generator):
        return {}

    def step(self, state, action, **options):
        after, pred = super().step(state, action, **options)
        getattr(pred, self.field)[-1] = self.value
        return after, pred

    def state_dict(self):
        return {}


@pytest.mark.parametrize("field", ["next_obs", "reward"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_a_model_predicts(tmp_path, field, value):
    agent = Dyna(
        action=ACTION, dynamics=SpoiltModel(field, value), learner=ToyLearner(),
        generator=generator(), learning_starts=20, num_rollouts=10,
    )  # type: ignore[arg-type]  # fmt: skip
    named = r"the model predicted a NaN or an infinity \(after 20 transitions\)"
    with pytest.raises(NumericalFault, match=named):
        run(tmp_path, agent=agent)


@pytest.mark.parametrize(("value", "named"), [(NAN, "NaN"), (INF, "inf")])
def test_what_a_plan_would_cost(tmp_path, value, named):
    planner = CEM(action=ACTION, horizon=2, num_samples=8, num_elites=2, num_iterations=1)
    agent = MPC(
        action=ACTION, dynamics=SpoiltModel("reward", value), planner=planner,
        generator=generator(), learning_starts=20,
    )  # type: ignore[arg-type]  # fmt: skip
    named = rf"environment 1: the model gave a plan a return of {named} \(after 20 transitions\)"
    with pytest.raises(NumericalFault, match=named):
        run(tmp_path, agent=agent)


def test_a_checkpoint_of_other_parts_is_refused_in_one_line(tmp_path):
    run(tmp_path, agent=ModelFree(action=ACTION, learner=sac(), generator=generator()))
    folder = RunFolder.open(tmp_path / "run")
    options = {"make_eval_env": ToyEnv, "seed": 0, "total_steps": 200, "eval_every": 40,
               "eval_episodes": 2, "save_every": 10}  # fmt: skip
    for env, agent, part in ((ToyEnv(2), Dyna, "agent"), (ToyEnv(3), ToyAgent, "env")):
        made = agent() if agent is ToyAgent else Dyna(
            action=ACTION, dynamics=ensemble(), learner=sac(), generator=generator()
        )  # fmt: skip
        record = Record()
        record.rows = [{"step": step} for step in range(100)]
        with pytest.raises(BadInput, match=f"the checkpoint's {part} does not fit"):
            train(env, made, buffer=ReplayBuffer(102, 2, 1), run=folder, logger=record, **options)
        assert len(record.rows) == 100, "what was recorded stays"

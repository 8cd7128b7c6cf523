"""Broken environments: each is named with index and step, in training or at least by the doctor."""

import re
import time

import pytest
import torch

from mbrl.cli import main
from mbrl.envs import GymnasiumProcess, GymnasiumVecEnv
from mbrl.envs.check import check_env
from mbrl.errors import EnvironmentFault
from mbrl.training.loop import ENDLESS, evaluate
from mbrl.training.run_folder import RunFolder
from tests.envs.broken import HOW
from tests.toys import ToyAgent, ToyEnv

ID = "tests.envs.broken:BrokenOnPurpose-v0"
HERE = [how for how, way in HOW.items() if not way.process]
APART = [how for how, way in HOW.items() if way.process]


def make(how: str, num_envs: int = 3, *, kind=GymnasiumVecEnv, seed: int = 0, **more):
    limits = {
        "time_limit": HOW[how].limit,
        **({"memory_limit": 100} if how == "leaks memory" else {}),
    }
    return kind(ID, num_envs=num_envs, seed=seed, kwargs={"how": how}, **limits, **more)


def drive(env, steps: int = 5) -> None:
    env.reset(0)
    for _ in range(steps):
        env.step(torch.full((env.num_envs, 2), 0.5))
    env.close()


def check(how: str, env) -> None:
    way, began = HOW[how], time.monotonic()
    with pytest.raises(EnvironmentFault, match=way.named) as caught:
        drive(env)
    several = how != "leaks memory"  # whose memory it is cannot be told
    assert caught.value.index == (1 if several else None)
    assert abs(caught.value.step - way.step) <= (0 if several else 2)
    assert time.monotonic() - began < 10


def test_there_are_thirty_and_more():
    assert len(HOW) >= 30


@pytest.mark.parametrize("how", [how for how in HERE if HOW[how].named])
def test_what_breaks_is_named_with_index_and_step(how):
    check(how, make(how))


@pytest.mark.parametrize("how", APART)
def test_a_worker_process_survives_what_ends_a_process(how):
    check(how, make(how, kind=GymnasiumProcess))


@pytest.mark.parametrize("how", ["obs NaN", "step raises", "step hangs", "reset raises"])
def test_a_worker_process_names_the_same(how):
    check(how, make(how, kind=GymnasiumProcess))


@pytest.mark.parametrize("how", ["changes the action", "obs overwritten"])
def test_what_is_copied_does_no_harm(how):
    sound, broken = make("never ends"), make(how)
    assert sound.reset(0).equal(broken.reset(0))
    action, kept = torch.full((3, 2), 0.5), []
    for _ in range(5):
        steps = sound.step(action), broken.step(action)
        kept.append(steps)
        assert action.eq(0.5).all()
    for a, b in kept:
        assert all(x.equal(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("how", HERE)
def test_the_doctor_names_every_one(how):
    way = HOW[how]
    made = []

    def once():
        made.append(make(how, 1, seed=1, strict=True))
        return made[-1]

    steps = way.step if how in ("close raises", "never ends") else 30
    found = check_env(once, seed=1, num_steps=steps)
    assert found is not None, "nothing was found"
    named = re.fullmatch(r"environment 0, step (\d+): (.*)", found)
    assert named and re.search(way.doctor or way.named, named[2]), found
    assert int(named[1]) == way.step


@pytest.mark.parametrize("how", ["is killed", "leaks memory"])
def test_the_doctor_survives_what_ends_a_process(how):
    def once():
        return make(how, 1, kind=GymnasiumProcess, seed=1, strict=True)

    found = check_env(once, seed=1) or ""
    assert re.search(HOW[how].named, found) and re.match(r"environment 0, step \d: ", found)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_doctor_finds_nothing_wrong_with_a_sound_one(seed):
    def once():
        return make("step raises", 1, seed=seed, strict=True)  # only seed 1 raises

    assert check_env(once, seed=seed, num_steps=100) is None
    assert check_env(lambda: ToyEnv(2), num_steps=100) is None


def test_an_episode_without_end_ends_the_evaluation():
    class Endless(ToyEnv):
        max_episode_steps = None

        def step(self, action):
            step = super().step(action)
            return step._replace(
                terminated=step.terminated & False, truncated=step.truncated & False
            )

    with pytest.raises(EnvironmentFault, match=r"max_episode_steps=1000") as caught:
        evaluate(Endless, ToyAgent(), episodes=2, seed=0)
    assert (caught.value.index, caught.value.step) == (0, ENDLESS)


def test_a_limit_can_be_given_to_an_environment_that_never_ends():
    env = make("never ends", 2, max_episode_steps=7)
    assert env.max_episode_steps == 7
    env.reset(0)
    ends = [env.step(torch.zeros(2, 2)).truncated.all().item() for _ in range(14)]
    assert ends == [False] * 6 + [True] + [False] * 6 + [True]


def test_an_environment_that_does_not_repeat_is_named_when_it_is_restored():
    for how in ("does not repeat", "step raises"):  # the second does, up to its second step
        steps = 3 if how == "does not repeat" else 2
        env = make(how, 2)
        env.reset(0)
        for _ in range(steps):
            env.step(torch.zeros(2, 2))
        if how == "step raises":
            make(how, 2).load_state_dict(env.state_dict())
            continue
        with pytest.raises(EnvironmentFault, match="environment 1, step 3: does not repeat"):
            make(how, 2).load_state_dict(env.state_dict())


def test_a_run_outlives_an_environment_that_kills_its_process(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["agent=random", "env=gym_process", f"env.id={ID}", "env.kwargs={how: is killed}"]
    assert (
        main(["train", *arguments, "seed=1", "total_steps=9", "save_every=1", "run_dir=run"]) == 1
    )
    err = capsys.readouterr().err
    assert "environment 0, step 3: ended its process (signal 9)" in err and err.count("\n") == 1
    run = RunFolder.open(tmp_path / "run")
    run.check()
    assert [int(p.name) for p in run.checkpoints()] == [1, 2]  # all but the step that it was in


def test_a_worker_process_ends_with_its_environment():
    env = make("never ends", 1, kind=GymnasiumProcess)
    drive(env, 2)
    assert not env._process.is_alive()
    with pytest.raises((EnvironmentFault, OSError)):
        env.step(torch.zeros(1, 2))

"""Collected transitions: true successors, shares of random steps, mixtures."""

import json

import pytest
import torch

from mbrl.agents import Random
from mbrl.cli import main
from mbrl.data import Source, collect, load_dataset, merge
from mbrl.data.dataset import episodes
from mbrl.types import Transitions
from tests.data.samples import toy
from tests.toys import ACTION, ToyEnv, generator, move

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors
TINY = (
    "train agent=mbpo env=pendulum experiment=none total_steps=60 save_every=60 eval_episodes=1 "
    "agent.learning_starts=40 agent.num_rollouts=20 agent.updates_per_step=1 learner.hidden=8 "
    "dynamics.hidden=8 dynamics.num_layers=1 "
    "dynamics.training.min_updates=5 dynamics.training.max_updates=5 "
    "run_dir=run"
)


def test_successors_are_the_true_ones_across_resets():
    data = toy()
    assert len(data.reward) == 90
    torch.testing.assert_close(data.next_obs, move(data.obs, ACTION.clip(data.action)))
    found = episodes(data)
    assert len(found) > 4
    for each in found:
        assert each.next_obs[:-1].equal(each.obs[1:]), (
            "a step does not begin where the one before ended"
        )
        ends = each.terminated | each.truncated
        assert ends[-1] and not ends[:-1].any()
        assert not (each.terminated & each.truncated).any()


def test_random_steps_are_taken_as_often_as_asked():
    class Still(Random):
        def act(self, obs, *, explore, env_state=None):
            return torch.zeros(len(obs), 1)

    agent = Still(action=ACTION, generator=generator(1))
    for share in (0.0, 0.3, 1.0):
        data = collect(ToyEnv(4), Source(agent, random=share), 2000, seed=3, generator=generator(2))
        taken = (data.action != 0).float().mean().item()
        assert taken == pytest.approx(share, abs=0.04)


def test_a_mix_takes_whole_episodes_spread_over_each_part():
    one, other = toy(200), toy(200, envs=4)
    mixed = merge([one, other], [60, 40])
    assert len(mixed.reward) == 100
    first = Transitions(*(x[:60] for x in mixed))
    rows = {tuple(row) for row in first.obs.tolist()}
    taken = [i for i, row in enumerate(one.obs.tolist()) if tuple(row) in rows]
    assert len(taken) == 60 and max(taken) > 150 and min(taken) < 50
    for each in episodes(mixed):
        assert each.next_obs[:-1].equal(each.obs[1:])
        assert (each.terminated | each.truncated)[-1]


def test_the_command_line(tmp_path, monkeypatch, capsys, home):
    monkeypatch.chdir(tmp_path)
    assert main(TINY.split()) == 0
    capsys.readouterr()
    mix = "--mix random:2,expert,replay"
    assert main(f"collect run --steps 100 --id pendulum/mixed-v0 {mix}".split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 100 and said["dataset"] == "pendulum/mixed-v0"
    read = load_dataset("pendulum/mixed-v0", obs_dim=3)
    assert said["sha256"] == read.digest and read.env == "pendulum"
    assert main(f"collect run --steps 100 --id pendulum/mixed-v1 {mix}".split()) == 0
    assert load_dataset("pendulum/mixed-v1").digest == read.digest, "the same seed, other data"
    medium = "collect run --steps 400 --id pendulum/medium-v0 --mix medium"
    assert main(medium.split()) == 0
    assert load_dataset("pendulum/medium-v0").returns().shape == (2,)
    capsys.readouterr()
    for line, words in (
        ("collect run --steps 100 --id pendulum/mixed-v0", "already there"),
        ("collect run --steps 100 --id pendulum/mixed", "it should be like"),
        ("collect run --steps 0 --id a-v0", "whole number from 1"),
        ("collect run --steps 5 --id a-v0 --mix expret", "one of random, medium, expert, replay"),
        ("collect run --steps 5 --id a-v0 --mix expert:0", "with a share"),
        ("collect run --steps 500 --id a-v0 --mix replay", "the run has 60"),
        ("collect nowhere --steps 5 --id a-v0", "no such run folder"),
    ):
        assert main(line.split()) == 2, line
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert not (home / "a-v0").exists()

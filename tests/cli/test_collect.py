"""`mbrl collect`: mixtures of what a run's agent, a random one and a middling one do."""

import argparse
import json
import types

import pytest
import torch

from mbrl.cli import main
from mbrl.cli.collect import _medium, mixture
from mbrl.data import load_dataset
from tests.toys import ToyAgent, ToyEnv, generator

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors
TINY = (
    "train agent=mbpo env=pendulum experiment=none total_steps=60 save_every=60 eval_episodes=1 "
    "agent.learning_starts=40 agent.num_rollouts=20 agent.updates_per_step=1 learner.hidden=8 "
    "dynamics.hidden=8 dynamics.num_layers=1 "
    "dynamics.training.min_updates=5 dynamics.training.max_updates=5 "
    "run_dir=run"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


@pytest.mark.parametrize(
    "text, shares",
    [
        ("expert", {"expert": 1.0}),
        ("random:0.3,expert", {"random": 0.3, "expert": 1.0}),
        ("replay:2,medium:3", {"replay": 2.0, "medium": 3.0}),
    ],
)
def test_a_mixture_is_kinds_with_shares(text, shares):
    assert mixture(text) == shares


@pytest.mark.parametrize(
    "text",
    ["", "expret", "expert,expert", "expert:0", "expert:-1", "expert:inf", "expert:x", "random:"],
)
def test_what_is_no_mixture_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="should be one of random, medium"):
        mixture(text)


def test_the_medium_policy_earns_half_way(monkeypatch):
    """The return falls in a straight line from 8 to 0 with the share of random steps."""
    import mbrl.data
    import mbrl.data.dataset as dataset

    monkeypatch.setattr(mbrl.data, "collect", lambda env, source, *_, **__: source.random)

    def episodes(share):
        return [types.SimpleNamespace(reward=torch.tensor([8 * (1 - share)]))]

    monkeypatch.setattr(dataset, "episodes", episodes)
    parts = types.SimpleNamespace(make_eval_env=ToyEnv, agent=ToyAgent())
    source = _medium(parts, 0.0, 4.0, 0, generator())  # type: ignore[arg-type]
    assert source.random == pytest.approx(0.75, abs=2**-6)  # 2 of 8, by bisection
    assert source.agent is parts.agent


def test_mixtures_are_collected_and_repeat_with_the_seed(tmp_path, monkeypatch, capsys, home):
    monkeypatch.chdir(tmp_path)
    assert main(TINY.split()) == 0
    capsys.readouterr()
    mix = "--mix random:2,expert,replay"
    assert main(f"collect run --steps 100 --id pendulum/mixed-v0 {mix}".split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 100 and said["dataset"] == "pendulum/mixed-v0"
    read = load_dataset("pendulum/mixed-v0", obs_dim=3)
    assert said["sha256"] == read.digest and read.env == "pendulum"
    uneven = "collect run --steps 100 --id pendulum/thirds-v0 --mix random,expert,replay"
    assert main(uneven.split()) == 0
    assert len(load_dataset("pendulum/thirds-v0").data.reward) == 100, "33 + 33 + 33, and 1"
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

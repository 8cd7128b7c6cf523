"""Sizes of a stored config: this package's own are fine, what a stranger may add is bounded."""

import re
from pathlib import Path

import pytest
import yaml

from mbrl.api import GymAgent
from mbrl.cli import main
from mbrl.config import compose
from mbrl.config.library import CONFIGS, Library
from mbrl.config.sizes import check_sizes
from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder
from tests.config.parts import write

PRESETS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))


def composed(*settings: str) -> dict:
    return compose(["agent=pets", "env=pendulum", *settings]).config


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.slow)])
def test_every_preset_of_the_package_passes(step):
    library = Library()
    pairs = [(a, e) for a in library.choices("agent") for e in library.choices("env")]
    presets = [pair for pair in pairs if "_".join(pair) in PRESETS]
    assert len(presets) > 30
    for agent, env in presets[::step]:
        offline = ["dataset=x.hdf5"] * (env[:5] in ("d4rl_", "neorl"))
        check_sizes(compose([f"agent={agent}", f"env={env}", *offline]).config)


@pytest.mark.parametrize(
    "settings",
    [
        ["planner.num_samples=20000", "planner.horizon=100"],
        ["dynamics.hidden=2000", "dynamics.num_layers=8", "dynamics.num_members=20"],
        ["env.num_envs=4096"],
        ["eval_episodes=1000", "total_steps=100000000", "buffer_size=10000000"],
        ["agent.retrain_interval=100000", "agent.learning_starts=100000", "save_every=1000000"],
    ],
)
def test_large_runs_of_ones_own_pass(settings):
    check_sizes(composed(*settings))


@pytest.mark.parametrize(
    "setting",
    [
        "planner.num_samples=1000000", "planner.num_iterations=100000", "planner.horizon=100000",
        "eval_episodes=100000", "env.num_envs=100000", "total_steps=1000000000000",
        "dynamics.training.max_updates=1000000000", "planner.action_hold=100000",
        "buffer_size=1000000000000",
    ],
)  # fmt: skip
def test_a_number_far_beyond_the_packages_own_is_refused_by_its_key(setting):
    with pytest.raises(BadInput, match=f"^{setting}: .*at most [0-9]+, 100 times.*--trust"):
        check_sizes(composed(setting))


def test_numbers_that_are_too_much_together_are_named():
    settings = ["planner.num_samples=40000", "planner.num_iterations=8000"]
    with pytest.raises(BadInput, match=r"planner.num_iterations=8000.*together 6.4e\+03 times"):
        check_sizes(composed(*settings))


def test_keywords_nested_parts_and_lists_count_too():
    config = composed()
    config["env"]["kwargs"] = {"deep": [{"frame_skip": 10**7}]}
    with pytest.raises(BadInput, match=r"^env.kwargs.deep.0.frame_skip=10000000"):
        check_sizes(config)
    config = composed()
    config["dynamics"]["hidden"] = [8] * 5000
    with pytest.raises(BadInput, match="^the length of dynamics.hidden=5000"):
        check_sizes(config)
    config = composed()
    config["agent"]["rollout_length"] = [20_000, 150_000, 1, 15_000]  # each place by itself
    with pytest.raises(BadInput, match=r"^agent.rollout_length.3=15000"):
        check_sizes(config)


def test_numbers_of_ones_own_choices_are_usual(tmp_path):
    config = composed("planner.num_samples=1000000")
    mine = write(tmp_path / "mine", {"planner/large": "num_samples: 1_000_000"})
    check_sizes(config, mine)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    GymAgent("random", env="pendulum").save("run")
    return tmp_path / "run"


def reseal(run: Path, **changes) -> None:
    """Change a config as somebody who seals it again does."""
    file = run / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    RunFolder(run, {}).seal_config()


@pytest.mark.parametrize(
    "command",
    ["eval run", "equations run", "distill run", "collect run --steps 9 --id x-v0",
     "train --resume run"],
)  # fmt: skip
def test_every_command_that_opens_a_run_is_bounded(run, capsys, command):
    reseal(run, eval_episodes=100_000)
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "config.yaml: eval_episodes=100000" in err and "--trust" in err
    with pytest.raises(BadInput, match="eval_episodes=100000"):
        GymAgent.load(run)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"choices": {"env": ["a"], "agent": "random"}}, "choices.env=.*should be text"),
        ({"choices": {"env": "pendulum", "agent": 3}}, "choices.agent=3: should be text"),
        ({"agent": {"_target_": "mbrl.agents.Random", "_args_": [1]}}, "agent._args_: is no part"),
        ({"device": "cuda:" + "9" * 30}, "device=cuda:9+: should be cpu, cuda or cuda:N"),
    ],
)
def test_forms_that_nothing_would_read_are_refused(run, capsys, changes, words):
    reseal(run, **changes)
    assert main(["eval", "run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(words, err), err


def test_networks_that_the_checkpoint_does_not_account_for_are_not_built(run, capsys, monkeypatch):
    monkeypatch.setattr("mbrl.config.restore._FREE", 2**29)  # for a fast test
    ensemble = composed("dynamics.hidden=10000", "dynamics.num_layers=40")
    parts = ("agent", "dynamics", "planner", "choices")
    reseal(run, **{name: ensemble[name] for name in parts})
    assert main(["eval", "run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "needs more than 0.5 GiB" in err and "dynamics.hidden" in err

"""Restoring a run: its parts with the weights of the newest checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mbrl
from mbrl.config.restore import restore
from mbrl.config.trust import Trust
from mbrl.errors import BadInput, OtherVersions
from mbrl.training.run_folder import RunFolder
from tests.cli.parts import Gain, mine, train  # noqa: F401

FOREIGN = Trust(code=True)  # the toy parts are not this package's


@pytest.fixture
def run(train):  # noqa: F811
    assert train("total_steps=100", "run_dir=run", "eval_episodes=1") == 0
    return RunFolder.open(Path("run"))


def test_the_agent_is_that_of_the_newest_checkpoint(run):
    parts = restore(run, FOREIGN)
    assert parts.agent.gain.item() == -0.5  # type: ignore[attr-defined] # 100 steps of 200
    state = parts.agent.state_dict()
    state["gain"] = torch.full((1,), 3.0)
    run.save(200, {"agent": state})
    assert restore(RunFolder.open(run.path), FOREIGN).agent.gain.item() == 3.0  # type: ignore[attr-defined]


def test_a_run_keeps_its_defaults_and_an_older_one_takes_those_of_the_class(run, monkeypatch):
    monkeypatch.setitem(Gain.__init__.__kwdefaults__, "slope", 7.0)
    assert restore(RunFolder.open(run.path), FOREIGN).agent.slope == 1.0  # type: ignore[attr-defined]
    kept = {k: v for k, v in run.config["agent"].items() if k != "slope"}
    run.update_config(agent=kept)  # as before defaults were written
    assert restore(RunFolder.open(run.path), FOREIGN).agent.slope == 7.0  # type: ignore[attr-defined]


def test_other_versions_are_said(run):
    versions = json.loads(run.versions_path.read_text())
    run.versions_path.write_text(json.dumps({**versions, "torch": "1.0"}))
    with pytest.warns(OtherVersions, match="made with torch 1.0; here: torch .*; results may"):
        restore(run, FOREIGN)


def test_threads_are_those_of_the_config(run):
    run.update_config(num_threads=2)
    try:
        restore(run, FOREIGN)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    run = RunFolder.create(tmp_path / "bare", {"seed": 0})
    with pytest.raises(BadInput, match="bare: has no checkpoint yet; train it first$"):
        restore(run, FOREIGN)


def test_a_changed_config_is_refused_by_its_key(run):
    text = run.config_path.read_text()
    run.config_path.write_text(text.replace("seed: 0", "seed: -1"))
    with pytest.raises(BadInput, match=r"config\.yaml: seed=-1: should be at least 0"):
        restore(RunFolder.open(run.path), FOREIGN)


def test_a_damaged_checkpoint_is_refused_by_its_file(run):
    file = run.checkpoints()[-1] / "agent.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadInput, match=file.name):
        restore(RunFolder.open(run.path), FOREIGN)


def test_a_checkpoint_of_other_parts_is_refused(run):
    run.save(200, {"agent": {"weights": 1}})
    with pytest.raises(BadInput, match="the checkpoint's agent does not fit"):
        restore(RunFolder.open(run.path), FOREIGN)


def test_a_loaded_agent_predicts_like_the_agent(run):
    agent = mbrl.load("run", trust=True)
    obs = np.array([[0.2, 0.4], [-1.0, 0.0]])
    action, state = agent.predict(obs)
    np.testing.assert_allclose(action, -0.5 * obs.sum(1, keepdims=True), rtol=1e-6)
    assert state is None
    np.testing.assert_array_equal(agent.predict(obs[0])[0], action[0])

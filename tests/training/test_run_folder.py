"""The run folder: what is written comes back, what is damaged is refused by name."""

import errno
import hashlib
import json
import os
import random
import shutil

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.manifest import seal
from mbrl.training import run_folder
from mbrl.training.run_folder import RunFolder

STATE = {
    "agent": {
        "weights": torch.arange(6.0).view(2, 3),
        "nested": {"flag": True, "none": None, "text": "a/b", "pi": 0.1 + 0.2},
        "list": [1, torch.tensor([True, False]), [2**70]],
    },
    "buffer": {"episode": torch.tensor([2**40]), "empty": {}},
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_checkpoint_goes_round_and_the_newest_counts(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"seed": 0})
    assert run.load() is None
    run.save(10, {"agent": {"x": 1}})
    run.save(20, STATE)
    again = RunFolder.open(tmp_path / "run")
    assert again.config == {"seed": 0}
    assert same(again.load(), STATE)
    assert same(again.load("agent"), {"agent": STATE["agent"]})


def test_old_checkpoints_are_removed_and_a_half_written_one_is_ignored(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    for step in (1, 2, 3):
        run.save(step, {"agent": {"step": step}})
    half = run.path / "checkpoints" / ".0000000004"
    half.mkdir()
    (half / "agent.json").write_text("{")
    assert [p.name for p in run.checkpoints()] == ["0000000002", "0000000003"]
    assert run.load() == {"agent": {"step": 3}}
    run.save(4, {"agent": {"step": 4}})
    assert run.load() == {"agent": {"step": 4}}


def test_every_damaged_file_is_refused_by_name(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    folder = run.save(1, STATE)
    draws = random.Random(0)
    for file in sorted(folder.iterdir()):
        good = file.read_bytes()
        for _ in range(20):
            bad = bytearray(good)
            if draws.random() < 0.5:
                bad = bad[: draws.randrange(len(bad))]
            else:
                bad[draws.randrange(len(bad))] ^= 1 << draws.randrange(8)
            file.write_bytes(bytes(bad))
            for read in (run.load, run.check):
                with pytest.raises(BadInput, match="damaged; no checkpoint before it") as caught:
                    read()
                assert str(file) in str(caught.value)  # a digest's damage is the manifest's
        file.unlink()
        with pytest.raises(BadInput, match="missing") as caught:
            run.load()
        assert file.name in str(caught.value)
        file.write_bytes(good)
    assert same(run.load(), STATE)


@pytest.mark.parametrize("name", ["agent.json", "buffer.safetensors", "manifest.json"])
def test_a_damaged_newest_checkpoint_falls_back_and_says_so_once(tmp_path, caplog, name):
    run = RunFolder.create(tmp_path / "run", {})
    run.save(10, STATE)
    file = run.save(20, {**STATE, "agent": {"x": 2}}) / name
    file.write_bytes(file.read_bytes()[:-1])
    again = RunFolder.open(run.path)
    again.check()
    assert again.step == 10 and same(again.load(), STATE) and same(again.resume(), STATE)
    assert caplog.messages == [f"{file}: damaged; the checkpoint before it is used, of step 10"]
    again.save(20, STATE)  # in the place of the damaged one
    assert same(RunFolder.open(run.path).load(), STATE)
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == [
        "0000000010", "0000000020",
    ]  # fmt: skip


def test_damaged_checkpoints_of_later_steps_make_way(tmp_path, caplog):
    run = RunFolder.create(tmp_path / "run", {})
    for step in (10, 20):
        run.save(step, STATE)
    (run.checkpoints()[-1] / "agent.json").unlink()
    again = RunFolder.open(run.path)
    assert again.load() and "agent.json: missing; the checkpoint" in caplog.text
    again.save(15, STATE)  # interrupted here
    assert [p.name for p in run.checkpoints()] == ["0000000010", "0000000015"]
    again.save(30, STATE)
    assert [p.name for p in run.checkpoints()] == ["0000000015", "0000000030"]


def test_if_no_checkpoint_is_good_the_newest_is_named(tmp_path, caplog):
    run = RunFolder.create(tmp_path / "run", {})
    for step in (10, 20):
        (run.save(step, STATE) / "agent.json").write_bytes(b"{")
    with pytest.raises(BadInput, match=r"0000000020/agent.json: damaged; no checkpoint before it"):
        RunFolder.open(run.path).load()
    assert not caplog.messages


def test_a_checkpoint_is_written_again_only_if_asked(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.save(10, {"agent": {"x": 1}})
    run.save(10, {"agent": {"x": 2}})
    assert run.load() == {"agent": {"x": 1}}
    run.save(10, {"agent": {"x": 2}}, replace=True)
    assert run.load() == {"agent": {"x": 2}}
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["0000000010"]


def test_parts_that_are_not_there_are_named(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.save(1, STATE)
    with pytest.raises(BadInput, match=r"env.json: not in the manifest"):
        run.load("env")


def test_what_a_kill_leaves_behind_is_cleared_away(tmp_path):
    run = RunFolder(tmp_path / "run", {})
    run.path.mkdir()
    (run.path / ".versions.json.tmp").write_text("{")  # killed before the config was written
    (run.path / "versions.json").write_text("{}")
    run = RunFolder.create(run.path, {"seed": 1})
    assert json.loads((run.path / "versions.json").read_text())["torch"]
    half = run.path / "checkpoints" / ".0000000007"  # killed in a save at a step of its own
    half.mkdir(parents=True)
    (half / "agent.json").write_text("{")
    run.save(10, STATE)
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["0000000010"]


def test_a_copy_beside_the_checkpoints_is_none(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    folder = run.save(1, STATE)
    shutil.copytree(folder, folder.with_name(f"{folder.name}.bak"))
    assert run.checkpoints() == [folder]


def test_a_record_shorter_than_the_checkpoint_counts_is_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.check_metrics()  # there is no checkpoint yet
    run.save(1, {"loop": {"log_position": 20}})
    for content, good in ((b"x" * 20, True), (b"x" * 30, True), (b"", True), (b"x" * 19, False)):
        run.metrics_path.write_bytes(content)
        if good:
            run.check_metrics()
        else:
            with pytest.raises(BadInput, match="19 bytes where the checkpoint counts 20"):
                run.check_metrics()
    run.metrics_path.unlink()
    run.check_metrics()


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "run", {})
    run.save(1, STATE)
    write, calls = run_folder._write, []

    def failing(path, content):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(run_folder, "_write", failing)
    with pytest.raises(OSError, match="No space left"):
        run.save(2, STATE)
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["0000000001"]
    assert same(run.load(), STATE)


def test_folders_that_are_no_runs_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such run"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(BadInput, match="not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.yaml").write_text("{")
    with pytest.raises(BadInput, match="not a readable config"):
        RunFolder.open(tmp_path)
    with pytest.raises(BadInput, match="already there"):
        RunFolder.create(tmp_path, {})


def test_config_changes_reach_the_disk(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"total_steps": 10, "seed": 1})
    run.update_config(total_steps=20)
    assert RunFolder.open(run.path).config == {"total_steps": 20, "seed": 1}
    assert "torch" in json.loads((run.path / "versions.json").read_text())


def test_a_config_that_was_changed_by_hand_is_named(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"seed": 0, "total_steps": 10})
    run.check_config()  # there is no checkpoint yet
    run.save(1, STATE)
    run.check_config()
    good = run.config_path.read_text()
    run.config_path.write_text(good.replace("seed: 0", "seed: 1"))
    with pytest.raises(BadInput, match=r"config\.yaml: not the one that checkpoint 0000000001"):
        run.check_config()
    run.check_config(accept=True)
    run.seal_config()
    run.check_config()
    assert same(run.load(), STATE)


def test_a_checkpoint_of_another_run_is_named(tmp_path):
    runs = [RunFolder.create(tmp_path / f"{seed}", {"seed": seed}) for seed in (0, 1)]
    for run in runs:
        run.save(1, STATE)
    shutil.rmtree(runs[0].path / "checkpoints")
    shutil.copytree(runs[1].path / "checkpoints", runs[0].path / "checkpoints")
    with pytest.raises(BadInput, match="the checkpoint is of another run"):
        runs[0].check_config()


def test_a_kill_while_the_config_is_changed_leaves_a_good_run(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "run", {"total_steps": 10})
    run.save(1, STATE)
    run.save(2, STATE)
    write, kept = run_folder._write, run.config_path.read_bytes()

    def killed(path, content):
        if path == run.config_path:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(run_folder, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        run.update_config(total_steps=20)
    assert run.config_path.read_bytes() == kept and run.config == {"total_steps": 10}
    run.check_config()
    monkeypatch.undo()
    run.update_config(total_steps=30)
    run.check_config()
    shutil.rmtree(run.checkpoints()[-1])
    run.check_config()  # the older one is sealed with it too


def test_a_checkpoint_without_a_seal_is_said_to_be_old(tmp_path, caplog):
    run = RunFolder.create(tmp_path / "run", {})
    manifest = run.save(1, STATE) / "manifest.json"
    digests = json.loads(manifest.read_text())
    del digests["config.yaml"], digests["manifest"]
    manifest.write_bytes(seal(digests))
    run.check_config()
    assert "config.yaml: not sealed" in caplog.text and same(run.load(), STATE)


def linked(path, target):
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "versions.json", "metrics.jsonl", "summary.json", "report.html", "error.log",
     "wandb_id", "checkpoints", "checkpoints/0000000001", "checkpoints/0000000001/agent.json",
     "checkpoints/0000000001/manifest.json", "checkpoints/0000000009", ".config.yaml.tmp"],
)  # fmt: skip
@pytest.mark.parametrize("make", [linked, lambda path, _: os.mkfifo(path)], ids=["link", "pipe"])
def test_links_and_special_files_are_refused_by_name(tmp_path, name, make):
    run = RunFolder.create(tmp_path / "run", {})
    run.save(1, STATE)
    path = run.path / name
    if path.exists():
        path.rename(tmp_path / "away")
    target = tmp_path / "away"
    make(path, target)
    with pytest.raises(BadInput, match=f"{path.name}: a (symbolic link|named pipe)"):
        RunFolder.open(run.path)


def test_what_wandb_would_follow_or_obey_is_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    inside = run.path / "wandb" / "run-1"
    inside.mkdir(parents=True)
    (run.path / "wandb" / "latest-run").symlink_to("run-1")  # as the package makes it
    RunFolder.open(run.path)
    (inside / "core.log").symlink_to(tmp_path)  # so does the package
    RunFolder.open(run.path)
    (run.path / "wandb" / "log").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="log: a symbolic link that leads out of wandb"):
        RunFolder.open(run.path)
    (run.path / "wandb" / "log").unlink()
    (run.path / "wandb" / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\n")
    with pytest.raises(BadInput, match="settings: W&B would obey it"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hosts", "a/b.json", "agent.pkl", ".json"])
def test_a_manifest_that_names_other_files_is_refused(tmp_path, name):
    run = RunFolder.create(tmp_path / "run", {})
    manifest = run.save(1, {"agent": {"x": 1}}) / "manifest.json"
    manifest.write_bytes(seal({name: "0" * 64}))
    with pytest.raises(BadInput, match=r"manifest\.json: .* is no file of a checkpoint"):
        run.load()


def test_a_part_of_another_form_is_refused_by_its_file(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    folder = run.save(1, {"agent": {"x": torch.ones(2)}})
    good = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}
    head = b'{"agent/x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    huge = len(head).to_bytes(8, "little") + head
    spoilt = [("agent.json", b) for b in (b"[]", b"{", b"3", b'{"tensor": "y"}', b'{"a": {}}')]
    spoilt += [("agent.json", b"[" * 100_000), ("agent.json", b'{"dict": {"a": 1}}')]
    spoilt += [("agent.safetensors", b) for b in (b"", b"\xff" * 8, b"\xff" * 99, huge)]
    for name, content in spoilt:
        files = good | {name: content}
        for each, data in files.items():
            (folder / each).write_bytes(data)
        digests = {each: hashlib.sha256(data).hexdigest() for each, data in files.items()}
        (folder / "manifest.json").write_bytes(seal(digests))
        with pytest.raises(BadInput, match=r"agent\.json: not the state of a part") as caught:
            run.load()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"step": "<script>"}, {"step": -1}, {"step": 2**70}, {"step": True}, {"evaluations": {}},
     {"evaluations": [{"step": 1, "rewards": []}]},
     {"evaluations": [{"step": 1, "rewards": ["x"]}]},
     {"evaluations": [{"step": 1, "rewards": [1e308, 1e308]}]},
     {"evaluations": [3]}, {"time/cpu_seconds": "1"}, {"time/wall_seconds": None}],
)  # fmt: skip
def test_a_summary_with_anything_but_numbers_is_refused_by_its_entry(tmp_path, changes):
    run = RunFolder.create(tmp_path / "run", {})
    run.metrics_path.write_text('{"step": 1}\n')
    good = {"finished": True, "step": 1, "evaluations": [{"step": 1, "rewards": [0.5, 1]}]}
    good |= {"time/cpu_seconds": 1.0, "time/wall_seconds": 2}
    run.write_summary(good)
    run.check_records()
    run.write_summary(good | changes)
    (name,) = changes
    with pytest.raises(BadInput, match=rf"summary\.json: {name}=.* is not what a run writes"):
        run.check_records()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_by_their_tensor(tmp_path, value):
    run = RunFolder.create(tmp_path / "run", {})
    weights = {"learner": [{"weight": torch.tensor([1.0, value])}], "count": torch.tensor([3])}
    run.save(1, {"agent": weights, "env": {"limit": torch.tensor([float("inf")])}})
    with pytest.raises(BadInput, match="agent/learner/0/weight holds a NaN or an infinity"):
        run.load()
    assert run.load("env")


def test_the_folder_of_several_seeds_is_named_with_one_of_its_runs(tmp_path):
    for seed in ("3", "4"):
        RunFolder.create(tmp_path / seed, {})
    with pytest.raises(BadInput, match=f"several seeds; name one, such as {tmp_path / '3'}$"):
        RunFolder.open(tmp_path)

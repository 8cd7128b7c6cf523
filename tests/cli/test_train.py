"""`mbrl train`: its folder, failures, interruption and resume."""

import errno
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mbrl.cli import main
from mbrl.cli.train import _train_options
from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder
from tests.cli.parts import run_folder
from tests.config.parts import write

ROOT = Path(__file__).parents[2]


def test_options_and_settings_are_told_apart():
    words = ["--seed=3", "--config-dir", "mine", "env=toy", "--resume=run", "-h", "--x", "y"]
    options = _train_options(words)
    assert options.settings == ["--seed=3", "env=toy", "--x", "y"]
    assert (options.config_dir, options.resume, options.help) == (Path("mine"), Path("run"), True)
    assert _train_options([]) == ([], None, None, False, False, False)
    for words in (["--resume"], ["--config-dir="]):
        with pytest.raises(BadInput, match="a folder must follow"):
            _train_options(words)


@pytest.mark.parametrize(
    "code, status, words",
    [(errno.EACCES, 2, "mbrl: run_dir=run: no"), (errno.ENOSPC, 1, "mbrl: no")],
)
def test_a_folder_that_cannot_be_made_is_bad_input_but_a_full_disk_is_not(
    train, monkeypatch, capsys, code, status, words
):
    def fail(path, config):
        raise OSError(code, "no")

    monkeypatch.setattr(RunFolder, "create", fail)
    assert train("run_dir=run") == status
    assert capsys.readouterr().err == f"{words}\n"


def test_what_a_part_refuses_when_built_leaves_nothing_behind(train, tmp_path, capsys):
    assert train("env=faulty", "env.refuse=true") == 2
    err = capsys.readouterr().err
    assert err == "mbrl: env.refuse=true: refused when built\n"
    assert not list(tmp_path.glob("runs/*/*/*"))


def test_help_lists_groups_choices_and_keys(mine, capsys):
    assert main(["train", "--help", f"--config-dir={mine}"]) == 0
    shown = capsys.readouterr().out
    for words in ("env=pendulum", "signalled", "mbpo", "planner=none", "total_steps=5000"):
        assert words in shown
    assert "_type_" not in shown


def test_a_run_goes_to_its_default_folder(train, capsys):
    assert train("total_steps=60", "eval_every=50", "eval_episodes=2", "seed=7") == 0
    folder = run_folder()
    assert folder.parts[1:3] == ("toy", "gain") and folder.name.startswith("7-")
    config = RunFolder.open(folder).config
    assert config["seed"] == 7 and config["run_dir"] == str(folder)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 60 and "eval/mean_reward" in metrics[-1]
    assert "done at step 60: eval/mean_reward" in capsys.readouterr().out
    assert torch.get_num_threads() == 1


def test_a_preset_is_announced(train, mine, tmp_path, capsys):
    folder = write(tmp_path / "p", {"experiment/random_toy": "# @package _global_\nseed: 4"})
    write(folder, {"env/toy": (mine / "env/toy.yaml").read_text()})
    arguments = [f"--config-dir={folder}", "env=toy", "agent=random", "total_steps=20"]
    assert main(["train", *arguments, "eval_episodes=1"]) == 0
    assert "experiment=random_toy" in capsys.readouterr().out
    assert run_folder().name.startswith("4-")


def test_a_failure_names_its_reason_and_keeps_the_traceback(train, capsys):
    assert train("env=faulty", "run_dir=run") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "EnvironmentFault: environment 0, step 30: a NaN in obs" in err
    assert "run/error.log" in err and "Traceback" in Path("run/error.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_is_saved_and_goes_on_to_the_same_end(train, number, capsys):
    common = ["total_steps=120", "eval_episodes=2", "env=signalled"]
    assert train(*common, "run_dir=whole", "env.at=1000000") == 0
    before = signal.getsignal(number)
    assert train(*common, "run_dir=cut", f"env.number={int(number)}") == 130
    assert signal.getsignal(number) is before
    assert "mbrl train --resume cut" in capsys.readouterr().err
    assert json.loads(Path("cut/summary.json").read_text())["finished"] is False
    assert [int(p.name) for p in RunFolder.open(Path("cut")).checkpoints()] == [50]

    config = Path("cut/config.yaml")
    config.write_text(config.read_text().replace("  at: 50\n", "  at: 1000000\n"))
    assert main(["train", "--resume", "cut", "--trust", "--accept-config"]) == 0
    ends = [json.loads(Path(run, "summary.json").read_text()) for run in ("whole", "cut")]
    assert ends[0]["evaluations"] == ends[1]["evaluations"]


def test_the_second_interrupt_aborts_at_once(train, capsys):
    assert train("env=signalled", "env.times=2", "run_dir=run") == 130
    assert "aborted" in capsys.readouterr().err
    assert RunFolder.open(Path("run")).checkpoints() == []  # in the middle of a step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_that_come_twice_still_save(train, number):
    settings = ["env=signalled", "env.times=2", f"env.number={int(number)}"]
    assert train(*settings, "run_dir=run") == 130
    assert RunFolder.open(Path("run")).checkpoints()


def test_a_hangup_that_nohup_ignores_stays_ignored(train):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = ["env=signalled", f"env.number={int(signal.SIGHUP)}", "total_steps=60"]
        assert train(*settings, "eval_episodes=1", "run_dir=run") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_is_extended(train, capsys):
    assert train("total_steps=60", "run_dir=run") == 0
    assert main(["train", "--resume", "run", "--trust", "--total_steps=90"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["step"] == 90
    assert RunFolder.open(Path("run")).config["total_steps"] == 90
    capsys.readouterr()
    for arguments in (["seed=3"], ["total_steps=0"], ["total_steps=80"], ["--config-dir", "no"]):
        assert main(["train", "--resume", "run", "--trust", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 4
    assert "total_steps=80: the run is at step 90 already; give more" in err


def record(run: str) -> list[dict]:
    """Return the rows of a run's record without times."""
    rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def test_a_damaged_checkpoint_costs_steps_and_not_the_run(train, capsys, caplog):
    common = ["total_steps=60", "save_every=20", "eval_every=30", "eval_episodes=2", "log_every=10"]
    for run in ("whole", "broken"):
        assert train(*common, f"run_dir={run}") == 0
    newest = RunFolder.open(Path("broken")).checkpoints()[-1]
    (newest / "agent.json").write_bytes(b"{}")
    capsys.readouterr()
    for command in (["eval", "broken"], ["report", "broken"], ["train", "--resume", "broken"]):
        caplog.clear()
        assert main([*command, "--trust"]) == 0
        used = f"{newest}/agent.json: damaged; the checkpoint before it is used, of step 40"
        assert caplog.messages == [used], command
    assert record("broken") == record("whole")
    ends = [RunFolder.open(Path(run)).load() for run in ("whole", "broken")]
    for end in ends:
        assert end is not None
        del end["loop"]["progress"]["spent"], end["loop"]["log_position"]  # times
    assert str(ends[0]) == str(ends[1])


def test_a_second_process_is_refused_until_the_first_is_killed(train, mine, tmp_path, capsys):
    assert train("total_steps=60", "run_dir=run") == 0
    command = ["train", "--resume", "run", "--trust", "total_steps=100000000"]
    code = "import sys; from mbrl.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "run folder run\n"
        capsys.readouterr()
        before = Path("run/config.yaml").read_text()
        assert main(command) == 2
        assert capsys.readouterr().err.startswith(f"mbrl: run: in use by process {first.pid} on ")
        assert main(["train", "--resume", "run", "total_steps=80"]) == 2
        assert Path("run/config.yaml").read_text() == before
        assert main(["eval", "run", "--trust"]) == 0  # reading disturbs nobody
        first.kill()
    before = RunFolder.open(Path("run"))
    before.check()
    assert main(["train", "--resume", "run", "--trust", f"total_steps={before.step + 20}"]) == 0


def test_a_resume_with_other_versions_says_what_that_means(train, capsys):
    assert train("total_steps=60", "run_dir=run") == 0
    file = RunFolder.open(Path("run")).versions_path
    file.write_text(json.dumps({**json.loads(file.read_text()), "torch": "1.0"}))
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--trust", "total_steps=90"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mbrl: warning: run: made with torch 1.0; here: torch ")
    assert line.endswith("the end need not be bit for bit that of an uninterrupted run")


@pytest.mark.slow
def test_ctrl_c_reaches_the_real_command(mine, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).parent / "mbrl"), "train", f"--config-dir={mine}"]
    arguments = ["env=toy", "agent=gain", "total_steps=100000000", "run_dir=run"]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("step "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "mbrl train --resume run" in err
    assert RunFolder.open(tmp_path / "run").checkpoints()


@pytest.mark.slow
def test_a_closed_terminal_saves_and_ends_the_run(mine, tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        command = [str(Path(sys.executable).parent / "mbrl"), "train", f"--config-dir={mine}"]
        arguments = ["env=toy", "agent=gain", "total_steps=100000000", "run_dir=run"]
        os.execve(command[0], [*command, *arguments], os.environ | {"PYTHONPATH": str(ROOT)})
    seen = b""
    while b"ep_rew_mean" not in seen:
        seen += os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    run = RunFolder.open(tmp_path / "run")
    run.check()
    assert run.step > 0 and not json.loads((run.path / "summary.json").read_text())["finished"]


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_a_training(mine, tmp_path):
    mbrl = f"{Path(sys.executable).parent / 'mbrl'} train --config-dir={mine} env=toy agent=gain"
    settings = "total_steps=3000 eval_every=100 eval_episodes=1 run_dir=run"
    piped = f"set -o pipefail; {mbrl} {settings} | head -1"
    done = subprocess.run(
        ["bash", "-c", piped],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "run folder run\n", "")
    assert json.loads((tmp_path / "run/summary.json").read_text())["finished"]


@pytest.mark.parametrize(
    "typed, meant",
    [("--config_dir=x", "--config-dir"), ("--resmue", "--resume"), ("-help", "--help")],
)
def test_a_misspelled_option_is_answered_with_the_option(capsys, typed, meant):
    assert main(["train", typed]) == 2
    line = f"mbrl: {typed.partition('=')[0]}: unknown option; did you mean {meant}?\n"
    assert capsys.readouterr().err == line


SEEDS = [
    "agent=sac", "env=pendulum", "experiment=none", "agent.learning_starts=40",
    "learner.hidden=8", "learner.batch_size=16", "eval_episodes=1", "save_every=50",
]  # fmt: skip


@pytest.mark.slow
def test_several_seeds_have_a_folder_each_which_is_that_of_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SEEDS, "seed=4", "num_seeds=2", "total_steps=80", "run_dir=many"]) == 0
    shown = capsys.readouterr().out
    assert "run folder many\n" in shown and "seed 5 done at step 80: eval/mean_reward" in shown
    assert main(["train", *SEEDS, "seed=5", "total_steps=80", "run_dir=alone"]) == 0
    returns = [
        json.loads((tmp_path / name / "summary.json").read_text())["eval/mean_reward"]
        for name in ("many/4", "many/5", "alone")
    ]
    assert returns[1] == pytest.approx(returns[2], rel=1e-3) and returns[0] != returns[1]
    for command in (["eval", "many/5", "--episodes=1"], ["report", "many/4", "--episodes=1"]):
        assert main(command) == 0
    assert main(["train", "--resume", "many", "total_steps=120"]) == 0
    for seed in (4, 5):
        assert json.loads((tmp_path / f"many/{seed}/summary.json").read_text())["step"] == 120
    (tmp_path / "many/4").rename(tmp_path / "away")
    assert main(["train", "--resume", "many"]) == 2
    assert "many: holds the seeds 5; should hold the 2 from 5 on" in capsys.readouterr().err
    assert main(["train", "--resume", "many/5", "total_steps=140"]) == 0  # by itself


@pytest.mark.parametrize(
    "settings, words",
    [
        (["agent=pets"], "num_seeds=2: agent: several seeds of a MPC cannot learn as one batch"),
        (["num_seeds=0"], "num_seeds=0: should be at least 1 and at most 1000"),
        (["logger.wandb=true"], "num_seeds=2: should be 1 with logger.wandb=true"),
        (["seed=2147483647"], "seed=2147483647 with num_seeds=2: should be"),
        (["agent=iql", "dataset=x/y-v0"], "num_seeds=2: should be 1 with a dataset"),
    ],
)
def test_seeds_that_cannot_learn_together_are_refused(
    tmp_path, monkeypatch, capsys, settings, words
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "env=pendulum", "num_seeds=2", *settings]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())

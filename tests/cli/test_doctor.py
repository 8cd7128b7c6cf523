"""`mbrl doctor`: what is installed, what works, and the check of an environment."""

from importlib import metadata
from pathlib import Path

import pytest

from mbrl.cli import main


def test_the_doctor_says_what_is_there(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = ["dynaplan", "torch", "mujoco", "wandb", "devices cpu", "threads", "rendering", "warp"]
    for start in starts:
        assert any(line.startswith(start) for line in lines), start


def test_the_doctor_checks_an_environment(capsys):
    known = ["doctor", "env=gym", "env.id=tests.envs.broken:BrokenOnPurpose-v0"]
    assert main([*known, "env.kwargs={how: is killed}", "seed=1"]) == 1
    err = capsys.readouterr().err
    assert "environment 0, step 3: ended its process (signal 9)" in err and err.count("\n") == 1
    assert main(["doctor", "env=pendulum"]) == 0
    assert "nothing found wrong" in capsys.readouterr().out


def test_a_missing_package_is_named_with_its_extra(capsys, monkeypatch):
    real = metadata.version

    def version(name):
        if name in ("highspy", "mujoco"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "highspy is missing: pip install 'dynaplan[mip]'\n" in shown
    assert "mujoco is missing: pip install 'dynaplan'\n" in shown
    assert f"numpy {real('numpy')}\n" in shown


def test_a_wrong_setting_is_refused(capsys):
    assert main(["doctor", "env=pendulm"]) == 2
    assert "env=pendulum" in capsys.readouterr().err


def test_what_is_known_of_an_environment_is_checked(tmp_path, capsys):
    (tmp_path / "env").mkdir()
    for name in ("right", "opposite", "ends", "one_name"):
        lines = f"_target_: mbrl.envs.GymnasiumVecEnv\nid: {ODD}:Odd-v0\n"
        (tmp_path / "env" / f"{name}.yaml").write_text(f"{lines}task: {{_target_: {ODD}.{name}}}\n")
    wrong = {
        "opposite": (1, "task.reward (opposite"),
        "ends": (1, "task.terminated (ends"),
        "one_name": (2, "task.obs_names: 1 names, x, should be 2"),
    }
    for name, (status, words) in wrong.items():
        assert main(["doctor", "--config-dir", str(tmp_path), f"env={name}"]) == status
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert main(["doctor", "env=cartpole"]) == 0  # a gymnasium environment with a Task
    assert "nothing found wrong" in capsys.readouterr().out


def test_an_id_of_a_module_is_explained(capsys):
    assert main(["doctor", "env=gym", "env.id=pkg/Arm-v0"]) == 2
    assert "env.id=MODULE:pkg/Arm-v0" in capsys.readouterr().err


ODD = "scripts.robustness.odd_environments"


@pytest.mark.parametrize("name", ["a constant component", "MuJoCo resets itself", "never ends"])
def test_what_is_odd_is_named(name, capsys):
    from scripts.robustness.doctor_cases import CASES, said, settings

    case = CASES[name]
    _, words, good = said(["doctor", *settings(name, case, Path())], case.doctor)
    assert good, words

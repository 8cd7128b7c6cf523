"""`mbrl doctor`: what is installed, what works, and the check of an environment."""

import sys
from importlib import metadata

import pytest

from mbrl.cli import main
from mbrl.cli.doctor import _rendering


def test_the_doctor_says_what_is_there(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = ["dynaplan", "torch", "mujoco", "wandb", "devices cpu", "threads", "rendering"]
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


@pytest.mark.parametrize("works", [True, False])
def test_rendering_is_tried(monkeypatch, works):
    class Context:
        def __init__(self, width, height):
            if not works:
                raise RuntimeError("no\n display")

        def make_current(self):
            pass

        free = make_current

    monkeypatch.setitem(sys.modules, "mujoco", type(sys)("mujoco"))
    sys.modules["mujoco"].GLContext = Context  # type: ignore[attr-defined]
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    advice = "osmesa does not work (no display); install libegl1 and set MUJOCO_GL=egl"
    assert _rendering() == ("osmesa works" if works else advice)


def test_a_wrong_setting_is_refused(capsys):
    assert main(["doctor", "env=pendulm"]) == 2
    assert "env=pendulum" in capsys.readouterr().err

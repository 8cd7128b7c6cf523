"""`mbrl equations`: what a run's sparse model says."""

import pytest

from mbrl.cli import main

SHORT = ["total_steps=20", "eval_episodes=1", "planner.num_samples=4", "planner.num_elites=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "swing"
    arguments = ["agent=sindy_mpc", "env=pendulum", *SHORT, f"run_dir={path}"]
    assert main(["train", *arguments]) == 0
    return str(path)


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (
            "text",
            [
                "speed' - speed = 0.75 sin + 0.15 u"
                "    # true: 0.75 sin + 0.15 u, speed' clipped at 8",
                "turn of (cos, sin) = 0.05 speed'    # true: 0.05 speed'",
            ],
        ),
        (
            "latex",
            [
                r"\mathrm{speed}' - \mathrm{speed} = 0.75 \mathrm{sin} + 0.15 \mathrm{u}",
                r"\mathrm{turn} \mathrm{of} (\mathrm{cos}, \mathrm{sin}) = 0.05 \mathrm{speed}'",
            ],
        ),
        (
            "sympy",
            ["speed' - speed = 0.75*sin + 0.15*u", "turn of (cos, sin) = 0.05*speed'"],
        ),
    ],
)
def test_equations_are_printed_with_names(run, capsys, form, lines):
    capsys.readouterr()
    assert main(["equations", run, "--format", form]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_a_run_without_equations_is_refused(tmp_path, capsys):
    path = tmp_path / "random"
    settings = ["agent=random", "env=pendulum", "total_steps=5", "eval_episodes=1"]
    assert main(["train", *settings, f"run_dir={path}"]) == 0
    assert main(["equations", str(path)]) == 2
    assert "dynamics=none has no equations; dynamics=sindy has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("dynamics.library.degree=0", "dynamics.library.degree=0: should be at least 1"),
        ("dynamics.aggregate=mode", "should be"),
        (
            "dynamics.regression.limits={angle: [0, 1]}",
            "regression.limits.angle: no such observation",
        ),
        ("dynamics.num_members=4", "num_elites=10: should be at least 1 and at most num_members=4"),
    ],
)
def test_bad_settings_are_answered_in_one_line(tmp_path, capsys, key, words):
    arguments = ["agent=sindy_mpc", "env=pendulum", *SHORT, key, f"run_dir={tmp_path / 'run'}"]
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1

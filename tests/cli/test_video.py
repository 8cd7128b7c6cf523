"""`mbrl video`: the film of an episode."""

from pathlib import Path

import pytest
from PIL import Image

from mbrl.cli import main

FIRST = ["agent=random", "total_steps=3", "eval_episodes=1"]


def test_an_episode_is_filmed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "env=piecewise_affine", "run_dir=run", *FIRST]) == 0
    capsys.readouterr()
    assert main(["video", "run", "--width", "80", "--height", "60"]) == 0
    assert capsys.readouterr().out.startswith("run/video.gif: 40 steps, return -")
    film = Image.open("run/video.gif")
    assert film.size == (80, 60) and film.n_frames > 20  # equal ones are one
    film.seek(1)
    assert film.info["duration"] == 30  # ms, of 30 pictures a second


def test_what_cannot_be_filmed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "env=cartpole", "run_dir=run", *FIRST]) == 0
    capsys.readouterr()
    assert main(["video", "run"]) == 2
    assert "env: a GymnasiumVecEnv cannot be filmed; should be" in capsys.readouterr().err
    assert main(["video", "run", "--out", "film.avi"]) == 2
    assert "--out film.avi: should end in .gif" in capsys.readouterr().err
    assert main(["video", "run", "--out", "none/film.gif"]) == 2
    assert "--out none/film.gif: there is no folder none" in capsys.readouterr().err
    assert main(["video", "none"]) == 2
    assert (
        "none: no such run folder" in capsys.readouterr().err and not Path("run/video.gif").exists()
    )


@pytest.mark.slow  # needs a driver
def test_a_body_is_filmed_in_the_time_of_its_simulation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "env=pusher", "run_dir=run", *FIRST]) == 0
    assert main(["video", "run", "--out", "pusher.gif"]) == 0
    film = Image.open("pusher.gif")
    film.seek(1)
    assert film.info["duration"] % 50 == 0  # ms; equal frames are one


@pytest.mark.slow  # needs a driver, and Warp's kernels
def test_a_run_on_mujoco_warp_is_filmed_in_threads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["env=inverted_pendulum", "env.backend=warp", "env.njmax=32", "run_dir=run"]
    assert main(["train", *options, *FIRST]) == 0
    assert main(["video", "run"]) == 0
    assert Image.open("run/video.gif").size == (320, 240)
    assert "run/video.gif: " in capsys.readouterr().out

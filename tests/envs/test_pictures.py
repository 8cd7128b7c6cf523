"""Pictures: who takes them, which cameras there are, and what is said where none can be taken."""

import gc

import gymnasium
import numpy as np
import pytest

import mbrl
from mbrl.envs import pictures
from mbrl.errors import BadInput


def test_a_driver_that_fails_is_named_in_one_line(monkeypatch):
    class Failing:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("no\n  display")

    monkeypatch.setattr(pictures, "MujocoRenderer", Failing)
    env = gymnasium.make("mbrl/Hopper-v5", render_mode="rgb_array")
    env.reset(seed=0)
    message = (
        r"^render: MuJoCo cannot render here \(no display\); install libegl1 and set MUJOCO_GL"
    )
    with pytest.raises(BadInput, match=message):
        env.render()
    env.close()


@pytest.mark.filterwarnings("error")  # so is what a destructor complains about
@pytest.mark.parametrize("library", ["disabled", "EGL"])
def test_a_rendering_library_that_is_none_is_named_in_one_line(library, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", library)
    env = gymnasium.make("mbrl/Hopper-v5", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(BadInput, match=rf"^render: .*mujoco.{library}'\); install libegl1"):
        env.render()
    env.close()
    gc.collect()


def test_cameras_that_are_not_there_are_refused():
    for name, value, message in (
        ("camera_name", "moon", "camera_name=moon: should be one of track"),
        ("camera_id", 7, "camera_id=7: should be from -1 to 0"),
        ("width", 0, "width=0: should be at least 1"),
    ):
        with pytest.raises(BadInput, match=message):
            gymnasium.make("mbrl/Hopper-v5", render_mode="rgb_array", **{name: value})


def test_a_plot_shows_the_latest_observations():
    simulation = mbrl.make_vec("Refrigerator-v0", num_envs=2).simulation
    camera = pictures.camera_of(simulation, width=120, height=80, camera_id=None, camera_name=None)
    shown = []
    for value in (0.0, 5.0):
        camera.see(np.array([[value], [1.0]]))
        shown.append([camera.picture(index) for index in range(2)])
    assert shown[0][0].shape == (80, 120, 3) and shown[0][0].dtype == np.uint8
    assert not np.array_equal(shown[0][0], shown[1][0])
    assert not np.array_equal(shown[1][0], shown[1][1])

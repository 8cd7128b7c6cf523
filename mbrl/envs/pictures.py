"""Pictures of simulations: MuJoCo's own, and for closed forms the course of the observations."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Protocol, final

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from numpy.typing import NDArray

from mbrl.envs.mujoco import MujocoSimulation
from mbrl.envs.simulation import Simulation
from mbrl.errors import BadInput
from mbrl.values import Count, checked

Picture = NDArray[np.uint8]  # (height, width, 3)
DEFAULT_FPS = 30  # of what has no time in seconds
_SHOWN = 100  # steps of the course of an observation


class Camera(Protocol):
    """What takes pictures of a simulation's environments."""

    def picture(self, index: int) -> Picture:
        """Return a picture (height, width, 3) of an environment as it is now."""
        ...

    def see(self, obs: np.ndarray) -> None:
        """Store the latest observations (E, obs_dim)."""
        ...

    def close(self) -> None:
        """Release what the pictures need."""
        ...


@final
class MujocoCamera:
    """Camera of MuJoCo's offscreen renderer, as gymnasium's environments have it.

    Args:
        simulation: whose environments are shown.
        width: of a picture, pixels.
        height: of a picture, pixels.
        camera_id: number of a camera of the model; None for the task's view.
        camera_name: name of a camera of the model, instead of its number.

    Raises:
        BadInput: if there is no such camera.
    """

    @checked
    def __init__(
        self,
        simulation: MujocoSimulation,
        *,
        width: Count = 480,
        height: Count = 480,
        camera_id: int | None = None,
        camera_name: str | None = None,
    ):
        """Make room for the pictures; the renderers are made when first used."""
        model = simulation.model
        names = [model.camera(i).name for i in range(model.ncam)]
        if camera_name is not None and camera_name not in names:
            raise BadInput(f"camera_name={camera_name}: should be one of {', '.join(names)}")
        if camera_id is not None and not -1 <= camera_id < model.ncam:
            raise BadInput(f"camera_id={camera_id}: should be from -1 to {model.ncam - 1}")
        if camera_id is not None and camera_name is not None:
            raise BadInput("camera_id, camera_name: should be one of them, not both")
        # as gymnasium does: never below the size that the model asks for
        view = model.vis.global_
        view.offwidth, view.offheight = max(view.offwidth, width), max(view.offheight, height)
        self._simulation = simulation
        simulation.keep_data()
        self._options = {"width": width, "height": height}
        self._options |= {"camera_id": camera_id, "camera_name": camera_name}
        self._renderers: dict[int, tuple[MujocoRenderer, Any]] = {}  # with the data it shows

    def picture(self, index: int) -> Picture:
        """Return a picture of an environment.

        Raises:
            BadInput: if MuJoCo cannot render here.
        """
        library = os.environ.get("MUJOCO_GL", "")
        if not (library or os.environ.get("DISPLAY")) and sys.platform == "linux":
            library = os.environ["MUJOCO_GL"] = "egl"
        try:
            if index not in self._renderers:
                if library:  # what fails here leaves no half-made viewer, which would complain
                    importlib.import_module(f"mujoco.{library}")
                model, task = self._simulation.model, self._simulation.equations
                data = mujoco.MjData(model)
                options: Any = {"default_cam_config": dict(task.camera) or None, **self._options}
                self._renderers[index] = MujocoRenderer(model, data, **options), data
            renderer, data = self._renderers[index]
            self._simulation.physics.copy_data(index, data)
            picture: Any = renderer.render("rgb_array")
        except Exception as error:  # whatever a driver raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInput(
                f"render: MuJoCo cannot render here ({reason}); install libegl1 and set "
                "MUJOCO_GL=egl, or make the environment without a render_mode"
            ) from None
        return picture

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; it makes its own renderers."""
        return {**vars(self), "_renderers": {}}

    def see(self, obs: np.ndarray) -> None:
        """Do nothing: the simulation itself is shown."""

    def close(self) -> None:
        """Close the renderers."""
        for renderer, _ in self._renderers.values():
            renderer.close()
        self._renderers.clear()


@final
class PlotCamera:
    """Camera that plots the course of the latest observations, for what has no body.

    Args:
        num_envs: E.
        names: of the observation's components; None numbers them.
        width: of a picture, pixels.
        height: of a picture, pixels.
    """

    @checked
    def __init__(
        self,
        num_envs: Count,
        names: tuple[str, ...] | None = None,
        *,
        width: Count = 480,
        height: Count = 480,
    ):
        """Store no observation yet."""
        self._names = names
        self._size = width, height
        self._rows: list[np.ndarray] = []
        self._num_envs = num_envs

    def see(self, obs: np.ndarray) -> None:
        """Store the latest observations (E, obs_dim)."""
        self._rows = [*self._rows[1 - _SHOWN :], obs]

    def picture(self, index: int) -> Picture:
        """Return the plot of an environment's latest observations."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self._size[0] / 100, self._size[1] / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        course = np.stack([row[index] for row in self._rows])
        names = self._names or tuple(map(str, range(course.shape[1])))
        for name, values in zip(names, course.T, strict=True):
            axes.plot(values, marker=".", label=name)
        axes.set_xlim(0, _SHOWN)
        axes.legend(loc="upper right", fontsize="small")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def close(self) -> None:
        """Do nothing."""


def frames_per_second(simulation: Simulation) -> int:
    """Return the pictures of one second: MuJoCo's steps in it, as gymnasium counts them."""
    if isinstance(simulation, MujocoSimulation):
        return max(1, round(1 / simulation.dt))
    return DEFAULT_FPS


def camera_of(simulation: Simulation, **options: Any) -> Camera:
    """Return what takes pictures of a simulation.

    Args:
        simulation: whose environments are shown.
        options: width and height, pixels; of MuJoCo's also camera_id and camera_name.
    """
    if isinstance(simulation, MujocoSimulation):
        return MujocoCamera(simulation, **options)
    options = {name: value for name, value in options.items() if not name.startswith("camera_")}
    return PlotCamera(simulation.num_envs, simulation.task.obs_names, **options)

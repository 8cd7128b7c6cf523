"""Chaotic flow to be calmed: the Kuramoto-Sivashinsky equation on a ring with five actuators.

    u_t = -u u_x - u_xx - u_xxxx + sum_j action_j b(x - x_j)

Fourier in space, ETDRK4 in time (Kassam and Trefethen 2005). Length 22 is the smallest known
chaos (Cvitanovic et al. 2010); controlled by deep RL in Bucci et al. 2019.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.closed_form import ClosedFormTask, closed_form
from mbrl.envs.simulation import Array, SimulatedVecEnv, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.types import Task
from mbrl.values import NumEnvs, checked

LENGTH, WIDTH = 22.0, 1.0  # of the ring, of an actuator (standard deviation)
NUM_ACTUATORS, NUM_MODES = 5, 5  # five actuators push each of the three unstable modes both ways
STEP, BURN_IN = 0.25, 200  # time units of a step; steps before an episode, onto the attractor
EFFORT = 0.01  # price of a squared action, averaged over the actuators


def calm(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return minus the mean of u^2 in the observed modes and minus the effort: (B,)."""
    effort = action.clamp(-1, 1).square().mean(1)
    return -(0.5 * next_obs.square().sum(1) + EFFORT * effort)


@final
class Solver:
    """Solver of the equation by ETDRK4: exact in the linear part, fourth order in the rest.

    Args:
        num_points: of the grid, N.
        step: time units.
        num_substeps: steps of the solver in one.
    """

    def __init__(self, num_points: int = 64, step: float = STEP, num_substeps: int = 2):
        """Compute the scheme's weights by contour integrals, as Kassam and Trefethen do."""
        self.num_points = num_points
        self._num_substeps = num_substeps
        self._points = np.arange(num_points) * LENGTH / num_points
        wave = 2 * np.pi * np.arange(num_points // 2 + 1) / LENGTH
        h = step / num_substeps
        growth = h * (wave**2 - wave**4)
        circle = np.exp(1j * np.pi * (np.arange(32) + 0.5) / 32)
        z = growth[:, None] + circle
        self._full, self._half = np.exp(growth), np.exp(growth / 2)
        self._q = h * np.real(((np.exp(z / 2) - 1) / z).mean(1))
        e = np.exp(z)
        self._f1 = h * np.real(((-4 - z + e * (4 - 3 * z + z**2)) / z**3).mean(1))
        self._f2 = h * np.real((2 * (2 + z + e * (z - 2)) / z**3).mean(1))
        self._f3 = h * np.real(((-4 - 3 * z - z**2 + e * (4 - z)) / z**3).mean(1))
        resolved = np.arange(num_points // 2 + 1) <= num_points // 3  # no aliases (2/3 rule)
        self._slope = np.where(resolved, -0.5j * wave, 0)
        self._resolved = resolved
        self._shapes = np.fft.rfft(self._actuators()) * resolved

    def _actuators(self) -> Array:
        """Return the forces (NUM_ACTUATORS, N) of unit actions; their mean is 0, as that of u."""
        centers = np.arange(NUM_ACTUATORS) * LENGTH / NUM_ACTUATORS
        away = (self._points - centers[:, None] + LENGTH / 2) % LENGTH - LENGTH / 2
        bumps = np.exp(-0.5 * (away / WIDTH) ** 2)
        return bumps - bumps.mean(1, keepdims=True)

    def transport(self, spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the spectrum (B, N/2 + 1) of -u u_x."""
        return self._slope * np.fft.rfft(np.fft.irfft(spectrum, self.num_points) ** 2)

    def __call__(self, u: Array, action: Array) -> Array:
        """Step u (B, N) under constant actions (B, NUM_ACTUATORS)."""
        # sums of products, not matrix products, whose last bits depend on the number of rows
        force = (action[:, :, None] * self._shapes).sum(1)
        v = np.fft.rfft(u) * self._resolved
        for _ in range(self._num_substeps):
            start = self.transport(v) + force
            a = self._half * v + self._q * start
            at_a = self.transport(a) + force
            at_b = self.transport(self._half * v + self._q * at_a) + force
            c = self._half * a + self._q * (2 * at_b - start)
            at_c = self.transport(c) + force
            v = self._full * v + self._f1 * start + self._f2 * (at_a + at_b) + self._f3 * at_c
        return np.fft.irfft(v, self.num_points)

    def modes(self, u: Array) -> Array:
        """Return amplitudes of cos and sin of the longest waves (B, 2 NUM_MODES)."""
        spectrum = np.fft.rfft(u)[:, 1 : NUM_MODES + 1] * (2 / self.num_points)
        return np.stack([spectrum.real, -spectrum.imag], 2).reshape(len(u), -1)


@final
class KuramotoSivashinsky(ClosedFormTask):
    """Ring with five actuators; 10 observations, 5 actions in [-1, 1].

    Observed are the amplitudes of cos and sin of the waves 1 to 5.

    Args:
        solver: of the equation.
    """

    obs_dim = 2 * NUM_MODES
    max_episode_steps = 200

    def __init__(self, *, solver: Solver | None = None):
        """Build bounds and names."""
        self.high = np.ones(NUM_ACTUATORS, dtype=np.float32)
        self.low = -self.high
        names = tuple(f"{part}{k}" for k in range(1, NUM_MODES + 1) for part in "ab")
        self.task = Task(reward=calm, terminated=never, obs_names=names)
        self._solver = Solver() if solver is None else solver
        self.state_dim = self._solver.num_points  # u on the grid

    def start(self, generators: list[np.random.Generator]) -> Array:
        """Sample states on the attractor: small random waves, left to grow."""
        amplitudes = np.stack([g.standard_normal((2, 4)) for g in generators])
        angle = 2 * np.pi * np.arange(self._solver.num_points) / self._solver.num_points
        phases = np.arange(1, 5)[:, None] * angle
        waves = np.stack((np.cos(phases), np.sin(phases)))
        u = 0.1 * (amplitudes[..., None] * waves).sum((1, 2))
        still = np.zeros((len(generators), NUM_ACTUATORS))
        for _ in range(BURN_IN):
            u = self._solver(u, still)
        return u

    def observe(self, state: Array) -> Array:
        """Return the amplitudes of the longest waves."""
        return self._solver.modes(state)

    def step(self, state: Array, action: NDArray[np.float32]) -> Array:
        """Solve the equation for one step under clipped actions."""
        return self._solver(state, np.clip(action, -1, 1).astype(np.float64))

    def outcome(
        self, state: Array, action: NDArray[np.float32], next_state: Array, next_obs: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the reward of the task and no termination."""
        return task_outcome(self.task, next_obs, action, next_obs)


@checked
def kuramoto_sivashinsky(
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of rings.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    task = KuramotoSivashinsky()
    return closed_form(task, num_envs=num_envs, seed=seed, dtype=dtype, device=device)

"""A linear system with a quadratic cost, and its optimum by Riccati's recursion."""

import torch
from torch import Tensor

from mbrl.types import ActionSpec, Prediction

HORIZON = 20


class LinearQuadratic:
    """4 states, 2 inputs; reward -(x'Qx + u'Ru) of the state acted in, Q = R = 1."""

    def __init__(self, seed: int = 0):
        draws = torch.Generator().manual_seed(seed)
        self.a = torch.linalg.qr(torch.randn(4, 4, generator=draws))[0] * 0.95
        self.b = torch.randn(4, 2, generator=draws) * 0.5

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def observe(self, state, action, obs, env_state=None):
        return obs.repeat(state.shape[0] // obs.shape[0], 1)

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        after = state @ self.a.T + action @ self.b.T
        reward = -state.square().sum(1) - action.square().sum(1)
        never = torch.zeros_like(reward, dtype=torch.bool)
        return after, Prediction(after, reward, never, ~never, None)

    def gains(self) -> tuple[list[Tensor], Tensor]:
        """Compute the optimal feedback gains, the first decision's first, and the costs-to-go."""
        a, b = self.a.double(), self.b.double()
        p, gains = torch.zeros(4, 4, dtype=torch.float64), []
        for _ in range(HORIZON):
            k = torch.linalg.solve(torch.eye(2) + b.T @ p @ b, b.T @ p @ a)
            p = torch.eye(4) + a.T @ p @ (a - b @ k)
            gains.insert(0, k)
        return gains, p

    def optimum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the best returns (B,) from x (B, 4) and the largest input they take."""
        gains, p = self.gains()
        best = -((x.double() @ p) * x.double()).sum(1)
        largest, state = torch.zeros(()), x.double()
        for k in gains:
            u = -state @ k.T
            largest = torch.maximum(largest, u.abs().max())
            state = state @ self.a.double().T + u @ self.b.double().T
        return best, largest

    def value(self, x: Tensor, actions: Tensor) -> Tensor:
        """Compute the return (B,) of actions (B, H, 2) from x (B, 4)."""
        total = torch.zeros(x.shape[0])
        for t in range(actions.shape[1]):
            x, pred = self.step(x, actions[:, t])
            total += pred.reward
        return total


def states(num: int = 20) -> Tensor:
    """Draw starts (num, 4) on the sphere of radius 2."""
    x = torch.randn(num, 4, generator=torch.Generator().manual_seed(1))
    return 2 * x / x.norm(dim=1, keepdim=True)


def bounds(limit: float) -> ActionSpec:
    high = torch.full((2,), float(limit))
    return ActionSpec("continuous", -high, high)

"""Policy of a few terms: action = clip(sum of coefficients times monomials of the observation).

It is the last step of SINDy-RL (Zolman et al. 2024): `mbrl distill` fits one to a network policy;
see distillation.py.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.dynamics.sindy.codegen import active, statements, weighted_sum
from mbrl.dynamics.sindy.equations import Equation
from mbrl.dynamics.sindy.library import Term, polynomial, reduce_circles
from mbrl.errors import BadInput
from mbrl.imagination.hold import ActionHold
from mbrl.roles import Agent
from mbrl.types import ActionSpec, Task, as_rows
from mbrl.values import Count, Degree, checked


@final
class SparsePolicy(Agent):
    """Polynomial policy (Zolman et al. 2024); it does not learn while it acts.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous.
        task: its angle_pairs reduce the library, its obs_names are used in formulas.
        degree: largest degree of the polynomials.
        action_hold: environment steps for which an action is held.
        device: of the coefficients.

    Attributes:
        library: the terms that it may have.
        weights: (act_dim, num_terms) float64.

    Raises:
        BadInput: if the actions are discrete.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        task: Task,
        degree: Degree = 3,
        action_hold: Count = 1,
        device: torch.device | str = "cpu",
    ):
        """Start without terms."""
        if action.kind != "continuous":
            raise BadInput("action: a sparse policy takes continuous actions; these are discrete")
        self._action = action
        self.library = reduce_circles(polynomial(range(obs_dim), degree), task.angle_pairs)
        self.names = tuple(task.obs_names or [f"x{i}" for i in range(obs_dim)])
        size = (action.dim, len(self.library))
        self.weights = torch.zeros(size, dtype=torch.float64, device=device)
        self.action_hold = action_hold
        self._holds = {explore: ActionHold(action_hold) for explore in (True, False)}

    @property
    def num_terms(self) -> int:
        """Return the number of coefficients that are not 0."""
        return int((self.weights != 0).sum())

    def select(
        self, obs: Tensor, *, generator: torch.Generator | None = None, deterministic: bool = True
    ) -> Tensor:
        """Return actions (B, act_dim) for obs (B, obs_dim)."""
        obs = as_rows("obs", obs, width=len(self.names))
        used = torch.nonzero((self.weights != 0).any(0))[:, 0].tolist()
        action = self._action.low.expand(obs.shape[0], -1) * 0
        if used:
            columns = list(obs.double().unbind(1))
            terms = type(self.library)(self.library[i] for i in used)
            action = terms.evaluate(columns) @ self.weights[:, used].T
        return self._action.clip(action.to(self._action.low.dtype))

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim), the same ones in training and in evaluation."""
        return self._holds[explore](self.select(obs))

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Do nothing: the coefficients are fixed."""
        return {}

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Stop holding actions in the environments in done (E,) bool; None = in all of them."""
        self._holds[explore].reset(done)

    def formulas(self) -> list[Equation]:
        """Return one formula for each action; its value is clipped to the bounds."""
        acts = ["u"] if self.weights.shape[0] == 1 else [f"u{i}" for i in range(len(self.weights))]
        return [
            Equation(name, tuple(self._used(row)), self.names)
            for name, row in zip(acts, self.weights, strict=True)
        ]

    def _used(self, row: Tensor) -> list[tuple[float, Term]]:
        return [(w, t) for w, t in zip(row.tolist(), self.library, strict=True) if w != 0]

    def source(self, language: str) -> str:
        """Return the policy as the source of a function without dependencies: "python" or "c"."""
        stage = active(self.library, self.weights.cpu().numpy())
        lines = statements(stage.terms, repr)
        sums = [weighted_sum(stage, row, repr) for row in range(len(self.weights))]
        low, high = self._action.low.tolist(), self._action.high.tolist()
        comment = f"obs: {', '.join(self.names)}"
        if language == "python":
            loads = ["    " + "".join(f"v{i}, " for i in range(len(self.names))) + "= obs"]
            body = [f"    {name} = {expression}" for name, expression in lines]
            out = "".join(
                f"min({b!r}, max({a!r}, {s})), " for a, b, s in zip(low, high, sums, strict=True)
            )
            head = ["def policy(obs):", f'    """{comment}."""']
            return "\n".join([*head, *loads, *body, f"    return ({out})"])
        loads = [f"    const double v{i} = obs[{i}];" for i in range(len(self.names))]
        body = [f"    const double {name} = {expression};" for name, expression in lines]
        out = []
        for i, (a, b, s) in enumerate(zip(low, high, sums, strict=True)):
            out.append(f"    action[{i}] = {s};")
            out.append(f"    if (action[{i}] < {a!r}) action[{i}] = {a!r};")
            out.append(f"    if (action[{i}] > {b!r}) action[{i}] = {b!r};")
        head = [f"/* {comment} */", "void policy(const double *obs, double *action) {"]
        return "\n".join([*head, *loads, *body, *out, "}"])

    def state_dict(self) -> dict[str, Any]:
        """Return the coefficients and the held actions."""
        return {"weights": self.weights.clone(), "held": self._holds[True].state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of another library.
        """
        if state["weights"].shape != self.weights.shape:
            raise BadInput(f"the saved policy has {state['weights'].shape[1]} possible terms")
        self.weights.copy_(state["weights"])
        self._holds[True].load_state_dict(state["held"], self._action.dim)

"""What models share: the belief of a Markov model, members of an ensemble, and candidates.

A new model whose observation is its whole state derives from `MarkovDynamics` and has two methods:
`fit` and `step`. A model with a memory derives from `Dynamics` and keeps a belief of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.roles import Dynamics, OffersCandidates
from mbrl.types import Prediction, Task, map_tensors


class Belief(NamedTuple):
    """State of a Markov model: the rows, and the member of the ensemble that each follows."""

    obs: Tensor  # (B, obs_dim)
    members: tuple[int, ...]  # G members; the rows are G equal blocks, in this order; () = the mean


class MarkovDynamics(Dynamics):
    """Model whose observation is its whole state.

    A subclass has `fit` and `step(state, action)`, where state is a `Belief`.

    Attributes:
        particle_members: numbers of the members among which particles are divided (TS-infinity,
            Chua et al. 2018); empty if there is only the mean prediction.
    """

    particle_members: Sequence[int] = ()

    @final
    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Belief:
        """Return the belief at obs (B, obs_dim), each particle with one member for good.

        Without a generator all rows follow the mean prediction; see Model.initial.
        """
        members: tuple[int, ...] = ()
        if generator is not None and self.particle_members:
            members = assign_members(
                self.particle_members, obs.shape[0], num_particles, generator=generator
            )
        return Belief(obs.repeat(num_particles, 1), members)

    @final
    def observe(
        self, state: Belief, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Belief:
        """Return the belief with all particles at obs (B, obs_dim); see Model.observe."""
        return state._replace(obs=obs.repeat(state.obs.shape[0] // obs.shape[0], 1))

    @final
    @torch.no_grad()
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the uncertainty (B,) of a step from obs (B, obs_dim) by action (B, act_dim).

        Raises:
            BadInput: if the model predicts none.
        """
        result = self.step(self.initial(obs), action, with_uncertainty=True)[1].uncertainty
        if result is None:
            raise BadInput(f"{type(self).__name__} predicts no uncertainty; GaussianEnsemble does")
        return result


def assign_members(
    members: Sequence[int], num_rows: int, num_particles: int, *, generator: torch.Generator
) -> tuple[int, ...]:
    """Sample which member each equal block of num_particles * num_rows rows follows.

    With one particle each row counts as a particle, so that all members are in use. Otherwise the
    blocks are whole particles, each member having the same number of them where that divides.

    Args:
        members: numbers of the members.
        num_rows: B, rows of one particle.
        num_particles: P.
        generator: source of the order.

    Returns:
        The member of each block, in rising order.
    """
    count = len(members)
    if num_particles == 1:
        blocks = min(count, num_rows)
    else:
        blocks = count if num_particles % count == 0 else num_particles
    order = torch.randperm(count, generator=generator, device=generator.device)
    if blocks % count == 0:  # each member as often, whatever the order: nothing is read
        return tuple(member for member in members for _ in range(blocks // count))
    places = order.repeat(-(-blocks // count))[:blocks].sort().values
    return tuple(members[i] for i in places.tolist())


def complete_prediction(
    task: Task,
    obs: Tensor,
    action: Tensor,
    next_obs: Tensor,
    *,
    reward: Tensor | None = None,
    ends: Callable[[Tensor], Tensor] | None = None,
) -> Prediction:
    """Return a prediction of one step with what the task knows: manifold, reward, termination.

    Args:
        task: what is known of the environment.
        obs: (B, obs_dim).
        action: (B, act_dim).
        next_obs: (B, obs_dim) predicted, before the task's projection.
        reward: (B,) predicted; None takes the task's.
        ends: learned termination, next_obs (B, obs_dim) -> (B,) bool; None takes the task's, and
            where the task has none, no row terminates.

    Raises:
        BadInput: if no reward is predicted and the task has none.
    """
    if task.project is not None:
        next_obs = task.project(next_obs)
    if reward is None:
        if task.reward is None:
            raise BadInput("reward: this task knows no reward, so the model should predict one")
        reward = task.reward(obs, action, next_obs)
    if ends is not None:
        terminated = ends(next_obs)
    elif task.terminated is not None:
        terminated = task.terminated(obs, action, next_obs)
    else:
        terminated = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
    return Prediction(next_obs, reward, terminated, torch.ones_like(terminated), None)


def candidates_of(
    model: Any, state: Any, action: Tensor, num: int, *, generator: torch.Generator | None
) -> tuple[Any, Prediction]:
    """Return num successors of each row of a model, for a filter or a penalty to choose among.

    A model that does not offer candidates itself is stepped num times.

    Args:
        model: a Model; one that has `candidates` (see OffersCandidates) is asked for them.
        state: its belief of B rows.
        action: (B, act_dim).
        num: K, successors of each row.
        generator: source of the model's noise; None draws none.

    Returns:
        The belief and the prediction of K * B rows, candidate by candidate.
    """
    if isinstance(model, OffersCandidates):
        return model.candidates(state, action, num, generator=generator)
    steps = [model.step(state, action, generator=generator) for _ in range(num)]
    return map_tensors(lambda *parts: torch.cat(parts), *steps)

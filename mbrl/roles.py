"""Every role of the framework on one page: what parts must offer to plug into each other.

    VecEnv          environments stepped side by side; SimulatesFromState: some of them can also be
                    simulated from given states, HasGymnasiumSpaces: some come from gymnasium
    Model           what planners and rollouts need of a dynamics model; SimulatesSequences,
                    HasTerminalValue, KnowsUncertainty: optional abilities
    Dynamics        a Model that is fitted to transitions
    OffersCandidates  a Model that samples several successors of a row at once
    Planner         chooses action sequences by their return in a Model
    ActionSelector  maps observations to actions: a policy, or UP-MPC over a policy
    PolicyLearner   improves a policy from real and imagined transitions
    Penalty         what is subtracted from an imagined reward where the model is uncertain
    Agent           acts and learns online; OfflineAgent learns from a dataset; HasDynamics,
                    HasLearner: what it is made of; Stacks: several seeds learn as one batch

A model's state is its belief S: a tensor, or a named tuple of tensors, batch first. The rows of a
belief with P particles of B environments are ordered particle by particle: row p * B + b. So rows
that share an ensemble member stand together, and each member is evaluated in one matrix product.
"""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from mbrl import inputs
from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Prediction, State, Task, Transitions

Ability = TypeVar("Ability")


def has_ability(part: object, ability: type[Ability]) -> TypeGuard[Ability]:
    """Return whether a part has an optional ability, a protocol of methods.

    The answer is isinstance's, which takes ten times as long before Python 3.12.

    Args:
        part: a model, a policy, an environment, ...
        ability: a protocol of this module.
    """
    return all(map(functools.partial(hasattr, part), _methods(ability)))


@functools.cache
def _methods(ability: type) -> tuple[str, ...]:
    """Return the names of a protocol's methods."""
    return tuple(name for name in vars(ability) if name[0] != "_")


class VecStep(NamedTuple):
    """Outcome of one step of E environments; those that ended were reset in the same step."""

    obs: Tensor  # (E, obs_dim) to act on next: after autoreset
    next_obs: Tensor  # (E, obs_dim) the true successor, also at an episode's end
    reward: Tensor  # (E,)
    terminated: Tensor  # (E,) bool
    truncated: Tensor  # (E,) bool


class VecEnv(Protocol):
    """E copies of one environment, stepped at once.

    Attributes:
        num_envs: E.
        obs_dim: length of an observation.
        action: kind and bounds of its actions.
        task: what is known of it in closed form.
        device: of its tensors.
        max_episode_steps: when an episode is truncated, None if never.
    """

    num_envs: int
    obs_dim: int
    action: ActionSpec
    task: Task
    device: torch.device
    max_episode_steps: int | None

    def reset(self, seed: int | None = None) -> Tensor:
        """Start new episodes; environment i is seeded with seed + i, as in gymnasium.

        Args:
            seed: of the environments; None goes on with their generators.

        Returns:
            obs (E, obs_dim).
        """
        ...

    def step(self, action: Tensor) -> VecStep:
        """Step with actions (E, act_dim) in environment units.

        Raises:
            EnvironmentFault: on a NaN, an infinity, an exception or a hang, with index and step.
        """
        ...

    def env_state(self) -> Tensor | None:
        """Return the simulator's full state (E, state_dim), None where there is none."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit: tensors and JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        ...

    def close(self) -> None:
        """Close threads, windows and processes."""
        ...


@runtime_checkable
class SimulatesFromState(Protocol):
    """Optional ability of a VecEnv: simulate action sequences apart from the running episodes."""

    def simulate(
        self, state: Tensor, action: Tensor, *, with_state: bool = False
    ) -> tuple[Prediction, Tensor | None]:
        """Simulate action sequences from states of env_state().

        Args:
            state: (B, state_dim); B is free.
            action: (B, H, act_dim) in environment units.
            with_state: also return the states at the end.

        Returns:
            A prediction of each step (B, H, ...), valid = False from the one in which a simulation
            blew up; and the states (B, state_dim) at the end, None if not asked for.
        """
        ...


@runtime_checkable
class HasPhysicalParameters(Protocol):
    """Optional ability of a VecEnv that SimulatesFromState: physics that differ between episodes.

    Attributes:
        num_parameters: P, 0 if all episodes have the same.
    """

    num_parameters: int

    def draw_parameters(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw physical parameters as episodes do: (count, P)."""
        ...

    def nominal_parameters(self) -> Tensor:
        """Return the physical parameters of the model itself: (P,)."""
        ...

    def with_parameters(self, state: Tensor, parameters: Tensor) -> Tensor:
        """Return states of env_state (B, state_dim) with other physical parameters (B, P)."""
        ...


@runtime_checkable
class HasGymnasiumSpaces(Protocol):
    """Optional ability of a VecEnv: what gymnasium's spaces say beyond obs_dim and action.

    Attributes:
        obs_shape: of an observation before it is flattened.
        act_shape: of an action before it is flattened, () of a Discrete space.
        first_action: number of the first action of a Discrete space.
        observation_space: gymnasium's, of one environment.
        action_space: gymnasium's, of one environment.
    """

    obs_shape: tuple[int, ...]
    act_shape: tuple[int, ...]
    first_action: int
    observation_space: Any
    action_space: Any


@runtime_checkable
class HasRewardTerms(Protocol):
    """VecEnv that knows the terms of its rewards, by the names in gymnasium's `info`."""

    def reward_terms(self) -> dict[str, Tensor]:
        """Return the terms of the latest rewards, (E,) each, NaN where an environment has none.

        Those of an environment whose episode ended in that step may mean nothing.
        """
        ...


@runtime_checkable
class Model(Protocol[State]):
    """Dynamics model as planners and rollouts need it: it predicts steps from a state."""

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> State:
        """Return the belief at obs (B, obs_dim): num_particles * B rows, particle by particle.

        Without a generator it is that of the mean prediction (all members together).
        """
        ...

    def observe(
        self, state: State, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> State:
        """Update the belief with a real step: action (B, act_dim) led to obs (B, obs_dim).

        Args:
            state: the belief before the step.
            action: the action that was executed.
            obs: the observation after it.
            env_state: the simulator's (B, state_dim), None where there is none.
        """
        ...

    def step(
        self,
        state: State,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[State, Prediction]:
        """Predict one step for action (B, act_dim); without a generator no noise is drawn."""
        ...


@runtime_checkable
class OffersCandidates(Protocol[State]):
    """Optional ability of a Model: several successors of a row at once, at less than K steps' cost.

    Models without it are stepped K times; see mbrl.dynamics.base.candidates_of.
    """

    def candidates(
        self, state: State, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[State, Prediction]:
        """Return num successors of each row for action (B, act_dim); K leads: (K * B, ...).

        A filter chooses among them. Without a generator no noise is drawn.
        """
        ...


@runtime_checkable
class SimulatesSequences(Protocol):
    """Optional ability of a Model: whole action sequences at once, without noise."""

    def simulate(self, state: Any, actions: Tensor) -> Prediction:
        """Predict the steps of actions (B, H, act_dim) from a state of B rows: (B, H, ...)."""
        ...


@runtime_checkable
class HasTerminalValue(Protocol):
    """Optional ability of a Model: the value of the state in which a plan ends."""

    def terminal_value(self, obs: Tensor) -> Tensor:
        """Return the value (B,) of obs (B, obs_dim), the last ones of a plan."""
        ...


@runtime_checkable
class KnowsUncertainty(Protocol):
    """Optional ability of a Model: its uncertainty of a step from an observation."""

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the uncertainty (B,) of a step from obs (B, obs_dim) by action (B, act_dim)."""
        ...


@runtime_checkable
class MayRefuse(Protocol):
    """Optional ability of a Dynamics: it says when it is no base for control."""

    def refusal(self) -> str:
        """Return why an agent should not act by the model, empty if it may."""
        ...


@runtime_checkable
class ValuesStates(Protocol):
    """Optional ability of a policy: an estimate of the return from an observation."""

    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim) under the policy."""
        ...


_FINITE = ("weights", "members", "whiten")  # ends of the names of buffers that are coefficients


class Dynamics(nn.Module, ABC):
    """Model that is fitted to transitions; it satisfies Model.

    What its methods are given is checked before they are called (mbrl.inputs).

    Attributes:
        obs_dim: length that observations must have; 0 for any.
        act_dim: length that actions must have; 0 for any.
        learned: False if there is nothing to fit and a belief needs the simulator's state, which
            no stored observation holds.
    """

    learned: bool = True
    obs_dim: int = 0
    act_dim: int = 0

    def __init_subclass__(cls) -> None:
        """Check what the methods of a subclass are given."""
        super().__init_subclass__()
        inputs.wrap(cls, inputs.DYNAMICS)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Restore a state_dict, refusing numbers that no fit has left there.

        Raises:
            BadInput: naming the tensor that is not finite. Bounds may be infinite, but not NaN.
        """
        for name, tensor in state_dict.items():
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
                continue
            if not torch.isfinite(tensor).all():
                may_be_infinite = not name.endswith(_FINITE) and name in dict(self.named_buffers())
                if torch.isnan(tensor).any() or not may_be_infinite:
                    raise BadInput(f"{name}: holds NaN or infinite numbers; should be finite")
        return super().load_state_dict(state_dict, strict, assign)

    @abstractmethod
    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data so far, starting from the last fit.

        Args:
            data: transitions (B, ...), rows of an episode in time order.
            generator: source of every random draw.

        Returns:
            Metrics, among them a holdout error.

        Raises:
            NumericalFault: if the loss is not finite.
        """

    @abstractmethod
    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Any:
        """Return the belief at obs (B, obs_dim): num_particles * B rows, particle by particle."""

    @abstractmethod
    def observe(
        self, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Any:
        """Update the belief with a real step; see Model.observe."""

    @abstractmethod
    def step(
        self,
        state: Any,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Any, Prediction]:
        """Predict one step for action (B, act_dim); without a generator no noise is drawn."""

    @abstractmethod
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the uncertainty (B,) of a step from obs (B, obs_dim) by action (B, act_dim).

        Raises:
            BadInput: if the model predicts none.
        """


WarmStart = TypeVar("WarmStart")  # a tensor or a (named) tuple of tensors, (E, ...)


class Plan(NamedTuple, Generic[WarmStart]):
    """Action sequences of E environments."""

    actions: Tensor  # (E, H, act_dim) in environment units
    value: Tensor  # (E,) predicted return
    warm_start: WarmStart  # where the next plan starts from; of the structure of Planner.start
    info: dict[str, Any]  # iterations, evaluations, latency; exact planners: lower_bound, gap ...

    @property
    def memory(self) -> WarmStart:
        """Return the warm start; its former name, for one release."""
        warnings.warn("Plan.memory is now Plan.warm_start", DeprecationWarning, stacklevel=2)
        return self.warm_start


class Planner(ABC, Generic[WarmStart]):
    """Planner: chooses action sequences by their return in a model.

    Attributes:
        num_particles: rows of the model's state per environment that `plan` expects.
        action_hold: environment steps for which each action of a plan is held.
    """

    num_particles: int
    action_hold: int

    def __init_subclass__(cls) -> None:
        """Check what the plans of a subclass begin from."""
        super().__init_subclass__()
        inputs.wrap(cls, inputs.PLANNER)

    @abstractmethod
    def start(self, num_envs: int) -> WarmStart:
        """Return the warm start of E environments that have no plan yet.

        Agents keep warm starts of this structure, and save its tensors.
        """

    @abstractmethod
    def plan(
        self,
        state: State,
        model: Model[State],
        *,
        generator: torch.Generator,
        previous: Plan[WarmStart] | None = None,
        deadline: float | None = None,
    ) -> Plan[WarmStart]:
        """Plan for every environment.

        Args:
            state: the model's state, num_particles rows for each of E environments.
            model: the model that predicts the returns.
            generator: source of every random draw.
            previous: the plan of the decision before, for a warm start.
            deadline: seconds from now, after which the best plan so far is returned.

        Returns:
            A plan whose actions are inside the action bounds.
        """


@runtime_checkable
class ActionSelector(Protocol):
    """Selector of actions from observations: a policy, or UP-MPC over a policy."""

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) for obs (B, obs_dim)."""
        ...


@runtime_checkable
class PlanningSelector(ActionSelector, Protocol):
    """ActionSelector with metrics and a state of its own, such as UP-MPC."""

    def metrics(self) -> dict[str, float]:
        """Return the latest measurements; empty before the first choice."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        ...


class ModelVecEnv(Protocol):
    """Vector environment inside a model: imagination.ImaginedVecEnv.

    Attributes:
        num_envs: E.
        obs_dim: length of an observation.
        action: the actions it takes.
        bounds: (low, high) of the observations, each (obs_dim,); None without bounds.
    """

    num_envs: int
    obs_dim: int
    action: ActionSpec
    bounds: tuple[Tensor, Tensor] | None

    def reset(self, seed: int | None = None) -> Tensor:
        """Return the first observations (E, obs_dim) of new episodes."""
        ...

    def step(self, action: Tensor) -> VecStep:
        """Return the outcome of one step with actions (E, act_dim) in environment units."""
        ...

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict one step with actions (E, act_dim), and restart no environment.

        Returns:
            next_obs (E, obs_dim), reward (E,), terminated (E,), truncated (E,).
        """
        ...

    def restart(self, done: Tensor, seed: int | None = None) -> Tensor:
        """Start new episodes where done (E,) holds, and return all observations (E, obs_dim)."""
        ...


@runtime_checkable
class PolicyLearner(Protocol):
    """Policy and the algorithm that improves it; also an ActionSelector."""

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) for obs (B, obs_dim)."""
        ...

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Update the policy num_updates times.

        Args:
            real: transitions of the environment.
            imagined: transitions of the model; None in model-free learning.
            model_env: the model as an environment, for a ModelEnvLearner.
            num_updates: gradient steps, or iterations of a ModelEnvLearner.

        Returns:
            Metrics of the last step.
        """
        ...

    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) of the policy from obs (B, obs_dim)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        ...


@runtime_checkable
class ModelEnvLearner(PolicyLearner, Protocol):
    """PolicyLearner that collects its own rollouts inside the model.

    Attributes:
        num_model_envs: environments of the model_env that improve() takes.
    """

    num_model_envs: int


@runtime_checkable
class CountsPolicyParameters(Protocol):
    """Optional ability of a learner: the size of its policy."""

    @property
    def num_policy_parameters(self) -> int | None:
        """Return the number of weights that lead to an action; None if unknown."""
        ...


class Penalty(Protocol):
    """What is subtracted from imagined rewards where the model is uncertain (MOPO, MOBILE)."""

    def __call__(self, transition: Transitions, model: Dynamics, learner: PolicyLearner) -> Tensor:
        """Return the penalties (B,) of imagined transitions (B, ...)."""
        ...


class Actor(ABC):
    """What acts in an environment; all that an evaluation needs.

    Attributes:
        needs_env_state: whether act() needs the simulator's state, because the model is the
            simulator itself. Reading it costs time, so it is read only then.
        device: where observations must be; None where the policy says so itself.
    """

    needs_env_state: bool = False
    device: torch.device | None = None

    def __init_subclass__(cls) -> None:
        """Check the observations that a subclass acts on."""
        super().__init_subclass__()
        inputs.wrap(cls, inputs.ACTOR)

    @abstractmethod
    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim) for obs (E, obs_dim).

        Args:
            obs: the environments' observations.
            explore: True in training. False in evaluation, which has an episode memory of its own
                and draws from no generator of training.
            env_state: the simulator's state (E, state_dim): env.env_state(); see needs_env_state.
        """

    @abstractmethod
    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Clear the episode memory of the environments in done (E,) bool; None = of all.

        Args:
            done: environments whose episode has ended.
            explore: which memory, as in act.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit for bit: nested dicts of tensors and JSON."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""


def refusal_of(dynamics: Dynamics) -> str:
    """Return why an agent should not act by a model, empty if it may.

    Args:
        dynamics: the model.
    """
    return dynamics.refusal() if isinstance(dynamics, MayRefuse) else ""


def needed_env_state(actor: Actor, env: VecEnv) -> Tensor | None:
    """Return the simulator's state (E, state_dim) if the actor needs it, None otherwise.

    Args:
        actor: about to act in the environments.
        env: E environments.
    """
    return env.env_state() if actor.needs_env_state else None


class Agent(Actor):
    """Actor that learns online from a buffer of real transitions; the training loop drives it."""

    @abstractmethod
    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Update with the transitions added since the last call; return metrics, maybe none."""


class OfflineAgent(Actor):
    """Actor that learns from a fixed dataset; the offline loop drives it."""

    @abstractmethod
    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Fit the model to the dataset, if there is one; called once, before the first update."""

    @abstractmethod
    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Update the policy num_updates times.

        Draws may come in blocks, so that another split of the same updates may end in other digits;
        the loop splits at the same places in a resumed run.

        Returns:
            Metrics of the last update.
        """


class AgentStack(Protocol):
    """Agents of several seeds that learn as one batch; each acts and is saved as before."""

    def act(self, obs: Sequence[Tensor]) -> list[Tensor]:
        """Return each agent's actions (E, act_dim), with exploration, for its obs (E, obs_dim)."""
        ...

    def update(self, buffers: Sequence[ReplayBuffer]) -> list[dict[str, float]]:
        """Update all agents with the transitions added to their buffers since the last call.

        Args:
            buffers: of each agent; as many transitions were added to each.

        Returns:
            Metrics of each agent.
        """
        ...


@runtime_checkable
class FitsTogether(Protocol):
    """Optional ability of a Dynamics: models of several seeds are fitted as one batch."""

    @staticmethod
    def fit_together(
        models: Sequence[Any],
        data: Sequence[Transitions],
        generators: Sequence[torch.Generator],
    ) -> list[dict[str, float]]:
        """Fit each model to its data, as its fit does alone, but for rounding.

        Args:
            models: of one seed each.
            data: of each.
            generators: source of each one's draws.

        Returns:
            Metrics of each.

        Raises:
            BadInput: if the models differ in more than their numbers.
            NumericalFault: if a loss is not finite.
        """
        ...


@runtime_checkable
class Stacks(Protocol):
    """Optional ability of an Agent or a PolicyLearner: several of them learn as one batch."""

    @staticmethod
    def stack(parts: Sequence[Any]) -> Any:
        """Return parts that differ in their seeds alone as one: of agents an AgentStack.

        Raises:
            BadInput: if they differ in more, or hold a part that cannot learn so.
        """
        ...


def stack_parts(role: str, parts: Sequence[Any]) -> Any:
    """Return parts that differ in their seeds alone as one, which learns as one batch.

    Args:
        role: what they are, for the message.
        parts: of one seed each.

    Raises:
        BadInput: if they cannot.
    """
    if not isinstance(parts[0], Stacks):
        raise BadInput(
            f"{role}: several seeds of a {type(parts[0]).__name__} cannot learn as one batch, as "
            "those of agents ModelFree and Dyna with the learner SAC can; run them one by one"
        )
    return parts[0].stack(parts)


@runtime_checkable
class HoldsOut(Protocol):
    """Optional ability of an offline agent: its model is not fitted to some of the data."""

    def held_out(self, data: Transitions) -> Tensor:
        """Return the rows (B,) of the dataset to which the model is not fitted, bool."""
        ...


@runtime_checkable
class HasDynamics(Protocol):
    """Optional ability of an agent: it has a model.

    Attributes:
        dynamics: the model.
    """

    dynamics: Dynamics


@runtime_checkable
class HasLearner(Protocol):
    """Optional ability of an agent: it has a policy that learns.

    Attributes:
        learner: the policy and how it learns.
    """

    learner: PolicyLearner

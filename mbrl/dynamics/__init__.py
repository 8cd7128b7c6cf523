"""Learned dynamics models, and the true simulator in their place."""

from mbrl import moved
from mbrl.dynamics.base import Belief, MarkovDynamics, candidates_of, complete_prediction
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.fallback import FallbackDynamics
from mbrl.dynamics.residual import ResidualDynamics
from mbrl.dynamics.simulator import Simulator
from mbrl.dynamics.sindy.model import SINDy
from mbrl.dynamics.sparse_relu.model import SparseReLU
from mbrl.dynamics.transition_filter.adversarial import Adversarial
from mbrl.dynamics.transition_filter.base import (
    Consensus,
    DynamicsReward,
    EnsembleMean,
    LearnedDynamicsReward,
    MixtureLikelihood,
    Oracle,
    RandomPick,
)
from mbrl.dynamics.transition_filter.bayesian_polynomial import Regression
from mbrl.dynamics.transition_filter.candidates import CandidateGenerator
from mbrl.dynamics.transition_filter.christoffel import Christoffel
from mbrl.dynamics.transition_filter.contrastive import Contrastive
from mbrl.dynamics.transition_filter.distilled import Distilled
from mbrl.dynamics.transition_filter.filter import RewardConsistent
from mbrl.dynamics.transition_filter.sparse_residual import SparseResidual
from mbrl.roles import Dynamics

__all__ = [
    "Adversarial",
    "Belief",
    "Christoffel",
    "Consensus",
    "Contrastive",
    "Distilled",
    "Dynamics",
    "EnsembleMean",
    "FallbackDynamics",
    "GaussianEnsemble",
    "DynamicsReward",
    "LearnedDynamicsReward",
    "MarkovDynamics",
    "MixtureLikelihood",
    "Oracle",
    "CandidateGenerator",
    "RandomPick",
    "Regression",
    "ResidualDynamics",
    "RewardConsistent",
    "SINDy",
    "Simulator",
    "SparseReLU",
    "SparseResidual",
    "candidates_of",
    "complete_prediction",
]

__getattr__ = moved.names(__name__)

"""Learned dynamics models, and the true simulator in their place."""

from typing import TYPE_CHECKING

from mbrl import lazy, moved

if TYPE_CHECKING:
    from mbrl.dynamics.base import Belief, MarkovDynamics, candidates_of, complete_prediction
    from mbrl.dynamics.ensemble import EnsembleTraining, GaussianEnsemble
    from mbrl.dynamics.fallback import FallbackDynamics
    from mbrl.dynamics.function import FunctionModel
    from mbrl.dynamics.least_squares import LeastSquares
    from mbrl.dynamics.residual import ResidualDynamics
    from mbrl.dynamics.simulator import Simulator
    from mbrl.dynamics.sindy.model import SINDy
    from mbrl.dynamics.sparse_relu.model import SparseReLU
    from mbrl.dynamics.sparse_relu.training import RolloutTraining
    from mbrl.dynamics.transition_filter.adversarial import AdversarialReward
    from mbrl.dynamics.transition_filter.base import DynamicsReward, LearnedDynamicsReward
    from mbrl.dynamics.transition_filter.baselines import (
        ConsensusReward,
        EnsembleMeanReward,
        MixtureLikelihoodReward,
        OracleReward,
        RandomReward,
    )
    from mbrl.dynamics.transition_filter.bayesian_polynomial import BayesianPolynomialReward
    from mbrl.dynamics.transition_filter.candidates import CandidateGenerator
    from mbrl.dynamics.transition_filter.christoffel import ChristoffelReward
    from mbrl.dynamics.transition_filter.contrastive import ContrastiveReward
    from mbrl.dynamics.transition_filter.distilled import DistilledReward
    from mbrl.dynamics.transition_filter.filter import RewardConsistent
    from mbrl.dynamics.transition_filter.sparse_residual import SparseResidualReward
    from mbrl.roles import Dynamics

__all__ = [
    "AdversarialReward",
    "BayesianPolynomialReward",
    "Belief",
    "CandidateGenerator",
    "ChristoffelReward",
    "ConsensusReward",
    "ContrastiveReward",
    "DistilledReward",
    "Dynamics",
    "DynamicsReward",
    "EnsembleMeanReward",
    "FallbackDynamics",
    "EnsembleTraining",
    "FunctionModel",
    "GaussianEnsemble",
    "LearnedDynamicsReward",
    "LeastSquares",
    "MarkovDynamics",
    "MixtureLikelihoodReward",
    "OracleReward",
    "RandomReward",
    "ResidualDynamics",
    "RewardConsistent",
    "RolloutTraining",
    "SINDy",
    "Simulator",
    "SparseReLU",
    "SparseResidualReward",
    "candidates_of",
    "complete_prediction",
]

__getattr__, __dir__ = lazy.exports(__name__, moved.names(__name__))

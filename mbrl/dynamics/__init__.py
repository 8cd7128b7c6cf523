"""Learned dynamics models, and the true simulator in their place."""

from mbrl.dynamics.adversarial import Adversarial
from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.christoffel import Christoffel
from mbrl.dynamics.contrastive import Contrastive
from mbrl.dynamics.distilled import Distilled
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.fallback import Fallback
from mbrl.dynamics.judge import (
    Consensus,
    EnsembleMean,
    Judge,
    LearnedJudge,
    MixtureLikelihood,
    Oracle,
    RandomPick,
)
from mbrl.dynamics.normalizer import Normalizer
from mbrl.dynamics.pool import Pool
from mbrl.dynamics.regression import Regression
from mbrl.dynamics.residual import Residual
from mbrl.dynamics.residual_judge import SparseResidual
from mbrl.dynamics.reward_consistent import RewardConsistent
from mbrl.dynamics.simulator import Simulator
from mbrl.dynamics.sindy import SINDy
from mbrl.dynamics.sparse_relu import SparseReLU

__all__ = [
    "Adversarial",
    "Christoffel",
    "Consensus",
    "Contrastive",
    "Distilled",
    "Dynamics",
    "EnsembleMean",
    "Fallback",
    "GaussianEnsemble",
    "Judge",
    "LearnedJudge",
    "MixtureLikelihood",
    "Normalizer",
    "Oracle",
    "Pool",
    "RandomPick",
    "Regression",
    "Residual",
    "RewardConsistent",
    "SINDy",
    "Simulator",
    "SparseReLU",
    "SparseResidual",
]

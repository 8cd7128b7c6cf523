"""Conversion of models to PySINDy and back."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.library import Library, Term, evaluate_terms, fourier, polynomial, rename
from mbrl.dynamics.sindy.settings import RegressionSettings
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task


def _terms(library: Any, inputs: Sequence[int]) -> list[Term]:
    """Return the terms of a fitted PySINDy library over the variables in inputs, in its order.

    Polynomials, Fourier terms, their sums, products and choices of inputs can be read.

    Raises:
        BadInput: for any other kind.
    """
    kind = type(library).__name__
    if kind == "TermLibrary":
        return list(rename(library.terms, inputs))
    if kind == "PolynomialLibrary":
        if library.interaction_only:
            powers = library.powers_
            return [Term(tuple(np.repeat(inputs, row).tolist())) for row in powers]
        return list(
            polynomial(
                inputs,
                library.degree,
                interaction=library.include_interaction,
                bias=library.include_bias,
            )
        )
    if kind == "FourierLibrary":
        return list(
            fourier(inputs, library.n_frequencies, sin=library.include_sin, cos=library.include_cos)
        )
    if kind == "ConcatLibrary":
        return [term for part in library.libraries for term in _terms(part, inputs)]
    if kind in ("TensoredLibrary", "GeneralizedLibrary"):
        chosen = library.inputs_per_library
        groups = chosen if chosen is not None else [range(len(inputs))] * len(library.libraries)
        parts = [
            _terms(part, [inputs[i] for i in dict.fromkeys(own)])
            for part, own in zip(library.libraries, groups, strict=True)
        ]
        if kind == "TensoredLibrary":
            return _product(parts)
        terms = [t for i, p in enumerate(parts) if i not in library.exclude_libraries for t in p]
        for row in library.tensor_array if library.tensor_array is not None else []:
            terms += _product([part for part, on in zip(parts, row, strict=True) if on])
        return terms
    raise BadInput(
        f"from_pysindy: {kind} cannot be read; polynomial and Fourier libraries can, "
        "and their sums and products"
    )


def _product(parts: list[list[Term]]) -> list[Term]:
    """Return the products of lists of terms, the last running fastest."""
    products = parts[0]
    for part in parts[1:]:
        products = [a * b for a in products for b in part]
    return products


def system_from_pysindy(model: Any) -> System:
    """Return the equations of a fitted pysindy.DiscreteSINDy, weights of equal terms summed.

    Raises:
        BadInput: if it is not of discrete time, or its library cannot be read.
    """
    if type(model).__name__ != "DiscreteSINDy":
        raise BadInput(
            f"from_pysindy: {type(model).__name__} gives rates of change; "
            "a step needs pysindy.DiscreteSINDy"
        )
    count, actions = model.n_features_in_, model.n_control_features_
    terms = _terms(model.feature_library, list(range(count)))
    library = Library(terms)
    weights = np.zeros((count - actions, len(library)))
    for term, column in zip(terms, np.asarray(model.coefficients()).T, strict=True):
        weights[:, library.index(term)] += column
    targets = tuple(range(count - actions))
    return System(count - actions, actions, False, targets, library, weights)


def model_from_pysindy(make: Any, model: Any, action: ActionSpec | None, task: Task | None) -> Any:
    """Return the model that the constructor `make` builds of a fitted pysindy.DiscreteSINDy."""
    system = system_from_pysindy(model)
    if action is None:
        high = torch.full((system.num_actions,), torch.inf)
        action = ActionSpec("continuous", -high, high)
    made = make(
        obs_dim=system.num_obs,
        action=action,
        task=task or Task(obs_names=tuple(model.feature_names[: system.num_obs])),
        library=system.library,
        regression=RegressionSettings(target="next"),
        num_members=1,
        num_elites=1,
    )
    members = torch.from_numpy(system.coefficients)[None]
    made.steps.store(system, members, torch.zeros(0))
    made.rebuild()
    return made


def system_to_pysindy(system: System, names: Sequence[str]) -> Any:
    """Return a system as a fitted PySINDy model; its predict, score and print work.

    Rates become a pysindy.SINDy whose unit of time is a step, others a pysindy.DiscreteSINDy.

    Raises:
        BadInput: for a structured system: turning angles are not sums of terms.
    """
    if system.positions or system.angles:
        raise BadInput(
            "to_pysindy: a structured model turns angles, which PySINDy cannot write; "
            "fit with structured=False"
        )
    import pysindy

    count = system.num_obs + system.num_actions
    library, weights = system.library, system.coefficients
    if system.delta and not system.flow:  # the next value is the old one and the change
        old = Library(Term((i,)) for i in system.targets)
        full = library | old
        weights = np.pad(weights, ((0, 0), (0, len(full) - len(library))))
        for row, term in enumerate(old):
            weights[row, full.index(term)] += 1
        library = full
    kind = pysindy.SINDy if system.flow else pysindy.DiscreteSINDy
    model = kind(optimizer=pysindy.STLSQ(), feature_library=term_library(library))
    rows = np.random.default_rng(0).standard_normal((2, count))
    obs, actions = rows[:, : system.num_obs], rows[:, system.num_obs :]
    known = "x_dot" if system.flow else "x_next"
    given: dict[str, Any] = {known: obs, "u": actions if system.num_actions else None}
    if "t" in inspect.signature(model.fit).parameters:  # later versions have dropped it
        given["t"] = 1.0
    model.fit(obs, feature_names=list(names), **given)  # lays out its attributes
    optimizer: Any = model.optimizer
    optimizer.coef_, optimizer.ind_ = weights, weights != 0
    return model


def term_library(terms: Library) -> Any:
    """Return a PySINDy library of any terms."""
    from pysindy.feature_library.base import BaseFeatureLibrary, x_sequence_or_item
    from pysindy.utils import AxesArray, comprehend_axes

    class TermLibrary(BaseFeatureLibrary):
        """Library of the terms of a sparse model."""

        def __init__(self, terms: Library):
            self.terms = terms

        @x_sequence_or_item
        def fit(self, x_full: Any, y: Any = None) -> Any:
            self.n_features_in_ = x_full[0].shape[-1]
            self.n_output_features_ = len(self.terms)
            return self

        @x_sequence_or_item
        def transform(self, x_full: Any) -> Any:
            results = []
            for x in x_full:
                columns = [torch.from_numpy(np.array(column)) for column in np.moveaxis(x, -1, 0)]
                values = torch.stack(evaluate_terms(self.terms, columns), -1).numpy()
                results.append(AxesArray(values, comprehend_axes(values)))
            return results

        def get_feature_names(self, input_features: Any = None) -> list[str]:
            names = input_features or [f"x{i}" for i in range(self.n_features_in_)]
            return self.terms.names(names)

    return TermLibrary(terms)

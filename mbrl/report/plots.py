"""Figures of a run, as PNG bytes."""

from __future__ import annotations

import io
from typing import Any

from mbrl.report.model_error import ModelError

_INK, _MODEL, _FAINT = "#1f2937", "#2563eb", "#9ca3af"


def learning_curve(
    evaluations: list[dict[str, Any]], baselines: dict[str, float], title: str
) -> bytes:
    """Draw returns of the evaluations against environment steps.

    Args:
        evaluations: {"step", "rewards"} in order.
        baselines: name -> mean return, drawn as level lines.
        title: of the figure.
    """
    figure, axes = _axes(title, "environment steps", "return")
    steps = [e["step"] for e in evaluations]
    mean = [sum(e["rewards"]) / len(e["rewards"]) for e in evaluations]
    low = [min(e["rewards"]) for e in evaluations]
    high = [max(e["rewards"]) for e in evaluations]
    axes.fill_between(steps, low, high, color=_MODEL, alpha=0.15, lw=0, label="worst to best")
    axes.plot(steps, mean, color=_MODEL, marker="o", ms=3, label="mean of the evaluation")
    for name, value in baselines.items():
        axes.axhline(value, color=_FAINT, ls="--", label=f"{name} ({value:.0f})")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def model_error_curve(error: ModelError) -> bytes:
    """Draw the k-step error of a model beside that of predicting no change."""
    figure, axes = _axes(
        f"model error, open loop ({error.num_sequences} sequences)",
        "steps ahead",
        "RMSE / std of obs",
    )
    steps = range(1, error.model.shape[0] + 1)
    axes.plot(steps, error.model.tolist(), color=_MODEL, label="model")
    axes.plot(steps, error.no_change.tolist(), color=_FAINT, ls="--", label="no change")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def error_curves(curves: dict[str, list[float]]) -> bytes:
    """Draw the open-loop errors of models after each step, the first one (no change) dashed."""
    figure, axes = _axes("open-loop error on held-out episodes", "steps ahead", "RMSE / std of obs")
    for number, (name, errors) in enumerate(curves.items()):
        style = {"color": _FAINT, "ls": "--"} if number == 0 else {}
        axes.plot(range(1, len(errors) + 1), errors, label=name, **style)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def predictions(name: str, steps: list[int], measured: Any, predicted: Any) -> bytes:
    """Draw what was measured and predicted (E, H) of an observation in E episodes."""
    figure, axes = _axes(name, "steps ahead", name)
    for truth, own in zip(measured.tolist(), predicted.tolist(), strict=True):
        axes.plot(steps, truth, color=_FAINT, lw=3)
        axes.plot(steps, own, color=_MODEL)
    return _png(figure)


def metric_curve(steps: list[float], values: list[float], name: str) -> bytes:
    """Draw one logged metric against environment steps."""
    figure, axes = _axes(name, "environment steps", name.split("/")[-1].replace("_", " "))
    axes.plot(steps, values, color=_MODEL)
    return _png(figure)


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

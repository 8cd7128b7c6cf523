"""Figures: what is drawn, read from matplotlib, and PNG bytes of it."""

import pytest
import torch

from mbrl.report import ModelError, plots
from mbrl.report.plots import learning_curve, metric_curve, model_error_curve


@pytest.fixture
def drawn(monkeypatch):
    """Return the axes of the figures, which are not encoded."""
    axes = []

    def keep(figure):
        axes.append(figure.axes[0])
        return b"png"

    monkeypatch.setattr(plots, "_png", keep)
    return axes


def lines(axes):
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
    }


def test_the_learning_curve_is_the_mean_between_worst_and_best(drawn):
    evaluations = [{"step": 10, "rewards": [1.0, 3.0]}, {"step": 20, "rewards": [4.0, 8.0]}]
    assert learning_curve(evaluations, {"random": -2.4}, "title") == b"png"
    (axes,) = drawn
    shown = lines(axes)
    assert shown["mean of the evaluation"] == ([10, 20], [2.0, 6.0])
    assert shown["random (-2)"][1] == [-2.4, -2.4]
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert corners == {(10, 1), (20, 4), (20, 8), (10, 3)}
    assert axes.get_title(loc="left") == "title"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "return")


def test_the_models_error_is_drawn_by_steps_ahead_on_a_log_scale(drawn):
    model_error_curve(ModelError(torch.tensor([0.25, 0.5]), torch.tensor([1.0, 2.0]), 50))
    (axes,) = drawn
    assert lines(axes) == {"model": ([1, 2], [0.25, 0.5]), "no change": ([1, 2], [1.0, 2.0])}
    assert axes.get_yscale() == "log" and "50 sequences" in axes.get_title(loc="left")


def test_a_metric_is_drawn_against_its_steps(drawn):
    metric_curve([1, 5], [2.0, 3.0], "train/mean_q")
    (axes,) = drawn
    (line,) = lines(axes).values()
    assert line == ([1, 5], [2.0, 3.0])
    assert axes.get_title(loc="left") == "train/mean_q" and axes.get_ylabel() == "mean q"


def test_a_figure_is_a_png():
    image = metric_curve([1], [2.0], "x")
    assert image.startswith(b"\x89PNG\r\n\x1a\n") and image.rstrip(b"\xaeB`\x82").endswith(b"IEND")

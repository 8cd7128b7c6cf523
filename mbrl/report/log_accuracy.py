"""How far a model of recorded runs is to be trusted.

Each model predicts held-out episodes open loop: from an observation and the recorded actions, H
steps on its own predictions, beside persistence (nothing changes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.data.logs.split import RecordedData
from mbrl.errors import BadInput
from mbrl.imagination.open_loop import predict_windows
from mbrl.nn.normalizer import divisor, spread
from mbrl.roles import Dynamics
from mbrl.types import Transitions, sequences

HORIZONS = (1, 5, 10, 20, 50)  # steps after which errors are shown
MAX_WINDOWS = 2_000  # predicted sequences
MAX_ROWS = 2_000  # of the intervals' coverage
NUM_SAMPLES = 100  # of each of these rows
NUM_RESAMPLES = 1_000  # of the held-out episodes
PERSISTENCE = "no change"


class Accuracy(NamedTuple):
    """Open-loop accuracy of a model on held-out episodes, D observations in the data's units."""

    name: str
    horizons: tuple[int, ...]  # steps
    error: Tensor  # (len(horizons), D) root mean squared error
    normalized: Tensor  # (len(horizons),) the same over all observations, in their deviations
    curve: Tensor  # (H,) the same after each step
    # the first step at which the model is no better than persistence, with its 95% interval over
    # episodes; None where it is better at every step
    break_even: tuple[int | None, int | None, int | None]
    coverage: tuple[float, float] | None  # shares inside the 68% and 95% intervals of one step
    seconds: float  # of CPU for the fit
    num_windows: int


def measure(
    name: str,
    model: Dynamics,
    data: RecordedData,
    *,
    fit: Callable[[Transitions], object] | None = None,
) -> Accuracy:
    """Fit a model to the training episodes and measure it on the held-out ones.

    Args:
        name: of the model, for the table.
        model: takes encoded observations.
        data: recorded runs.
        fit: fits the model; None if it is fitted.

    Raises:
        NumericalFault: of the fit.
    """
    start = time.process_time()
    if fit is not None:
        fit(data.train)
    seconds = time.process_time() - start

    def predict(windows: Tensor) -> Tensor:
        return predict_windows(model, data.held, windows)

    covered = _coverage(model, data, generator=torch.Generator().manual_seed(0))
    return _accuracy(name, predict, data, held_windows(data.held), covered, seconds)


def measure_persistence(data: RecordedData) -> Accuracy:
    """Measure the prediction that nothing changes."""
    windows = held_windows(data.held)

    def predict(windows: Tensor) -> Tensor:
        return data.held.obs[windows[:, :1]].expand(-1, windows.shape[1], -1)

    return _accuracy(PERSISTENCE, predict, data, windows, None, 0.0)


def held_windows(held: Transitions) -> Tensor:
    """Return rows of sequences (K, H) for open-loop predictions, H the longest horizon there is."""
    for horizon in reversed(HORIZONS):
        windows = sequences(held, horizon)
        if len(windows):
            return windows[:: -(-len(windows) // MAX_WINDOWS)]
    raise BadInput("data: the held-out episodes have no steps")


def _accuracy(
    name: str,
    predict: Callable[[Tensor], Tensor],
    data: RecordedData,
    windows: Tensor,
    covered: tuple[float, float] | None,
    seconds: float,
) -> Accuracy:
    """Return the accuracy of predictions (K, H, E) of windows (K, H)."""
    encoding, held = data.encoding, data.held
    truth = encoding.decode(held.next_obs.double())[windows]  # (K, H, D)
    start = encoding.decode(held.obs.double())[windows[:, :1]]
    unit = _units(data)
    with torch.no_grad():
        predicted = encoding.decode(predict(windows).double())
    squares = encoding.difference(predicted, truth).square()
    squares = torch.where(squares.isnan(), torch.inf, squares)
    still = encoding.difference(start, truth).square()
    horizons = tuple(h for h in HORIZONS if h <= windows.shape[1])
    at = torch.tensor(horizons) - 1
    per_step = (squares / unit.square()).mean(2)  # (K, H)
    return Accuracy(
        name,
        horizons,
        squares.mean(0).sqrt()[at],
        per_step.mean(0).sqrt()[at],
        per_step.mean(0).sqrt(),
        _break_even(per_step, (still / unit.square()).mean(2), held.episode[windows[:, 0]]),
        covered,
        seconds,
        len(windows),
    )


def _units(data: RecordedData) -> Tensor:
    """Return the standard deviations (D,) of the observations that are trained on."""
    decoded = data.encoding.decode(data.train.obs.double())
    return divisor(spread(decoded))


def _break_even(
    model: Tensor, still: Tensor, episode: Tensor
) -> tuple[int | None, int | None, int | None]:
    """Return the first step at which a model is no better than persistence, with its interval.

    Args:
        model: squared errors (K, H) of the model.
        still: those of persistence.
        episode: (K,) of the windows; the interval is a bootstrap over them.
    """
    numbers, index = episode.unique(return_inverse=True)
    gap = torch.where(model.isfinite(), model, still.max() * 1e6) - still
    sums = torch.zeros(len(numbers), model.shape[1], dtype=gap.dtype).index_add_(0, index, gap)
    draws = torch.Generator().manual_seed(0)
    counts = torch.randint(len(numbers), (NUM_RESAMPLES, len(numbers)), generator=draws)
    resampled = torch.stack([sums[row].sum(0) for row in counts])

    def first(total: Tensor) -> Tensor:  # (..., H) -> step, H + 1 for none
        worse = total >= 0
        none = torch.full(worse.shape[:-1], worse.shape[-1] + 1)
        return torch.where(worse.any(-1), worse.int().argmax(-1) + 1, none)

    steps = first(resampled).sort().values
    low, high = steps[int(0.025 * len(steps))], steps[int(0.975 * len(steps))]
    least = model.shape[1]
    central, below, above = (int(x) for x in (first(sums.sum(0)), low, high))
    return tuple(None if x > least else x for x in (central, below, above))  # pyright: ignore[reportReturnType]


@torch.no_grad()
def _coverage(
    model: Dynamics, data: RecordedData, *, generator: torch.Generator
) -> tuple[float, float] | None:
    """Return the shares of held-out steps inside the 68% and 95% intervals of a model's samples.

    None where the model samples nothing.
    """
    held = data.held
    rows = torch.arange(len(held.obs))[:: -(-len(held.obs) // MAX_ROWS)]
    obs, action = held.obs[rows], held.action[rows].repeat(NUM_SAMPLES, 1)
    belief = model.initial(obs, num_particles=NUM_SAMPLES, generator=generator)
    sampled = model.step(belief, action, generator=generator)[1].next_obs
    samples = sampled.view(NUM_SAMPLES, len(rows), -1)
    if not (samples != samples[:1]).any():
        return None
    truth = held.next_obs[rows]
    shares = []
    for share in (0.68, 0.95):
        edges = torch.tensor([(1 - share) / 2, (1 + share) / 2])
        low, high = samples.quantile(edges.to(samples), dim=0)
        shares.append(((low <= truth) & (truth <= high)).float().mean().item())
    return shares[0], shares[1]


def remarks(table: Sequence[Accuracy]) -> list[str]:
    """Return a sentence for each model that persistence is better than, or whose samples mislead.

    Args:
        table: of persistence, then of the models.
    """
    still, *models = table
    sentences = []
    for each in models:
        worse = [
            f"{h}"
            for h, own, other in zip(each.horizons, each.normalized, still.normalized, strict=True)
            if own >= other
        ]
        if worse:
            sentences.append(
                f"{each.name}: worse than predicting no change after {', '.join(worse)} steps."
            )
        if each.coverage is not None and each.coverage[1] < 0.9:
            sentences.append(
                f"{each.name}: its 95% intervals hold {each.coverage[1]:.0%} of held-out steps; "
                "it is surer than it should be."
            )
    return sentences


def table_lines(table: Sequence[Accuracy]) -> list[str]:
    """Return the table of models as lines of text."""
    steps = table[0].horizons
    head = f"{'model':16}" + "".join(f"{f'{h} steps':>11}" for h in steps)
    lines = [f"{head}{'break-even':>18}{'68%':>7}{'95%':>7}{'CPU s':>8}"]
    for each in table:
        errors = "".join(f"{x:11.4g}" for x in each.normalized.tolist())
        share = [f"{x:.2f}" for x in each.coverage] if each.coverage else ["", ""]
        even = "" if each is table[0] else break_even_text(each)
        lines.append(
            f"{each.name:16}{errors}{even:>18}{share[0]:>7}{share[1]:>7}{each.seconds:8.1f}"
        )
    return lines


def break_even_text(accuracy: Accuracy) -> str:
    """Return the break-even horizon in words: `12 (9-15)`, `> 50`."""
    longest = accuracy.horizons[-1]
    step, low, high = (f"> {longest}" if x is None else str(x) for x in accuracy.break_even)
    return step if step == low == high else f"{step} ({low} - {high})"

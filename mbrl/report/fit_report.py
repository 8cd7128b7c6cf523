"""Report of models of recorded runs: tables and predictions, one self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mbrl.data.logs.split import RecordedData
from mbrl.files import write_whole
from mbrl.imagination.open_loop import predict_windows
from mbrl.report import plots
from mbrl.report.html import page, picture
from mbrl.report.log_accuracy import Accuracy, break_even_text, held_windows
from mbrl.roles import Dynamics

MAX_SHOWN = 12  # observations whose predictions are drawn


def write_fit_report(
    path: Path,
    best: str,
    table: Sequence[Accuracy],
    data: RecordedData,
    notes: Sequence[str],
    model: Dynamics,
) -> Path:
    """Write PATH/report.html.

    Args:
        path: run folder.
        best: name of the model that is saved.
        table: accuracy of persistence, then of each model.
        data: recorded runs.
        notes: what was found, a sentence each.
        model: the one that is saved.

    Returns:
        The file.
    """
    curves = {each.name: each.curve.tolist() for each in table}
    figures = [plots.error_curves(curves)]
    steps, truth, predicted = _examples(model, data)
    for i, name in enumerate(data.encoding.names[:MAX_SHOWN]):
        figures.append(plots.predictions(name, steps, truth[..., i], predicted[..., i]))
    held, train = (len(x.episode.unique()) for x in (data.held, data.train))
    said = "".join(f"<li>{html.escape(note)}" for note in notes)
    longest = table[0].horizons[-1]
    own = next(each for each in table if each.name == best)
    body = f"""<p>Fitted to {len(data.train.reward)} transitions of {train} episodes, measured on
{len(data.held.reward)} of {held} others. After {longest} steps the best model is
<b>{html.escape(best)}</b>: its error is {own.normalized[-1]:.3g} standard deviations of the
observations, that of predicting no change {table[0].normalized[-1]:.3g}.</p><ul>{said}</ul>
<h2>Error on held-out episodes, in standard deviations of the observations</h2>{_models(table)}
<div class="row">{picture(figures[0])}</div>
<h2>Error of {html.escape(best)} by observation, in the data's units</h2>{_observations(own, data)}
<h2>Held-out episodes, measured (gray) and predicted from their first observation (blue)</h2>
<div class="row">{"".join(map(picture, figures[1:]))}</div>"""
    file = path / "report.html"
    write_whole(file, page("Models of recorded runs", body).encode("utf-8", "xmlcharrefreplace"))
    return file


def _models(table: Sequence[Accuracy]) -> str:
    """Return the table of the models."""
    head = "".join(f"<th>{h} steps" for h in table[0].horizons)
    rows = []
    for each in table:
        errors = "".join(f'<td class="n">{x:.3g}' for x in each.normalized.tolist())
        shares = [f"{x:.0%}" for x in each.coverage] if each.coverage else ["", ""]
        even = "" if each is table[0] else break_even_text(each)
        rows.append(
            f"<tr><td>{html.escape(each.name)}{errors}<td>{even}"
            f'<td class="n">{shares[0]}<td class="n">{shares[1]}<td class="n">{each.seconds:.1f}'
        )
    return (
        f"<table><tr><th>model{head}<th>steps until it is no better than no change"
        f"<th>in 68%<th>in 95% intervals<th>CPU s</tr>{''.join(rows)}</table>"
    )


def _observations(own: Accuracy, data: RecordedData) -> str:
    """Return the errors of each observation."""
    head = "".join(f"<th>{h} steps" for h in own.horizons)
    rows = [
        f"<tr><td>{html.escape(name)}" + "".join(f'<td class="n">{x:.3g}' for x in column)
        for name, column in zip(data.encoding.names, own.error.T.tolist(), strict=True)
    ]
    return f"<table><tr><th>observation{head}</tr>{''.join(rows)}</table>"


def _examples(model: Dynamics, data: RecordedData) -> tuple[list[int], Tensor, Tensor]:
    """Return the steps, and what was measured and predicted there (2, H, D), of two episodes."""
    windows = held_windows(data.held)
    chosen = windows[torch.tensor([0, len(windows) // 2])]
    encoding = data.encoding
    truth = encoding.decode(data.held.next_obs[chosen])
    predicted = encoding.decode(predict_windows(model, data.held, chosen))
    # angles go on beyond half a turn, the predicted ones beside the measured ones
    steps = torch.cat([truth[:, :1], encoding.difference(truth[:, 1:], truth[:, :-1])], 1)
    gap, truth = encoding.difference(predicted, truth), steps.cumsum(1)
    predicted = truth + gap
    return list(range(1, chosen.shape[1] + 1)), truth, predicted

"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import yaml

from mbrl.files import MB, read_lines, read_regular, write_whole
from mbrl.report import plots
from mbrl.report.model_error import ModelError

_LIMIT, _METRICS_LIMIT = 16 * MB, 1024 * MB  # bytes of a record, and of metrics.jsonl
_LARGEST = 1e30
_POINTS = 20_000  # of a curve; of more every second is left out
# a page of text and pictures: no script, and nothing from elsewhere
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2rem auto; color: #1f2937 }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin-top: 2rem }
img { max-width: 540px; width: 100% } .row { display: flex; flex-wrap: wrap; gap: 12px }
table { border-collapse: collapse } td, th { padding: 4px 14px 4px 0; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } pre { background: #f3f4f6;
padding: 12px; font-size: 12px; overflow-x: auto } small { color: #6b7280 }
"""


def write_report(
    run_path: Path,
    config: dict[str, Any],
    scores: dict[str, list[float]],
    model_error: ModelError | None = None,
) -> Path:
    """Write RUN/report.html from the run's record and what was measured for it.

    Args:
        run_path: the run folder.
        config: its resolved config.
        scores: policy name -> returns of its evaluation episodes, the trained one first.
        model_error: of the learned model, if there is one.

    Returns:
        The file.
    """
    summary = json.loads(read_regular(run_path / "summary.json", _LIMIT))
    versions = json.loads(read_regular(run_path / "versions.json", _LIMIT))
    choices = config["choices"]
    title = f"{choices['agent']} on {choices['env']}, seed {config['seed']}"
    (trained, own), *others = scores.items()
    figures = []
    if summary["evaluations"]:
        baselines = {name: sum(r) / len(r) for name, r in others}
        figures.append(plots.learning_curve(summary["evaluations"], baselines, "learning curve"))
    if model_error is not None:
        figures.append(plots.model_error_curve(model_error))
    figures += [
        plots.metric_curve(steps, values, name)
        for name, (steps, values) in _series(run_path / "metrics.jsonl").items()
    ]
    images = "".join(map(picture, figures))
    rows = "".join(_score_row(name, rewards) for name, rewards in scores.items())
    errors = "" if model_error is None else _error_table(model_error)
    steps = "updates" if config.get("dataset") else "environment steps"
    cpu, wall = summary["time/cpu_seconds"], summary["time/wall_seconds"]
    body = f"""<p>{int(summary["step"])} {steps}, {cpu:.0f} CPU seconds, {wall:.0f} seconds.
{html.escape(trained)}: mean return <b>{sum(own) / len(own):.1f}</b> over {len(own)} episodes.</p>
<div class="row">{images}</div>
<h2>Returns</h2><table><tr><th>policy<th>mean<th>std<th>worst<th>best<th>episodes</tr>{rows}</table>
{errors}
<h2>Config</h2><pre>{html.escape(yaml.safe_dump(config, sort_keys=False))}</pre>
<h2>Versions</h2><pre>{html.escape(json.dumps(versions, indent=1))}</pre>
<small>{html.escape(str(run_path))}</small>
"""
    path = run_path / "report.html"
    write_whole(path, page(title, body).encode("utf-8", "xmlcharrefreplace"))
    return path


def page(title: str, body: str) -> str:
    """Return a page that holds all it needs and runs no script.

    Args:
        title: shown as a heading too.
        body: HTML, every string in it escaped.
    """
    title = html.escape(title)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{title}</title>
<style>{_STYLE}</style><h1>{title}</h1>
{body}</html>
"""


def picture(png: bytes) -> str:
    """Return the HTML of a picture."""
    return f'<img alt="figure" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _score_row(name: str, rewards: list[float]) -> str:
    mean = sum(rewards) / len(rewards)
    std = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    cells = "".join(f'<td class="n">{v:.1f}' for v in (mean, std, min(rewards), max(rewards)))
    return f'<tr><td>{html.escape(name)}{cells}<td class="n">{len(rewards)}</tr>'


def _error_table(error: ModelError) -> str:
    horizon = error.model.shape[0]
    picked = sorted({k for k in (1, 2, 5, 10, 20, 50, horizon) if k <= horizon})
    head = "".join(f"<th>{k}" for k in picked)
    lines = "".join(
        f"<tr><td>{name}{''.join(f'<td class=n>{values[k - 1].item():.4f}' for k in picked)}</tr>"
        for name, values in (("model", error.model), ("no change", error.no_change))
    )
    return (
        "<h2>Model error by steps ahead</h2><p>Root mean squared error in standard deviations of "
        f"the observations; open loop, {error.num_sequences} sequences of "
        f"{html.escape(error.source)}.</p><table><tr><th>steps{head}</tr>{lines}</table>"
    )


def _number(value: Any) -> float:
    """Return a number of a record, NaN for what is none or too large to be drawn."""
    right = type(value) in (int, float) and abs(value) < _LARGEST
    return value if right else float("nan")


def _series(metrics: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Read the curves worth a figure from metrics.jsonl."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for line in read_lines(metrics, limit=_METRICS_LIMIT, longest=MB):
        row = json.loads(line)
        for name in ("model/holdout_mse", "rollout/ep_rew_mean", "train/mean_q", "eval/action_gap"):
            if name in row:
                steps, values = series.setdefault(name, ([], []))
                steps.append(_number(row["step"]))
                values.append(_number(row[name]))
                if len(steps) > _POINTS:
                    del steps[1::2], values[1::2]
    return series

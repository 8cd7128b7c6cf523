"""Coverage of the ensemble's intervals: how many fresh successors lie in those of 68% and 95%.

    python -m scripts.robustness.ensemble_intervals --rows 100 300 --seeds 12
    python -m scripts.robustness.ensemble_intervals --rows 1000 3000 10000 --seeds 3

Five systems, without noise and with 0.3 standard deviations of a change on every successor. The
fifth, two species, was added when the fit and its calibration were fixed.
The default ensemble is fitted to independent transitions; the prediction for fresh ones is sampled
200 times, its members in turn. "gaussian" is the interval of the samples' mean and deviation,
"sampled" that of their quantiles. Rows that the table has are skipped, so it may be stopped and
started; --output writes another table, such as that of an older version to compare with.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mbrl.dynamics import GaussianEnsemble
from mbrl.types import ActionSpec, Task, Transitions

OUTPUT = Path(__file__).parents[2] / "results" / "robustness" / "ensemble_intervals.csv"
COMMAND = "# python -m scripts.robustness.ensemble_intervals"
FIELDS = [
    *("system", "noise", "rows", "seed", "gaussian_68", "gaussian_95", "sampled_68", "sampled_95"),
    *("error", "updates"),
]
FRESH, SAMPLES = 250, 200
ACTION = ActionSpec.box([-1.0], [1.0])


def point(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors (B, 2) of a point in a periodic force."""
    x, v = obs.T
    return torch.stack([x + 0.05 * v, v + 0.05 * (action[:, 0] - torch.sin(2 * x))], 1)


def pendulum(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors (B, 3) of gymnasium's Pendulum: cos, sin, speed."""
    angle, speed = torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2]
    speed = (speed + 0.05 * (15 * torch.sin(angle) + 6 * action[:, 0])).clamp(-8, 8)
    angle = angle + 0.05 * speed
    return torch.stack([angle.cos(), angle.sin(), speed], 1)


def van_der_pol(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors (B, 2) of a van der Pol oscillator."""
    x, v = obs.T
    force = (1 - x * x) * v - x + 2 * action[:, 0]
    return torch.stack([x + 0.1 * v, v + 0.1 * force], 1)


def cart_pole(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors (B, 4) of gymnasium's CartPole with a continuous force."""
    x, v, angle, spin = obs.T
    sine, cosine = torch.sin(angle), torch.cos(angle)
    force = (10 * action[:, 0] + 0.05 * spin.square() * sine) / 1.1
    turn = (9.8 * sine - cosine * force) / (0.5 * (4 / 3 - 0.1 * cosine.square() / 1.1))
    push = force - 0.05 * turn * cosine / 1.1
    return torch.stack([x + 0.02 * v, v + 0.02 * push, angle + 0.02 * spin, spin + 0.02 * turn], 1)


def species(obs: Tensor, action: Tensor) -> Tensor:
    """Return the successors (B, 2) of prey and hunters (Lotka-Volterra), the action feeds prey."""
    prey, hunters = obs.T
    growth = 1.1 + 0.3 * action[:, 0] - 0.6 * hunters
    return torch.stack(
        [prey + 0.05 * prey * growth, hunters + 0.05 * hunters * (0.4 * prey - 0.8)], 1
    )


def on_circle(obs: Tensor) -> Tensor:
    """Return cos, sin and speed (B, 3) of angle and speed (B, 2)."""
    return torch.cat([obs[:, :1].cos(), obs[:, :1].sin(), obs[:, 1:]], 1)


SYSTEMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], list[float]]] = {
    "point": (point, [2.0, 2.0]),
    "pendulum": (pendulum, [math.pi, 8.0]),
    "van_der_pol": (van_der_pol, [3.0, 3.0]),
    "cart_pole": (cart_pole, [2.0, 2.0, 0.5, 2.0]),
    "species": (species, [2.0, 2.0]),
}


def draw(system: str, noise: float, rows: int, generator: torch.Generator) -> Transitions:
    """Sample independent transitions of a system."""
    move, reach = SYSTEMS[system]
    obs = torch.tensor(reach) * (2 * torch.rand(rows, len(reach), generator=generator) - 1)
    obs = on_circle(obs) if system == "pendulum" else obs
    action = ACTION.sample(rows, generator=generator)
    after = move(obs, action)
    spread = (after - obs).std(0)
    after = after + noise * spread * torch.randn(after.shape, generator=generator)
    return Transitions.from_arrays(
        obs, action, after, -after.square().sum(1), episode=torch.arange(rows)
    )


def measure(system: str, noise: float, rows: int, seed: int) -> dict[str, float]:
    """Return the coverages, and the mean squared error in variances of a change."""
    generator = torch.Generator().manual_seed(seed)
    data = draw(system, noise, rows, generator)
    fresh = draw(system, noise, FRESH, generator)
    model = GaussianEnsemble(
        obs_dim=data.obs.shape[1],
        action=ACTION,
        task=Task(terminated=lambda obs, action, after: torch.zeros(len(obs), dtype=torch.bool)),
        generator=torch.Generator().manual_seed(seed),
    )
    metrics = model.fit(data, generator=generator)
    with torch.no_grad():
        mean = model.step(model.initial(fresh.obs), fresh.action)[1].next_obs
        state = model.initial(fresh.obs, num_particles=SAMPLES, generator=generator)
        drawn = model.step(state, fresh.action.repeat(SAMPLES, 1), generator=generator)[1].next_obs
    samples = drawn.view(SAMPLES, *fresh.obs.shape)
    result: dict[str, float] = {}
    apart = (fresh.next_obs - samples.mean(0)).abs() / samples.std(0)
    for share, deviations in ((68, 0.99446), (95, 1.95996)):
        result[f"gaussian_{share}"] = (apart < deviations).double().mean().item()
        low, high = samples.quantile(torch.tensor([0.5 - share / 200, 0.5 + share / 200]), 0)
        inside = (fresh.next_obs > low) & (fresh.next_obs < high)
        result[f"sampled_{share}"] = inside.double().mean().item()
    error = (mean - fresh.next_obs).square().mean(0) / (fresh.next_obs - fresh.obs).var(0)
    return result | {"error": error.mean().item(), "updates": metrics["model/updates"]}


def main() -> None:
    """Fit what the table lacks, and append it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.output.exists():
        args.output.write_text(f"{COMMAND}\n{','.join(FIELDS)}\n")
    with args.output.open() as table:
        done = {tuple(row[:4]) for row in csv.reader(table)}
    for rows in args.rows:
        for seed in range(args.seeds):
            for system in SYSTEMS:
                for noise in (0.0, 0.3):
                    key = (system, str(noise), str(rows), str(seed))
                    if key in done:
                        continue
                    found = measure(system, noise, rows, seed)
                    with args.output.open("a") as table:
                        values = (f"{found[name]:.4g}" for name in FIELDS[4:])
                        table.write(",".join([*key, *values]) + "\n")


if __name__ == "__main__":
    main()

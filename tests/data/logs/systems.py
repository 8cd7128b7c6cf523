"""Made-up systems with actions of several kinds: linear ones, a cart, a pendulum."""

import numpy as np

STEP = 0.05  # s


def actions_of(kind, rng, observed, before, k):
    """The action of a row: white or smooth noise, sines, held values, or a controller's."""
    size = before.size
    if kind == "white":
        return rng.normal(size=size)
    if kind == "smooth":
        return 0.95 * before + 0.3 * rng.normal(size=size)
    if kind == "sines":
        return np.sin(0.7 * STEP * k + np.arange(size)) + np.sin(2.1 * STEP * k + 1)
    if kind == "held":
        return rng.normal(size=size) if k % 20 == 0 else before
    if kind == "noisy feedback":
        return np.full(size, -3 * observed[0] - observed[-1] + 0.5 * rng.normal())
    gains = np.linspace(0.5, 1.0, observed.size)
    return np.full(size, -gains @ observed)  # "feedback"


def linear_system(rng):
    """A stable linear system that keeps most of its state in a step, as sampled robots do."""
    size, inputs = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    keep = rotation @ np.diag(rng.uniform(0.85, 0.99, size)) @ rotation.T
    turn = 0.05 * rng.normal(size=(size, size))
    gain = 0.3 * rng.normal(size=(size, inputs))
    return lambda x, a: 0.97 * (keep + turn - turn.T) @ x + gain @ a, size, inputs


def cart(x, a):
    return np.array([x[0] + STEP * x[1], x[1] + STEP * (a[0] - 0.2 * x[1])])


def pendulum(x, a):
    angle, speed = x
    for _ in range(5):
        speed = speed + STEP / 5 * (-9.8 * np.sin(angle) - 0.1 * speed + 3 * a[0])
        angle = angle + STEP / 5 * speed
    return np.array([angle, speed])


def record(system, kind, seed, *, shift=0, noise=0.0, process=0.002, rows=300, runs=3):
    """Runs (obs (T + 1, D), action (T, A)) whose actions are recorded `shift` rows late.

    Args:
        system: "linear", "cart" or "pendulum".
        kind: of the actions.
        seed: of everything.
        shift: 1: a row holds the action that led to it; -1: the one of the next row.
        noise: of the measurements, in units of 0.05.
        process: deviation of the noise of each step.
        rows: of a run.
        runs: number of them.
    """
    rng = np.random.default_rng(seed)
    step, size, inputs = {"cart": (cart, 2, 1), "pendulum": (pendulum, 2, 1)}.get(
        system
    ) or linear_system(rng)
    recorded = []
    for _ in range(runs):
        state, action, observed = rng.normal(size=size), np.zeros(inputs), rng.normal(size=size)
        states, actions = [], []
        for k in range(rows + 3):
            observed = state + noise * 0.05 * rng.normal(size=size)
            action = actions_of(kind, rng, observed, action, k)
            states.append(observed)
            actions.append(action)
            state = step(state, action) + process * rng.normal(size=size)
        obs, taken = np.array(states), np.array(actions)
        recorded.append((obs[1 : rows + 2], taken[1 - shift : rows + 1 - shift]))
    return recorded

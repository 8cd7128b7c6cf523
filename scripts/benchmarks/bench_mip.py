"""Measure planner=mip: overhead, speed-up by bounds and options, time to the optimum, deadlines.

    # results/benchmarks/mip_speed.csv
    python -m scripts.benchmarks.bench_mip speed [--starts 10]
    # results/benchmarks/mip_in_time.csv
    python -m scripts.benchmarks.bench_mip in_time [--starts 50]
    # results/benchmarks/mip_anytime.csv
    python -m scripts.benchmarks.bench_mip anytime [--starts 500]

Problems: scripts/benchmarks/mip_problems.py. HiGHS runs on one thread inside the process, so that
CPU seconds are what a quiet core would take on the wall; both are written. `overhead` is everything
outside HiGHS's own run: bounding, writing the program, handing it over. `full` is the whole way
from an observation to the plan: CEM's incumbent, CROWN, OBBT, program, HiGHS.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mbrl.planners import MIP
from mbrl.planners.exact import pyomo_backend as mip_pyomo
from mbrl.relu import bounds, crown, highs
from mbrl.relu.obbt import tighten
from mbrl.relu.program import Problem, build
from scripts.benchmarks import mip_problems as problems

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"
SPEED = [
    ("smooth", 8, 10),
    ("smooth", 16, 5),
    ("smooth", 16, 10),
    ("smooth", 16, 15),
    ("contact", 8, 5),
]
IN_TIME = [("smooth", 16, 5, 0.2), ("smooth", 16, 10, 1.0), ("contact", 8, 5, 1.0)]
ANYTIME = [
    ("smooth", 16, 5),
    ("smooth", 16, 10),
    ("smooth", 16, 15),
    ("contact", 8, 5),
    ("contact", 8, 10),
]
BOX = {"smooth": ([-5, -12], [5, 12]), "contact": ([-0.4] * 4, [0.4] * 4)}
OURS = "crown + obbt, tuned"
LIMIT = 6.0  # seconds that a slow variant may take


def clocked(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float, float]:
    """Call; gives what it gives, CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call(*args, **options)
    return found, time.process_time() - cpu, time.perf_counter() - wall


def incumbent(task: str, problem: Problem) -> np.ndarray:
    """Return the plan that planner=mip starts from (H, act_dim)."""
    horizon = len(problem.action_low)
    planner = MIP(action=problems.system(task).action, horizon=horizon, max_nodes=1, max_lps=0)
    model = problems.Exact(problem.network, problem.cost)
    state = torch.from_numpy(problem.obs)[None]
    sampled = planner._sampler.plan(state, model, generator=torch.Generator().manual_seed(0))
    return sampled.actions[0].double().numpy()


def bounded(problem: Problem, start: np.ndarray, patience: int = 16) -> bounds.Bounds:
    """Bound as planner=mip does."""
    low, high = problem.held(problem.action_low), problem.held(problem.action_high)
    first = crown(problem.network, problem.obs, low, high)
    cutoff = problem.simulate(start[None])[0][0]
    found = tighten(problem, first, cutoff=cutoff, max_lps=200, patience=patience)
    if found.num_unstable() == first.num_unstable():
        return found
    return crown(problem.network, problem.obs, low, high, known=found)


def omlt_model(problem: Problem, box: tuple[list[float], list[float]]) -> Any:
    """Write the plan's program with OMLT's big-M blocks, one for each step."""
    pyo: Any = import_module("pyomo.environ")
    omlt: Any = import_module("omlt")
    neural: Any = import_module("omlt.neuralnet")
    layers: Any = import_module("omlt.neuralnet.layer")
    network, (layer,) = problem.network, problem.network.layers
    n, m, inputs = network.obs_dim, network.act_dim, network.num_inputs
    horizon = len(problem.action_low)
    low = [*box[0], *problem.action_low[0]]
    high = [*box[1], *problem.action_high[0]]
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(horizon + 1), range(n))
    model.u = pyo.Var(range(horizon), range(m))
    model.blocks = omlt.OmltBlock(range(horizon))
    model.rules = pyo.ConstraintList()
    cost: Any = 0
    model.parts = pyo.Var(range(horizon), range(99), domain=pyo.NonNegativeReals)
    for i in range(n):
        model.x[0, i].fix(problem.obs[i])
    for t in range(horizon):
        net = neural.NetworkDefinition(
            scaled_input_bounds={i: (float(low[i]), float(high[i])) for i in range(inputs)}
        )
        first = layers.InputLayer([inputs])
        hidden = layers.DenseLayer(
            [inputs], [len(layer.bias)], layer.weight.T, layer.bias, activation="relu"
        )
        read = network.weight[:, inputs:].T
        last = layers.DenseLayer([len(layer.bias)], [n], read, network.bias, activation="linear")
        for each in (first, hidden, last):
            net.add_layer(each)
        net.add_edge(first, hidden)
        net.add_edge(hidden, last)
        model.blocks[t].build_formulation(neural.ReluBigMFormulation(net))
        block, seen = model.blocks[t], [*(model.x[t, i] for i in range(n))]
        seen += [model.u[t, j] for j in range(m)]
        for i, given in enumerate(seen):
            model.rules.add(block.inputs[i] == given)
        for i in range(n):
            affine = sum(float(w) * x for w, x in zip(network.skip[i], seen, strict=True))
            model.rules.add(model.x[t + 1, i] == affine + block.outputs[i])
        y = [*(model.x[t + 1, i] for i in range(n)), *(model.u[t, j] for j in range(m))]
        part = 0
        for term in problem.cost.stage:
            for weight, bias in zip(term.weight, term.bias, strict=True):
                row = sum(float(w) * x for w, x in zip(weight, y, strict=True) if w) + bias
                model.rules.add(model.parts[t, part] >= row)
                model.rules.add(model.parts[t, part] >= -row)
                cost += model.parts[t, part]
                part += 1
    model.objective = pyo.Objective(expr=cost)
    return model


def solve_pyomo(model: Any, limit: float) -> tuple[Any, float, float]:
    """Solve a Pyomo model with HiGHS's own options; gives results, CPU and wall seconds."""
    appsi: Any = import_module("pyomo.contrib.appsi.solvers")
    solver = appsi.Highs()
    solver.config.load_solution = False
    solver.config.time_limit = limit
    solver.highs_options = {"output_flag": False, "threads": 1, "parallel": "off"}
    return clocked(solver.solve, model)


class Measured(NamedTuple):
    """One variant on one observation."""

    seconds: float  # CPU
    binaries: int = -1
    done: bool = True
    wrong: bool = False  # said to be optimal, although a better plan is known


def compare(task: str, width: int, horizon: int, obs: np.ndarray) -> dict[str, Measured]:
    """Measure all variants on one observation."""
    problem, found = problems.problem(task, width, horizon, obs), {}
    network, lows, tops = problem.network, problem.action_low, problem.action_high
    start = incumbent(task, problem)

    # overhead: the arrays' way, and Pyomo's
    limits, cpu, _ = clocked(crown, network, obs, lows, tops)
    program, more, _ = clocked(build, problem, limits)
    point, last, _ = clocked(program.complete, start)
    handed, passed, _ = clocked(hand_over, program, point)
    again = clocked(crown, network, obs, lows, tops, known=limits)[1]
    arrays, first = more + last + passed, cpu
    found["overhead: crown + arrays"] = Measured(cpu + arrays)
    found["overhead: crown twice + arrays"] = Measured(cpu + again + arrays)
    del handed
    written, cpu, _ = clocked(mip_pyomo.write, problem, limits)
    found["overhead: crown + pyomo, written"] = Measured(first + cpu)
    cold = first + cpu + solve_pyomo(written, 0.0)[1]  # HiGHS stops at once
    found["overhead: crown + pyomo, cold solve"] = Measured(cold)
    written, cpu, _ = clocked(omlt_model, problem, BOX[task])
    found["overhead: omlt, written"] = Measured(cpu)

    # bounds and options
    tight, cpu, _ = clocked(bounded, problem, start)
    program = build(problem, tight)
    point = program.complete(start)
    ours, more, _ = clocked(highs.solve, program, start=point, time_limit=LIMIT)
    solved = ours.status == "optimal"
    found[OURS] = Measured(cpu + more, tight.num_unstable(), solved)
    low, high = (np.array(x, dtype=float) for x in BOX[task])
    for name, options, limits in (
        ("box, defaults", {}, bounds.interval(network, obs, lows, tops, box=(low, high))),
        ("interval, defaults", {}, bounds.interval(network, obs, lows, tops)),
        ("crown, defaults", {}, crown(network, obs, lows, tops)),
        ("crown, tuned", None, crown(network, obs, lows, tops)),
    ):
        program = build(problem, limits)
        other, cpu, _ = clocked(highs.solve, program, time_limit=LIMIT, options=options)
        done = other.status == "optimal"
        wrong = False
        if done and solved and not name.startswith("box"):  # a plan may leave the box
            room = 1e-5 * abs(ours.objective)
            assert other.objective >= ours.objective - room, (name, other, ours)
            wrong = other.objective > ours.objective + room  # loose bounds, HiGHS's tolerances
        found[name] = Measured(cpu, limits.num_unstable(), done, wrong)
    results, cpu, _ = solve_pyomo(written, LIMIT)
    done = str(results.termination_condition).endswith("optimal")
    found["omlt, defaults"] = Measured(cpu, width * horizon, done)
    return found


def speed(starts: int) -> tuple[str, list[str]]:
    """Compare variants on the same observations, turn by turn."""
    lines = []
    for task, width, horizon in SPEED:
        turns = [compare(task, width, horizon, x) for x in problems.starts(task, starts, 1)]
        for name in turns[0]:
            own = [turn[name] for turn in turns]
            milliseconds = [1e3 * x.seconds for x in own]
            ratio = statistics.median(turn[name].seconds / turn[OURS].seconds for turn in turns)
            lines.append(
                f"{task},{width},{horizon},{name.replace(',', ';')},"
                f"{statistics.median(milliseconds):.2f},{max(milliseconds):.2f},"
                f"{statistics.median(x.binaries for x in own)},"
                f"{sum(x.done for x in own)}/{len(own)},{sum(x.wrong for x in own)},{ratio:.2f}"
            )
            print(lines[-1], flush=True)
    return (
        "task,neurons,horizon,variant,median_cpu_ms,max_cpu_ms,binaries,done,wrong,times_ours",
        lines,
    )


def hand_over(program: Any, point: np.ndarray) -> Any:
    """Run what highs.solve does before it runs."""
    solver = highs.make(highs.TUNED)
    solver.passModel(highs.as_lp(program))
    start = import_module("highspy").HighsSolution()
    start.col_value = point
    solver.setSolution(start)
    return solver


def in_time(starts: int) -> tuple[str, list[str]]:
    """Plan to the optimum from every start, the whole way, and name what is not solved in time."""
    lines = []
    for task, width, horizon, limit in IN_TIME:
        model, action = problems.model(task, width), problems.system(task).action
        planner = MIP(action=action, horizon=horizon, max_nodes=10**6, time_limit=20 * limit)
        counts = {"cpu": 0, "wall": 0}
        times: list[list[float]] = []
        for index, obs in enumerate(problems.starts(task, starts, 2)):
            state, draws = torch.from_numpy(obs)[None], torch.Generator().manual_seed(index)
            plan, cpu, wall = clocked(planner.plan, state, model, generator=draws)
            solved = plan.info["status"][0] == "optimal"
            counts["cpu"] += solved and cpu <= limit
            counts["wall"] += solved and wall <= limit
            times.append([cpu, wall])
            if not solved or cpu > limit:
                draws = torch.Generator().manual_seed(index)
                late = planner.plan(state, model, generator=draws, deadline=limit)
                gap = late.info["gap"].item()
                lines.append(
                    f"unsolved,{task},{width},{horizon},{limit},start {index},"
                    f"{1e3 * cpu:.0f},{1e3 * wall:.0f},{late.info['num_unstable'].item()},{gap:.4f}"
                )
                print(lines[-1], flush=True)
        cpu, wall = np.array(times).T * 1e3
        lines.append(
            f"cell,{task},{width},{horizon},{limit},{counts['cpu']}/{starts} by CPU; "
            f"{counts['wall']}/{starts} by wall,{np.median(cpu):.0f},{np.median(wall):.0f},"
            f"{np.quantile(cpu, 0.95):.0f},{cpu.max():.0f}"
        )
        print(lines[-1], flush=True)
    head = "row,task,neurons,horizon,limit_s,what,cpu_ms (median),wall_ms (median),"
    return head + "unstable (cell: p95 CPU ms),gap at the limit (cell: max CPU ms)", lines


def anytime(starts: int) -> tuple[str, list[str]]:
    """Plan within 100 ms: plans against incumbents, limits, and how late they come."""
    lines, deadline = [], 0.1
    late: list[float] = []
    late_cpu: list[float] = []
    share = -(-starts // len(ANYTIME))
    for task, width, horizon in ANYTIME:
        model, action = problems.model(task, width), problems.system(task).action
        planner = MIP(action=action, horizon=horizon, max_nodes=10**6)
        worse = outside = better = 0
        gaps, own, own_cpu = [], [], []
        for index, obs in enumerate(problems.starts(task, share, 3)):
            state, draws = torch.from_numpy(obs)[None], torch.Generator().manual_seed(index)
            plan, cpu, wall = clocked(
                planner.plan, state, model, generator=draws, deadline=deadline
            )
            own.append(wall / deadline - 1)
            own_cpu.append(cpu / deadline - 1)
            problem = problems.problem(task, width, horizon, obs)
            cost = problem.simulate(plan.actions.double().numpy())[0][0]
            before = plan.info["incumbent"].item()
            worse += cost > before + 1e-9 * max(1.0, abs(before))
            better += cost < before * (1 - 1e-4)
            outside += bool((plan.actions < action.low).any() or (plan.actions > action.high).any())
            gaps.append(plan.info["gap"].item())
        late += own
        late_cpu += own_cpu
        lines.append(
            row(f"{task},{width},{horizon}", share, worse, outside, better, gaps, own, own_cpu)
        )
        print(lines[-1], flush=True)
    lines.append(row("all,,", len(late), "", "", "", [0.0], late, late_cpu))
    print(lines[-1], flush=True)
    head = "task,neurons,horizon,plans,worse,outside,better than incumbent by 1e-4,median gap,"
    return head + "p50 overrun (wall),p99 overrun (wall),p99 overrun (CPU)", lines


def row(
    name: str, count: int, worse: Any, outside: Any, better: Any,
    gaps: list[float], late: list[float], late_cpu: list[float],
) -> str:  # fmt: skip
    """Write a line of anytime."""
    overruns = [np.quantile(late, 0.5), np.quantile(late, 0.99), np.quantile(late_cpu, 0.99)]
    shown = ",".join(f"{max(x, 0):.3f}" for x in overruns)
    return f"{name},{count},{worse},{outside},{better},{np.median(gaps):.4f},{shown}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["speed", "in_time", "anytime"])
    parser.add_argument("--starts", type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    count = args.starts or {"speed": 10, "in_time": 50, "anytime": 500}[args.what]
    header, lines = {"speed": speed, "in_time": in_time, "anytime": anytime}[args.what](count)
    command = f"# python -m scripts.benchmarks.bench_mip {' '.join(sys.argv[1:])}"
    file = RESULTS / f"mip_{args.what}.csv"
    file.write_text("\n".join([command, header, *lines]) + "\n")


if __name__ == "__main__":
    main()

"""What `mbrl doctor` and `mbrl train` say of odd and broken environments, and of wrong Tasks.

python -m scripts.robustness.doctor_cases [--out results/robustness/doctor_cases.csv] [--only WORDS]

Each case is one small environment (odd_environments.py). Its answer must hold the words named here,
in one line, without a traceback; a sound one must pass. Rows that are in the table are not run
again.
"""

import argparse
import contextlib
import csv
import io
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from mbrl.cli import main

HERE = "scripts.robustness.odd_environments"
TRAIN = ["agent=random", "total_steps=60", "eval_episodes=1", "eval_every=60", "seed=0"]
SOUND = "nothing found wrong"


class Case(NamedTuple):
    """Environment and what must be said of it."""

    doctor: str  # regular expression
    train: str  # regular expression; "" if the training must end well
    id: str = "Odd-v0"
    task: str = ""  # function of odd_environments that returns a Task


def refused(words: str, id: str = "Odd-v0", task: str = "") -> Case:
    """Return a case that both commands refuse alike."""
    return Case(words, words, id, task)


WRAP = "TransformAction"
CASES = {
    "nothing": Case(SOUND, ""),
    "float64 bounds": Case(SOUND, ""),
    "float32 bounds": Case(SOUND, ""),
    "float16 bounds": Case(SOUND, ""),
    "a constant component": Case("component 1 of the actions can only be 0", ""),
    "a constant that no float32 is": Case("component 1 of the actions can only be 0.1", ""),
    "infinite bounds": refused(f"component 0 is between -inf and inf.*{WRAP}"),
    "one infinite bound": refused(f"component 1 is between -1 and inf.*{WRAP}"),
    "bounds too wide for float32": refused(f"1e[+]300.*finite in float32.*{WRAP}"),
    "a range too wide for float32": refused(f"3e[+]38.*finite in float32.*{WRAP}"),
    "a box of integers": refused(f"is not supported.*{WRAP}"),
    "a matrix of actions": Case(SOUND, ""),
    "multi-discrete actions": refused(f"MultiDiscrete.* is not supported.*{WRAP}"),
    "multi-binary actions": refused(f"MultiBinary.* is not supported.*{WRAP}"),
    "a dictionary of actions": refused(f"Dict.* is not supported.*{WRAP}"),
    "a tuple of actions": refused(f"Tuple.* is not supported.*{WRAP}"),
    "discrete actions from -1": Case(SOUND, ""),
    "no action space": refused("action_space is missing"),
    "a dictionary of observations": refused("Dict.* is not supported.*FlattenObservation"),
    "discrete observations": refused("Discrete.* is not supported.*FlattenObservation"),
    "images": refused("is not supported; for images .*FlattenObservation"),
    "integer observations": Case(SOUND, ""),
    "raises when made": refused("raised ValueError when it was made: no such robot"),
    "a NaN in the observation": refused("environment 0, step 4: a NaN in the observation"),
    "an infinite reward": refused("environment 0, step 4: an infinity in the reward"),
    "a reward of text": refused("step 4: the reward is a str, not a number"),
    "terminated is a number": refused("step 4: terminated is a float, not a bool"),
    "an observation outside its space": Case("step 4: the observation.* is not in Box", ""),
    "no info": refused("step 4: raised ValueError: not enough values to unpack"),
    "changes the action": Case("step 4: changed the action it was given", ""),
    "divides by zero": refused("step 4: raised ZeroDivisionError"),
    "ends the process": Case(r"step 4: ended its process \(exit status 7\)", "not run"),
    "hangs": Case("step 4: no answer within", "not run"),
    "draws of its own": Case("does not repeat under the same seed", ""),
    "a start that depends on earlier episodes": Case("does not repeat", ""),
    "never ends": refused("no episode has ended.*max_episode_steps", "OddEndless-v0"),
    "a scalar action": Case(SOUND, ""),
    "half-infinite bounds": refused(f"component 0 is between 0 and inf.*{WRAP}"),
    "bounds of 1e30": Case(SOUND, ""),
    "no float32 between the bounds": Case("component 0 of the actions can only be 1e[+]08", ""),
    "one discrete action": Case(SOUND, ""),
    "ten million actions": refused(f"at most 10000 actions are; .*{WRAP}"),
    "actions of text": refused(f"Text.* is not supported.*{WRAP}"),
    "a class in place of an action space": refused("action_space is a type; should be a gymnasium"),
    "a scalar observation": Case(SOUND, ""),
    "a matrix of observations": Case(SOUND, ""),
    "float16 observations": Case(SOUND, ""),
    "bytes in a row": Case(SOUND, ""),
    "flags for observations": refused("MultiBinary.* is not supported.*FlattenObservation"),
    "half-infinite observations": Case(SOUND, ""),
    "goals in a dictionary": refused("Dict.* is not supported.*FlattenObservation"),
    "no observation of any number": refused("it has no components"),
    "no observation space": refused("observation_space is missing"),
    "a reset that raises": refused("environment 0, step 0: raised RuntimeError: the motor is off"),
    "a second reset that raises": refused("step 20: raised RuntimeError: no second episode"),
    "a reset without an info": refused(
        r"step 0: reset\(\) gave an array .*not \(observation, info"
    ),
    "a reset whose info is None": refused(r"step 0: the info of reset\(\) is nothing, not a dict"),
    "a NaN at the start": refused("environment 0, step 0: a NaN in the observation"),
    "a masked observation": refused("step 0: the observation is a masked array"),
    "complex observations": refused("step 0: the observation is an array of complex128"),
    "an observation in a column": refused(r"step 0: the observation is .* shape \(2, 1\), not num"),
    "an observation that is overwritten": Case("step 1: the observation shares memory", ""),
    "an observation as a list": Case(SOUND, ""),
    "an observation of another width": refused(r"step 1: the observation is .* shape \(3,\)"),
    "no observation": refused("step 1: the observation is nothing, not numbers"),
    "a reward without dimensions": Case(SOUND, ""),
    "a reward in an array": refused(r"step 1: the reward is an array .*\(1,\), not a number"),
    "a float32 reward": Case(SOUND, ""),
    "whole rewards": Case(SOUND, ""),
    "a reward of a tensor": Case(SOUND, ""),
    "no reward": refused("step 1: the reward is nothing, not a number"),
    "a complex reward": refused("step 1: the reward is a complex, not a number"),
    "a reward that is True": refused("step 1: the reward is a bool, not a number"),
    "a reward beyond float32": refused("step 1: an infinity in the reward"),
    "terminated is a numpy.bool": Case(SOUND, ""),
    "terminated is None": refused("step 1: terminated is nothing, not a bool"),
    "terminated is an array": refused(r"step 1: terminated is an array .*\(1,\), not a bool"),
    "terminates and truncates at once": Case(SOUND, ""),
    "ends with its first step": Case(SOUND, ""),
    "a large info": Case(SOUND, ""),
    "the info is a list": refused("step 1: the info is a list, not a dict"),
    "raises in several lines": refused("step 4: raised KeyError: "),
    "leaves by SystemExit": refused("step 4: raised SystemExit: 3"),
    "raises when closed": Case("raised RuntimeError when closed: the port is busy", "not run"),
    "reward terms": Case(SOUND, ""),
    "reward terms that do not add up": Case(
        "step 4: the terms of the reward in info, reward_near", ""
    ),
    "a limit of one step": Case(SOUND, "", "OddShort-v0"),
    "late observations": Case(SOUND, "", "OddDelayed-v0"),
    "stacked observations": Case(SOUND, "", "OddStacked-v0"),
    "rewards normalized by a wrapper": Case(
        "does not repeat|goes on otherwise", "", "OddNormalized-v0"
    ),
    "actions repeated by a wrapper": Case(
        "does not repeat|goes on otherwise|noth", "", "OddSticky-v0"
    ),
    "actions rescaled by a wrapper": Case(SOUND, "", "OddRescaled-v0"),
    "an id of this package": Case(SOUND, "", "mbrl/Hopper-v5"),
    "MuJoCo resets itself": refused("MuJoCo .*reset the simulation by itself", "OddUnstable-v0"),
    "an unknown id": refused("no such gymnasium environment", "pkg/Arm-v0"),
    "a right Task": Case(SOUND, "", task="right"),
    "a reward of the opposite sign": refused(
        r"task.reward .*the environment gave .*step \d+", task="opposite"
    ),
    "a wrong end": refused(r"task.terminated .*terminated=False .*step \d+", task="ends"),
    "too few names": refused("task.obs_names: 1 names, x, should be 2", task="one_name"),
    "an angle that is none": refused(r"task.angle_pairs: \(0, 1\)", task="no_angle"),
    "a reward in a column": refused(r"task.reward .*returned shape", task="column"),
    "a reward that raises": refused("task.reward .*raised RuntimeError", task="raises"),
}


def settings(name: str, case: Case, folder: Path) -> list[str]:
    """Return the settings of a case; a Task needs a YAML of its own."""
    id = case.id if "/" in case.id else f"{HERE}:{case.id}"
    if case.task:
        file = folder / "env" / f"{case.task}.yaml"
        file.parent.mkdir(exist_ok=True)
        lines = ["_target_: mbrl.envs.GymnasiumVecEnv", f"id: {id}"]
        file.write_text("\n".join([*lines, f"task: {{_target_: {HERE}.{case.task}}}", ""]))
        return ["--config-dir", str(folder), f"env={case.task}"]
    takes_name = case.id in ("Odd-v0", "OddEndless-v0")
    return ["env=gym", f"env.id={id}", *([f"env.kwargs={{how: {name}}}"] * takes_name)]


def answer(arguments: list[str]) -> tuple[int, str, str]:
    """Run a command in this process: exit status, last line that was printed, all of stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def said(arguments: list[str], words: str) -> tuple[int, str, bool]:
    """Return exit status, the answer in one line, and whether it is right."""
    status, out, err = answer(arguments)
    lines = err.strip().splitlines() or out.strip().splitlines()[:1]
    good = status == 0 if words == "" or words == SOUND else len(lines) == 1
    return status, (lines or [""])[-1], good and bool(re.search(words, out + err))


def run(name: str, case: Case) -> dict[str, object]:
    """Return the row of a case."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings(name, case, Path(folder))
        status, words, good = said(["doctor", *chosen], case.doctor)
        row: dict[str, object] = {"case": name, "doctor status": status, "doctor": words}
        if case.train == "not run":  # it would end this process, or never
            return {**row, "train status": "", "train": "not run", "as expected": good}
        run_dir = f"run_dir={folder}/run"
        status, words, trained = said(["train", *chosen, *TRAIN, run_dir], case.train)
        row |= {"train status": status, "train": words.replace(folder, "FOLDER")}
        return {**row, "as expected": good and trained}


def script() -> None:
    """Run the cases that the table does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/doctor_cases.csv"))
    parser.add_argument("--only", default="", help="cases whose name holds these words")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    there = set()
    if options.out.is_file():
        lines = options.out.read_text().splitlines()
        there = {row["case"] for row in csv.DictReader(lines[1:])}
    else:
        options.out.write_text("# python -m scripts.robustness.doctor_cases\n")
    for name, case in CASES.items():
        if name in there or options.only not in name:
            continue
        row = run(name, case)
        with options.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if not there:
                writer.writeheader()
            writer.writerow(row)
        there.add(name)
        print("as expected" if row["as expected"] else "NOT as expected", name, flush=True)


if __name__ == "__main__":
    script()

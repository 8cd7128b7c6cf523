"""Run mutants of valid command lines; each should be answered in one line, or be valid.

python -m scripts.robustness.command_lines [--number 500] [--seed 0] [--out FILE]

A seeded generator changes valid lines of every command: typos, wrong types, numbers out of range,
NaN, infinities, Unicode, empty values, quotes, lists where scalars belong, settings doubled, left
out, of another group, wrong files and folders, unknown options. Good is exit status 2 with one line
on standard error, or 0 where the mutant is still valid; no traceback, under 2 s of CPU time. Each
line runs in a forked child of one process, so the import of torch is not counted; a valid training
is built and not trained. Rows are appended, and those that are there are skipped.
"""

import argparse
import csv
import json
import os
import random
import re
import resource
import shlex
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from mbrl.cli import main as mbrl
from scripts.robustness.bad_input import TINY, prepare

BASES = [
    "train agent=mbpo env=pendulum total_steps=20 learner.hidden=8 dynamics.hidden=8 seed=1",
    "train agent=pets env=hopper planner=icem planner.horizon=5 planner.num_samples=20",
    "train agent=pets env=pendulum planner=cem planner.num_elites=5 dynamics.num_members=3",
    "train agent=sindy_mpc env=pendulum dynamics.library.degree=2 dynamics.num_members=4",
    "train agent=coplanner env=pendulum agent.rollout_actions.horizon=3 agent.num_rollouts=20",
    "train agent=sindy_rl env=pendulum learner.num_steps=10 learner.num_model_envs=2",
    "train agent=mip_mpc env=reacher dynamics.hidden=[8,8] dynamics.schedule=[8,4]",
    "train agent=sac env=gym env.id=Pendulum-v1 env.num_envs=2 learner.learning_rate=1e-3",
    "train agent=random env=push env.task.shape=disc env.task.frame_skip=5 device=cpu",
    "train agent=mbpo dynamics=reward_consistent dynamics.base.hidden=8 dynamics.temperature=0.1",
    "train agent=mbpo logger.tensorboard=true logger.project=mine agent.rollout_length=[0,1,1,1]",
    "train --resume good total_steps=80",
    "train --config-dir mine agent=random env=pendulum",
    "train agent=mbpo --help",
    "eval good --episodes 1 --seed 3 --json",
    "report good --episodes 1",
    "equations good --format latex --digits 3",
    "distill good --out new --max-terms 3 --degree 1 --starts 2 --polish 0",
    "collect good --steps 10 --id a/b-v0 --mix random:1,expert:1 --seed 2",
    "sweep mbpo_pendulum",
    "doctor env=pendulum",
]
VALUES = [
    "0", "-1", "1e30", "-1e30", "1e-300", "10000000000000", "0.5", "nan", "inf", "-inf", "null",
    "true", "many", "''", "é☃", "[1,2]", "[]", "{a: 1}", "{}", "'\"'", "[", "1,2", "../x", "a b",
    "${seed}", "${nowhere}", "0x10", "1_0", "\\", "x" * 300, "[[1]]", "{'a': [1]}", "3.0",
]  # fmt: skip
OPTIONS = ["--episods", "--json=1", "--trust=maybe", "--config_dir=x", "--resmue", "-x", "--"]
FOLDERS = ["nowhere", "hollow", "something", "no_config", "cut_config", "flipped_agent", ".", ""]


def typo(word: str, draw: random.Random) -> str:
    """Return a word with one letter left out, doubled, swapped or replaced."""
    at = draw.randrange(max(len(word), 1))
    kind = draw.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at : at + 1] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :]
    return word[:at] + draw.choice("qzx_.é") + word[at + 1 :]


def mutate(words: list[str], draw: random.Random) -> list[str]:
    """Return a command line with one thing changed."""
    words = list(words)
    at = draw.randrange(len(words))
    key, equals, value = words[at].partition("=")
    kinds = ["typo", "drop", "double", "word", "option"]
    kinds += ["key", "value", "value", "value", "value", "nest", "swap"] * bool(equals)
    kinds += ["replace"] * (3 * (not equals))
    kind = draw.choice(kinds)
    if kind == "typo":
        words[at] = typo(words[at], draw)
    elif kind == "drop":
        del words[at]
    elif kind == "double":
        words.insert(at, words[at])
    elif kind == "word":
        words.insert(at, draw.choice(VALUES))
    elif kind == "option":
        words.append(draw.choice(OPTIONS))
    elif kind == "key":
        words[at] = f"{typo(key, draw)}={value}"
    elif kind == "value":
        words[at] = f"{key}={draw.choice([*VALUES, typo(value, draw)])}"
    elif kind == "nest":
        words[at] = f"{key}.{draw.choice(['x', 'hidden', '_target_', '0', ''])}={value}"
    elif kind == "swap":
        words[at] = f"{draw.choice(['env', 'agent', 'dynamics', 'planner', 'learner'])}={value}"
    else:
        words[at] = draw.choice([*FOLDERS, *VALUES])
    return words


def untrained(*_: object) -> dict[str, object]:
    """Return the summary of a run that was built and not trained."""
    return {"finished": True, "step": 0, "eval/mean_reward": 0.0}


def call(words: list[str], said: Path) -> tuple[int, float]:
    """Run a line in a forked child; return its exit status and seconds of CPU time."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
            import mbrl.cli.train

            mbrl.cli.train._train_parts = untrained  # type: ignore[assignment]
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1):
                os.dup2(null, descriptor)
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            try:
                status = mbrl_status(words)
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def mbrl_status(words: list[str]) -> int:
    """Return the exit status of a line, also where a parser leaves by SystemExit."""
    try:
        return mbrl(words)
    except SystemExit as leaving:
        return int(leaving.code or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/command_lines.csv"))
    options = parser.parse_args()
    out = options.out.resolve()
    if not out.exists():
        out.write_text(
            "# python -m scripts.robustness.command_lines\nline,status,cpu_seconds,good,said\n"
        )
    with out.open(newline="") as file:
        rows = list(csv.DictReader(row for row in file if not row.startswith("#")))
    draw = random.Random(options.seed)
    lines: list[list[str]] = []
    while len(lines) < options.number:
        line = mutate(shlex.split(draw.choice(BASES)), draw)
        if line not in lines:
            lines.append(line)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["MINARI_DATASETS_PATH"] = f"{name}/data sets"
        assert mbrl(TINY.split()) == 0
        Path("good").rename("whole")
        prepare(Path("made"), Path("whole"))
        for words in lines[len(rows) :]:
            shutil.rmtree("case", ignore_errors=True)
            shutil.copytree("made", "case")
            os.chdir("case")
            status, seconds = call(words, Path("../said"))
            os.chdir("..")
            # no path of this machine in the table
            said = re.sub(r"\S*/site-packages/", "", Path("said").read_text())
            good = seconds < 2 and (status == 0 or (status == 2 and len(said.splitlines()) == 1))
            line = " ".join(shlex.quote(word) for word in words)
            row = [
                line,
                str(status),
                f"{seconds:.2f}",
                str(good),
                " | ".join(said.split("\n"))[:400],
            ]
            rows.append(
                dict(zip(("line", "status", "cpu_seconds", "good", "said"), row, strict=True))
            )
            with out.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(row)
            if not good:
                print(*row[:3], said[-300:], flush=True)
        os.chdir("/")
    wrong = sum(row["good"] != "True" for row in rows)
    slowest = max(float(row["cpu_seconds"]) for row in rows)
    print(json.dumps({"lines": len(rows), "wrong": wrong, "slowest_cpu_seconds": slowest}))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()

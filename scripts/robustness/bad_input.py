"""Run commands that cannot be carried out; each should be answered in one line.

python -m scripts.robustness.bad_input [--out results/robustness/bad_input.csv]

Every case is one command in a process of its own: exit status 2, one line on standard error that
holds the words named here (the key or file, and what would be right), no traceback, under 2 s of
CPU time unless torch is needed. The same list is a test:
tests/robustness/test_bad_input.py runs it in one process.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TINY = (
    "train agent=mbpo env=pendulum experiment=none total_steps=60 save_every=30 eval_episodes=1 "
    "agent.learning_starts=40 agent.num_rollouts=20 agent.updates_per_step=1 learner.hidden=8 "
    "dynamics.hidden=8 dynamics.num_layers=1 "
    "dynamics.training.min_updates=5 dynamics.training.max_updates=5 "
    "run_dir=good"
)

# What `prepare` lays out beside the run folder "good".
MINE = {  # config folders: file -> content
    "mine/dynamics/lines.yaml": "_target_: mbrl.dynamics.GaussianEnsemble\n_provides_: [lines]\n",
    "mine/planner/needy.yaml": "_target_: mbrl.planners.CEM\n_requires_: [lines]\n",
    "mine/env/named.yaml": "_target_: mbrl.envs.threaded_mujoco\ntask: ???\n",
    "mine/agent/offline.yaml": "_target_: mbrl.agents.Random\n_requires_: [dataset]\n",
    "mine/bonus/big.yaml": "_target_: mbrl.planners.CEM\n",
    "broken/env/bad.yaml": "a: [1\n",
    "binary/env/bad.yaml": "\udcff\udcfe",
    "list/env/bad.yaml": "- 1\n- 2\n",
    "shadow/env/pendulum.yaml": "_target_: mbrl.envs.pendulum\n",
    "wrongkey/env/mine.yaml": "_target_: mbrl.envs.pendulum\nnum_env: 3\n",
    "wrongtype/env/mine.yaml": "_target_: mbrl.envs.pendulum\nnum_envs: many\n",
    "notarget/env/mine.yaml": "num_envs: 3\n",
    "nomodule/env/mine.yaml": "_target_: mbrl.nothing.Env\n",
    "noname/env/mine.yaml": "_target_: mbrl.envs.pendulmu\n",
    "numbertarget/env/mine.yaml": "_target_: 3\n",
    "circle/env/mine.yaml": "_target_: mbrl.envs.pendulum\nnum_envs: ${env.num_envs}\n",
    "lost/env/mine.yaml": "_target_: mbrl.envs.pendulum\nnum_envs: ${nowhere}\n",
    "override/agent/mine.yaml": (
        "defaults:\n  - override /learner@_group_: zac\n_target_: mbrl.agents.Random\n"
    ),
    "preset/experiment/random_pendulum.yaml": "seed: 3\n",
    "presetkey/experiment/random_pendulum.yaml": "# @package _global_\nsed: 3\n",
    "empty/readme.txt": "nothing\n",
    "data/hopper_medium-v2.hdf5": "\udc89HDF\r\n\x1a\n",  # the signature alone
    "data/words.npz": "PK\x03\x04",
}


def prepare(folder: Path, good: Path) -> None:
    """Write the files that the cases name; good is a finished run of TINY."""
    shutil.copytree(good, folder / "good")
    for name, content in MINE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode(errors="surrogateescape"))
    (folder / "something").touch()
    (folder / "hollow").mkdir()
    for name, spoil in SPOILT.items():
        shutil.copytree(good, folder / name)
        spoil(folder / name)


def change(file: Path, edit: Callable[[bytes], bytes]) -> None:
    file.write_bytes(edit(file.read_bytes()))


def every(name: str, spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    """Spoil a file of every checkpoint: only then is there none to fall back on."""

    def each(run: Path) -> None:
        folders = list((run / "checkpoints").glob("[0-9]*"))
        assert len(folders) > 1
        for folder in folders:
            spoil(folder / name)

    return each


def flip(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def swap(old: str, new: str) -> Callable[[Path], None]:
    """Replace a line in config.yaml."""

    def spoil(run: Path) -> None:
        text = (run / "config.yaml").read_text()
        assert old in text, (old, text)
        (run / "config.yaml").write_text(text.replace(old, new, 1))

    return spoil


def without(key: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        rows = (run / "config.yaml").read_text().splitlines(keepends=True)
        kept = [row for row in rows if not row.startswith(f"{key}:")]
        assert len(kept) < len(rows)
        (run / "config.yaml").write_text("".join(kept))

    return spoil


SPOILT: dict[str, Callable[[Path], object]] = {  # run folder -> what was done to it
    "no_config": lambda run: (run / "config.yaml").unlink(),
    "empty_config": lambda run: (run / "config.yaml").write_bytes(b""),
    "list_config": lambda run: (run / "config.yaml").write_text("- 1\n"),
    "binary_config": lambda run: (run / "config.yaml").write_bytes(bytes(range(256))),
    "cut_config": lambda run: change(run / "config.yaml", lambda c: c[: len(c) // 2]),
    "torn_config": lambda run: (run / "config.yaml").write_text("seed: [0\n"),
    "folder_config": lambda run: ((run / "config.yaml").unlink(), (run / "config.yaml").mkdir()),
    "no_seed": without("seed"),
    "no_threads": without("num_threads"),
    "no_choices": lambda run: change(run / "config.yaml", lambda c: c.partition(b"choices:")[0]),
    "text_seed": swap("seed: 0", "seed: zero"),
    "no_steps": swap("total_steps: 60", "total_steps: -60"),
    "wrong_device": swap("device: cpu", "device: tpu"),
    "absent_device": swap("device: cpu", "device: cuda:99"),
    "wrong_target": swap("mbrl.agents.Dyna", "mbrl.agents.Dina"),
    "wrong_module": swap("mbrl.agents.Dyna", "mrbl.agents.Dyna"),
    "wrong_part_key": swap("updates_per_step:", "updates_per_stpe:"),
    "wrong_part_type": swap("num_rollouts: 20", "num_rollouts: plenty"),
    "wrong_part_range": swap("num_rollouts: 20", "num_rollouts: -20"),
    "other_size": swap("hidden: 8", "hidden: 9"),
    "no_checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "no_manifest": every("manifest.json", lambda file: file.unlink()),
    "cut_manifest": every("manifest.json", lambda file: change(file, lambda c: c[:-9])),
    "flipped_manifest": every("manifest.json", lambda file: change(file, flip)),
    "empty_manifest": every("manifest.json", lambda file: file.write_text("{}")),
    "list_manifest": every("manifest.json", lambda file: file.write_text("[]")),
    "no_agent": every("agent.safetensors", lambda file: file.unlink()),
    "flipped_agent": every("agent.safetensors", lambda file: change(file, flip)),
    "cut_agent": every("agent.json", lambda file: change(file, lambda c: c[:-1])),
    "empty_agent": every("agent.json", lambda file: file.write_bytes(b"")),
    "flipped_buffer": every("buffer.safetensors", lambda file: change(file, flip)),
    "flipped_loop": every("loop.json", lambda file: change(file, flip)),
    "no_env": every("env.json", lambda file: file.unlink()),
    "cut_metrics": lambda run: change(run / "metrics.jsonl", lambda c: c[: len(c) // 2]),
    "torn_metrics": lambda run: change(run / "metrics.jsonl", lambda c: b"{" + c),
    "no_summary": lambda run: (run / "summary.json").unlink(),
    "cut_summary": lambda run: change(run / "summary.json", lambda c: c[: len(c) // 2]),
    "list_summary": lambda run: (run / "summary.json").write_text("[1]"),
    "bare_summary": lambda run: (run / "summary.json").write_text("{}"),
    "binary_versions": lambda run: (run / "versions.json").write_bytes(b"\xff\xfe"),
}  # fmt: skip

CASES = [  # arguments after `mbrl`, and what the one line must hold
    # commands and options
    ("trian", "train"),
    ("eavl runs/x", "eval"),
    ("docter", "doctor"),
    ("frobnicate", "train, eval"),
    ("-v", "unknown command"),
    ("eval", "RUN"),
    ("eval good good", "good"),
    ("eval good --episodes 0", "whole number from 1"),
    ("eval good --episodes -3", "--episodes"),
    ("eval good --episodes many", "whole number from 1"),
    ("eval good --episodes 1.5", "whole number from 1"),
    ("eval good --episodes", "--episodes"),
    ("eval good --seed -1", "seed"),
    ("eval good --sede 1", "--sede"),
    ("eval good --json=yes", "--json"),
    ("report", "RUN"),
    ("report good --episodes 0", "whole number from 1"),
    ("report good --open", "--open"),
    ("doctor now", "write KEY=VALUE"),
    ("doctor --all", "--all"),
    ("doctor env=pendulm", "env=pendulum"),
    ("doctor env=gym", "env.id"),
    ("doctor env=gym env.id=Pendulm-v1", "Pendulum-v1"),
    ("train --resume", "--resume: a folder must follow"),
    ("train --resume=", "--resume: a folder must follow"),
    ("train --config-dir=", "--config-dir: a folder must follow"),
    ("train agent", "write agent=mbpo"),
    ("train --seed 3", "seed=1"),
    ("train seed=", "seed="),
    ("train =3", "seed=1"),
    ("train ''", "KEY=VALUE"),
    # choices
    ("train agent=mpbo", "agent=mbpo"),
    ("train --agent=randm", "agent=random"),
    ("train +agent=sca", "agent=sac"),
    ("train agent=zzzzzz", "choose from "),
    ("train agent=[mbpo]", "agent=[mbpo]"),
    ("train agent=mbpo,sac", "agent=mbpo,sac"),
    ("train agent=../agent/mbpo", "agent"),
    ("train env=hoper", "env=hopper"),
    ("train env=Hopper-v5", "env=hopper"),
    ("train env=half_cheetah", "env=halfcheetah"),
    ("train dynamics=ensembel", "dynamics=ensemble"),
    ("train learner=SAC", "learner=sac"),
    ("train planner=cme agent=pets", "planner=cem"),
    ("train experiment=mbpo_pendulm", "experiment=mbpo_pendulum"),
    # keys
    ("train evn=pendulum", "env"),
    ("train sed=3", "seed"),
    ("train total-steps=3", "total_steps"),
    ("train --totalsteps=3", "total_steps"),
    ("train steps=3", "total_steps"),
    ("train Seed=3", "seed"),
    ("train learning_rate=1", "learner.learning_rate"),
    ("train agent.learning_start=1", "agent.learning_starts"),
    ("train agent.seed.x=1", "agent"),
    ("train learner.taau=1", "learner.tau"),
    ("train lerner.tau=1", "learner.tau"),
    ("train dynamics.members=1", "dynamics.num_members"),
    ("train ++dynamics.num_member=1", "dynamics.num_members"),
    ("train env.num_evns=2", "env.num_envs"),
    ("train env.task.sparse=true env=hopper", "env.task"),
    ("train logger.tensorbord=true", "logger.tensorboard"),
    ("train logger=wandb", "logger.wandb"),
    ("train planner.horizon=3", "no planner is chosen"),
    ("train choices.agent=sac", "choices"),
    ("train _range_=3", "_range_"),
    # values
    ("train seed=one", "a whole number"),
    ("train seed=0.5", "a whole number"),
    ("train seed=-1", "at least 0"),
    ("train seed=9999999999", "at least 0"),
    ("train seed=[1,2]", "a whole number"),
    ("train total_steps=0", "at least 1"),
    ("train total_steps=None", "a whole number"),
    ("train total_steps=inf", "a whole number"),
    ("train total_steps=nan", "a whole number"),
    ("train total_steps=1e-3", "a whole number"),
    ("train save_every=-5", "at least 1"),
    ("train eval_every=0", "at least 1"),
    ("train eval_episodes=[1]", "a whole number"),
    ("train eval_episodes=0", "at least 1"),
    ("train log_every=true", "a whole number"),
    ("train buffer_size=-1", "at least 1"),
    ("train num_threads=0", "at least 1"),
    ("train num_threads=100000", "at most 1024"),
    ("train device=gpu", "cuda:N"),
    ("train device=0", "cpu, cuda"),
    ("train device=cuda:-1", "cuda:N"),
    ("train device=null", "text"),
    ("train logger.wandb=maybe", "true or false"),
    ("train logger.project=null", "text"),
    ("train learner.tau=2", "above 0 and at most 1"),
    ("train learner.tau=nan", "a number"),
    ("train learner.tau=fast", "a number"),
    ("train learner.hidden=0", "at least 1"),
    ("train learner.hidden=-8", "at least 1"),
    ("train learner.learning_rate=0", "above 0"),
    ("train learner.learning_rate=inf", "above 0"),
    ("train learner.discount=1.5", "at least 0 and at most 1"),
    ("train learner.batch_size=0", "at least 1"),
    ("train learner.real_ratio=2", "at least 0 and at most 1"),
    ("train learner.num_layers=0", "at least 1"),
    ("train learner.backward=manul", "manual, autograd"),
    ("train learner.precision=fp16", "fp32, bf16"),
    ("train dynamics.num_members=0", "at least 1"),
    ("train dynamics.num_members=2.5", "a whole number"),
    (
        "train dynamics.num_members=3 dynamics.num_elites=5",
        "num_elites=5: should be at least 1 and at most num_members=3",
    ),
    ("train dynamics.hidden=-1", "at least 1"),
    ("train dynamics.training.holdout=0.9", "above 0 and at most 0.5"),
    ("train dynamics.reward=none", "learned, known"),
    ("train agent.rollout_length=[1,2]", "a list of 4 values"),
    ("train agent.rollout_length=5", "a list of 4 values"),
    ("train agent.rollout_length=[0,1,0,1]", "agent.rollout_length"),
    ("train agent.rollout_length=[0,-1,1,1]", "agent.rollout_length"),
    ("train agent.num_rollouts=-1", "at least 1"),
    ("train agent.penalty=3", "should be Penalty or null; choose one by agent.penalty._target_="),
    ("train dynamics.training=4", "choose one by dynamics.training._target_=mbrl.dynamics.Ens"),
    ("train agent=pets planner.horizon=-2", "at least 1"),
    ("train agent=pets planner.num_samples=1", "at least 2"),
    ("train agent=pets planner.discount=0", "above 0 and at most 1"),
    ("train env.num_envs=0", "at least 1"),
    ("train env.num_envs=-2", "at least 1"),
    ("train env=hopper env.num_threads=0", "at least 1"),
    ("train env=gym env.id=Pendulum-v1 env.time_limit=0", "above 0"),
    ("train env=gym env.id=Pendulum-v1 env.max_episode_steps=0", "at least 1"),
    ("train env=gym env.id=Pendulum-v1 env.kwargs=3", "a mapping"),
    ("train dataset=${nowhere}", "nowhere"),
    ("train seed=${seed}", "seed"),
    ("train 'dataset=${'", "dataset"),
    ("train 'agent.rollout_length=[1,'", "a list of 4 values"),
    # what does not fit together, what is not there
    ("train env=gym", "env.id=ID"),
    ("train env=gym env.id=Hoper-v5", "Hopper-v5"),
    ("train env=gym env.id=Pendulum-v7", "Pendulum-v1"),
    ("train env=gym env.id=no_such_module:Thing-v0", "no_such_module"),
    ("train env=gym_process env.id=Hoper-v5", "Hopper-v5"),
    ("train env=cartpole", "learner=sac"),
    ("train env=acrobot agent=sac", "learner=sac"),
    ("train env=cartpole agent=pets planner=gradient", "planner=gradient"),
    ("train agent._target_=mbrl.agents.Dina", "has no Dina"),
    ("train agent._target_=3", "agent._target_"),
    ("train dynamics=none", "needs a dynamics"),
    ("train agent=mbpo learner=none", "learner=sac"),
    ("train agent=pets planner=none", "planner="),
    ("train agent=pets planner=mip", "planner=mip needs piecewise_linear"),
    ("train agent=mip_mpc dynamics.schedule=[0]", "dynamics.schedule"),
    ("train env=push env.task.frame_skip=0", "env.task.frame_skip"),
    ("train agent=pets planner=bab planner.max_boxes=0", "at least 1"),
    ("train agent=random dynamics=ensemble", "agent=random takes no dynamics"),
    ("train agent=random planner=cem", "takes no planner"),
    ("train agent=sac dynamics=ensemble", "agent=mbpo"),
    ("train agent=mbpo planner=cem", "agent=pets"),
    ("train run_dir=.", "--resume"),
    ("train run_dir=good", "--resume good"),
    ("train run_dir=something", "run_dir=something"),
    ("train run_dir=something/below", "run_dir=something/below"),
    ("train run_dir=/proc/nothing/here", "run_dir=/proc/nothing/here"),
    # folders of one's own choices
    ("train --config-dir nowhere", "nowhere: no such folder"),
    ("train --config-dir something", "something: no such folder"),
    ("train --config-dir empty env=mine", "unknown choice"),
    ("train --config-dir=mine agent=pets planner=needy", "choose dynamics=lines"),
    ("train --config-dir=mine agent=random env=named", "env.task"),
    ("train --config-dir=mine agent=offline", "dataset=DATASET"),
    ("train dataset=pendulum/mixed-v0", "agent=mbpo learns from its own steps"),
    ("train agent=mopo", "agent=mopo needs dataset: give dataset=DATASET"),
    ("train agent=mopo dataset=x-v0 learner=iql", "agent=mopo does not take data_only"),
    ("train agent=mopo dataset=x-v0 agent.penalty.scale=-1", "should be at least 0"),
    ("train agent=mopo dataset=x-v0 agent.rollout_length=0", "should be at least 1"),
    ("train agent=combo dataset=x-v0 learner.real_ratio=1", "above 0 and below 1"),
    ("train agent=mbpo learner=td3_bc", "learner=td3_bc needs dataset"),
    ("train agent=bc dataset=x-v0 env=cartpole", "learner=bc does not take discrete_actions"),
    ("train agent=iql dataset=x-v0 learner.expectile=1", "above 0 and below 1"),
    ("train agent=td3_bc dataset=x-v0 dynamics=ensemble", "agent=td3_bc takes no dynamics"),
    ("train env=dataset", "env=dataset needs dataset"),
    ("train env=dataset dataset=x-v0", "agent=mbpo learns from its own steps"),
    ("collect good --steps 10 --id good", "good: no name of a dataset"),
    ("collect good --steps 10 --id a-v0 --mix worst", "one of random, medium, expert, replay"),
    ("collect hollow --steps 10 --id a-v0", "not a run folder"),
    ("collect good --id a-v0", "--steps"),
    ("train --config-dir=mine agent=random bonus=bigg", "bonus=big"),
    ("train --config-dir=mine agent=random bonus=big", "takes no bonus"),
    ("train --config-dir=broken env=bad", "bad.yaml, line"),
    ("train --config-dir=binary env=bad", "bad.yaml: not readable"),
    ("train --config-dir=list env=bad", "KEY: VALUE"),
    ("train --config-dir=shadow", "rename"),
    ("train --config-dir=wrongkey env=mine agent=random", "env.num_envs"),
    ("train --config-dir=wrongtype env=mine agent=random", "a whole number"),
    ("train --config-dir=notarget env=mine agent=random", "_target_"),
    ("train --config-dir=nomodule env=mine agent=random", "no module mbrl.nothing"),
    ("train --config-dir=noname env=mine agent=random", "no pendulmu"),
    ("train --config-dir=numbertarget env=mine agent=random", "env._target_=3"),
    ("train --config-dir=circle env=mine agent=random", "num_envs"),
    ("train --config-dir=lost env=mine agent=random", "nowhere"),
    ("train --config-dir=override agent=mine", "zac"),
    ("train --config-dir=preset agent=random env=pendulum", "@package _global_"),
    ("train --config-dir=presetkey agent=random env=pendulum", "did you mean seed"),
    # run folders
    ("eval nowhere", "nowhere: no such run folder"),
    ("eval hollow", "not a run folder"),
    ("eval something", "something: a file, not a run folder"),
    ("report nowhere", "no such run folder"),
    ("distill nowhere", "no such run folder"),
    ("distill hollow", "not a run folder"),
    ("distill good --out something", "already there; name a new folder"),
    ("distill good --out new --max-terms 0", "should be a whole number from 1"),
    ("distill good --out new --degree cubic", "should be a whole number from 1"),
    ("distill good --out new --code fortran", "choose from"),
    ("distill flipped_agent --out new", "agent.safetensors: damaged; no checkpoint before it"),
    (
        "train agent=sindy_rl agent.rollback_tolerance=-1",
        "agent.rollback_tolerance=-1: should be at least 0",
    ),
    ("train agent=sindy_rl agent.action_hold=0", "agent.action_hold=0: should be at least 1"),
    ("train agent=sindy_rl learner.num_step=5", "did you mean learner.num_steps"),
    ("train agent=sindy_rl env=cartpole", "discrete"),
    ("train agent=sac learner=sac_in_model", "learner=sac_in_model needs model_env"),
    ("train agent=sparse_policy env=cartpole", "discrete"),
    ("report hollow", "not a run folder"),
    ("train --resume nowhere", "no such run folder"),
    ("train --resume hollow", "not a run folder"),
    ("train --resume good seed=3", "total_steps=N"),
    ("train --resume good --config-dir nowhere", "config_dir=nowhere: no such folder"),
    ("train --resume good total_steps=0", "at least 1"),
    ("train --resume good total_steps=many", "a whole number"),
    ("train --resume good total_steps=30", "the run is at step 60 already"),
    ("eval no_config", "not a run folder"),
    ("train --resume empty_config", "config.yaml: not a readable config"),
    ("eval list_config", "config.yaml: not a readable config"),
    ("eval binary_config", "config.yaml: not a readable config"),
    ("train --resume cut_config", "config.yaml"),
    ("report torn_config", "config.yaml: not a readable config"),
    ("eval folder_config", "not a run folder"),
    ("train --resume no_seed", "config.yaml: seed is missing"),
    ("eval no_threads", "config.yaml: num_threads is missing"),
    ("eval no_choices", "config.yaml: choices"),
    ("train --resume text_seed", "config.yaml: seed=zero: should be a whole number"),
    ("train --resume no_steps", "config.yaml: total_steps=-60: should be at least 1"),
    ("eval wrong_device", "config.yaml: device=tpu"),
    ("eval absent_device", "--accept-config"),
    ("eval wrong_target", "has no Dina"),
    ("train --resume wrong_module", "_target_=mrbl.agents.Dyna: would run code"),
    ("train --resume wrong_part_key", "agent.updates_per_step"),
    ("train --resume wrong_part_type", "num_rollouts=plenty: should be a whole number"),
    ("eval wrong_part_range", "num_rollouts=-20: should be at least 1"),
    ("eval no_checkpoints", "no checkpoint yet"),
    ("report no_checkpoints", "no checkpoint yet"),
    ("eval no_manifest", "manifest.json: missing; no checkpoint before it"),
    ("eval cut_manifest", "manifest.json: damaged; no checkpoint before it"),
    ("train --resume flipped_manifest", "manifest.json: damaged; no checkpoint before it"),
    ("train --resume empty_manifest", "manifest.json: damaged; no checkpoint before it"),
    ("report list_manifest", "manifest.json: damaged; no checkpoint before it"),
    ("eval no_agent", "agent.safetensors: missing; no checkpoint before it"),
    ("eval flipped_agent", "agent.safetensors: damaged; no checkpoint before it"),
    ("train --resume flipped_agent", "agent.safetensors: damaged; no checkpoint before it"),
    ("report cut_agent", "agent.json: damaged; no checkpoint before it"),
    ("eval empty_agent", "agent.json: damaged; no checkpoint before it"),
    ("train --resume flipped_buffer", "buffer.safetensors: damaged; no checkpoint before it"),
    ("train --resume flipped_loop", "loop.json: damaged; no checkpoint before it"),
    ("train --resume no_env", "env.json: missing; no checkpoint before it"),
    ("train --resume cut_metrics", "metrics.jsonl: damaged"),
    ("report torn_metrics", "metrics.jsonl, line 1: damaged"),
    ("report no_summary", "no summary.json yet"),
    ("report cut_summary", "summary.json: damaged; `mbrl train --resume"),
    ("report list_summary", "summary.json: damaged"),
    ("report bare_summary", "summary.json: damaged"),
    ("report binary_versions", "versions.json: damaged"),
]  # fmt: skip
SLOW = [  # these can only be told once the parts are built, so torch is imported: no limit
    ("train device=cuda:99", "CUDA devices"),
    ("train agent=mip_mpc dynamics.schedule=[8,16]", "dynamics.schedule=[8, 16]: each stage"),
    ("train agent=mip_mpc dynamics.cost=known", "dynamics.cost=known: this environment does not"),
    ("train env=push env.task.goal=pose", "env.task.goal=pose: a disc looks the same"),
    ("eval absent_device --accept-config", "CUDA devices"),
    ("train --resume absent_device --accept-config", "CUDA devices"),
    ("eval other_size", "changed by hand"),
    ("eval other_size --accept-config", "does not fit"),
    ("train --resume other_size --accept-config", "does not fit"),
    ("train --config-dir=mine agent=offline run_dir=new dataset=no-such-v0", "no-such-v0: not in"),
    ("train --config-dir=mine agent=offline run_dir=new dataset=no_such", "it should be like"),
    (
        "train agent=td3_bc run_dir=new dataset=data/hoper.hdf5",
        "did you mean hopper_medium-v2.hdf5",
    ),
    ("train agent=td3_bc run_dir=new dataset=data/hopper_medium-v2.hdf5", "not readable"),
    ("train agent=td3_bc run_dir=new dataset=data/words.npz", "not readable"),
    ("train agent=td3_bc run_dir=new dataset=nowhere/a.npz", "nowhere/a.npz: no such file"),
    ("train agent=td3_bc run_dir=new dataset=something", "should end in .hdf5 (D4RL) or .npz"),
    ("train agent=td3_bc env=dataset run_dir=new dataset=data/words.npz", "copy or download"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/bad_input.csv"))
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rows, failures = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "mbrl"]
        subprocess.run(
            [*command, *TINY.split()], cwd=folder, env=environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (folder / "good").rename(folder / "whole")
        prepare(folder, folder / "whole")
        for number, (line, words) in enumerate([*CASES, *SLOW]):
            before = os.times().children_user + os.times().children_system
            began = time.monotonic()
            done = subprocess.run(
                [*command, *shlex.split(line)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            seconds = time.monotonic() - began
            cpu = os.times().children_user + os.times().children_system - before
            said = done.stderr.rstrip("\n")
            good = done.returncode == 2 and words in said and "\n" not in said
            if not good or (cpu >= 2 and number < len(CASES)):
                failures.append(f"{line}: {done.returncode}, {cpu:.1f} s, {said[-300:]}")
                print(failures[-1], flush=True)
            said = said.replace(str(Path.home()), "~")  # the table names no machine
            rows.append([line, done.returncode, f"{seconds:.2f}", f"{cpu:.2f}", said])
    with options.out.open("w", newline="") as file:
        file.write("# python -m scripts.robustness.bad_input\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["case", "status", "seconds", "cpu_seconds", "line"], *rows])
    slowest = max(float(row[3]) for row in rows[: len(CASES)])
    summary = {"cases": len(rows), "wrong": len(failures), "slowest_cpu_seconds": slowest}
    print(json.dumps(summary))
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()

"""What a stored config may name: this package's parts, and what the user agrees to."""

import re
import sys
from pathlib import Path

import pytest
import yaml

import mbrl
from mbrl.api import GymAgent
from mbrl.cli import main
from mbrl.config import compose
from mbrl.config.library import CONFIGS
from mbrl.config.trust import NOTHING, Trust, check_dataset, check_trusted, is_own_part
from mbrl.errors import BadInput
from tests.config.parts import write

CONFIG = {
    "seed": 0,
    "choices": {"env": "pendulum", "agent": "pets"},
    "env": {"_target_": "mbrl.envs.pendulum", "num_envs": 1},
    "agent": {"_target_": "mbrl.agents.MPC"},
}


def refusal(trust: Trust = NOTHING, **groups) -> str:
    with pytest.raises(BadInput) as caught:
        check_trusted({**CONFIG, **groups}, trust)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def targets(node):
    if isinstance(node, list):
        return set().union(*map(targets, node))
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if "_target_" in node else set()
    return own.union(*map(targets, node.values()))


def test_every_target_of_the_packages_own_files_is_a_part_of_it():
    named = targets([yaml.safe_load(file.read_text()) for file in CONFIGS.glob("*/*.yaml")])
    assert len(named) > 50
    assert [target for target in sorted(named) if not is_own_part(target)] == []
    assert is_own_part("mbrl.dynamics.ConsensusReward")  # public, and in no file
    assert is_own_part("mbrl.agents.SAC")  # an old name


@pytest.mark.parametrize("agent, env", [("mbpo", "hopper"), ("sindy_rl", "cartpole_swingup")])
def test_a_composed_config_is_trusted(agent, env):
    check_trusted(compose([f"agent={agent}", f"env={env}"]).config, NOTHING)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "tests.toys.ToyEnv",
        "mbrl.config.build.importlib.import_module",
        "mbrl.config.build.hashlib",
        "mbrl.training.run_folder.shutil.rmtree",
        "mbrl.training.run_folder.RunFolder",
        "mbrl.training.logger.JsonLines",
        "mbrl.cli.main",
        "mbrl.api.GymAgent",
        "mbrl.load",
        "mbrl.data.load_dataset",
        "mbrl.envs.make_vec",
        "mbrl.envs.check_env",
        "mbrl.envs.from_gymnasium.make_gymnasium",
        "mbrl.dynamics.sindy.predictor._define",
        "mbrl.dynamics.sindy.kernel.Kernel",
        "mbrl.moved.find",
        "mbrl.agents.Dyna.__init__",
        "mbrl.agents.Dyna.__init__.__globals__",
        "mbrl.envs.torch.load",
        "mbrl",
        "mbrl.",
        "mbrl..agents.Dyna",
        "mbrl/agents.Dyna",
        "mbrl./etc/passwd.X",
        "Mbrl.agents.Dyna",
        "mbrl.agents.Dyna\n",
        "",
        3,
        None,
        ["mbrl.agents.Dyna"],
        {"_target_": "mbrl.agents.Dyna"},
    ],
)
@pytest.mark.parametrize("place", ["agent", "unused", "nested", "listed", "kwargs"])
def test_a_target_that_is_no_part_is_refused_wherever_it_stands(target, place):
    node = {"_target_": target}
    groups = {
        "agent": {"agent": node},
        "unused": {"planner": node},
        "nested": {
            "agent": {**CONFIG["agent"], "planner": {"_target_": "mbrl.planners.CEM", "x": node}}
        },
        "listed": {"agent": {**CONFIG["agent"], "others": [[1, node]]}},
        "kwargs": {"env": {**CONFIG["env"], "kwargs": {"deep": {"er": node}}}},
    }
    assert "_target_" in refusal(**groups[place])


def test_the_message_names_what_would_allow_it():
    words = refusal(agent={"_target_": "other.Agent"})
    assert words.startswith("agent._target_=other.Agent: would run code that is not this package's")
    module = refusal(env={"_target_": "mbrl.envs.GymnasiumVecEnv", "id": "slider:Slider-v0"})
    for word in ("--trust", "trust=True", "--config-dir DIR", "config_dir=DIR"):
        assert word in words and word in module
    check_trusted({**CONFIG, "agent": {"_target_": "other.Agent"}}, Trust(code=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"id": "slider:Slider-v0"},
        {"id": "os:X-v0"},
        {"id": ":X"},
        {"id": "X;rm-v0"},
        {"id": "Ant-v5", "kwargs": {"xml_file": "arm.xml"}},
        {"id": "Ant-v5", "kwargs": {"xml_file": "arm"}},
        {"id": "Ant-v5", "kwargs": {"map": "/etc/passwd"}},
        {"id": "Ant-v5", "kwargs": {"map": "../x"}},
        {"id": "Ant-v5", "kwargs": {"nested": [{"env": "a:b"}]}},
        {"id": "Ant-v5", "kwargs": {"a/b": 1}},
    ],
)
def test_ids_of_modules_and_names_of_files_need_trust(settings):
    env = {"_target_": "mbrl.envs.GymnasiumVecEnv", **settings}
    assert "--trust" in refusal(env=env) or settings["id"] == "X;rm-v0"
    check_trusted({**CONFIG, "env": env}, Trust(code=True))
    check_trusted({**CONFIG, "env": env}, NOTHING, without=("env",))


def test_the_path_of_a_model_needs_trust():
    for path in ("arm.xml", "arm", "/etc/passwd", "../arm.xml"):
        task = {"_target_": "mbrl.envs.tasks.Mjcf", "path": path}
        env = {"_target_": "mbrl.envs.mujoco_env", "task": task}
        assert re.match(f"env.task.path='{path}': may name a file .*--trust", refusal(env=env))
        check_trusted({**CONFIG, "env": env}, Trust(code=True))


def test_run_folders_of_earlier_versions_need_none():
    task = {"_target_": "mbrl.envs.tasks.Hopper"}
    env = {"_target_": "mbrl.envs.threaded_mujoco", "task": task, "num_envs": 1}
    check_trusted({**CONFIG, "env": env}, NOTHING)


def test_plain_ids_and_keywords_need_none():
    kwargs = {"render_mode": "rgb_array", "goal": [0.5, 1], "x": {"y": None}, "b": True}
    env = {"_target_": "mbrl.envs.GymnasiumVecEnv", "id": "ALE/Pong-v5", "kwargs": kwargs}
    check_trusted({**CONFIG, "env": env, "device": "cuda:1"}, NOTHING)


def test_a_folder_of_choices_allows_its_modules_and_what_its_files_name(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", ["elsewhere"])
    mine = write(tmp_path / "mine", {"env/slide": "_target_: pkg.Env\nid: slider:Slider-v0"})
    (mine / "arm.py").write_text("raise SystemExit('imported')\n")
    allowed = Trust(config_dir=mine)
    for target in ("pkg.Env", "arm.Anything", "arm.deeper.Name"):
        check_trusted({**CONFIG, "agent": {"_target_": target}}, allowed)
    check_trusted({**CONFIG, "env": {**CONFIG["env"], "id": "slider:Slider-v0"}}, allowed)
    check_trusted({**CONFIG, "env": {**CONFIG["env"], "id": "arm:X-v0"}}, allowed)
    for target in ("pkg.Other", "pkg.Env.x", "os.system", "legs.X"):
        assert "--trust" in refusal(allowed, agent={"_target_": target})
    assert "--trust" in refusal(allowed, env={**CONFIG["env"], "id": "slider:Other-v0"})
    with pytest.raises(BadInput, match="no such folder"):
        check_trusted(CONFIG, Trust(config_dir=tmp_path / "none"))


def test_a_dataset_that_is_a_file_needs_trust(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for name in ("/etc/hosts.npz", "x.HDF5", "a/b.h5", "not/there-v0"):
        with pytest.raises(BadInput, match="outside of the run folder; --trust"):
            check_dataset({"dataset": name}, NOTHING)
        check_dataset({"dataset": name}, Trust(code=True))
    check_dataset({"dataset": None}, NOTHING)
    (tmp_path / "here-v0").mkdir()
    check_dataset({"dataset": "here-v0"}, NOTHING)


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> Path:
    """Return a run folder whose planner, which its agent does not use, names a module beside it."""
    monkeypatch.chdir(tmp_path)
    agent = GymAgent("random", env="pendulum")
    agent.save("run")
    (tmp_path / "beside.py").write_text("open('ran', 'w').close()\nclass Part: pass\n")
    config = Path("run/config.yaml")
    content = yaml.safe_load(config.read_text())
    content["planner"] = {"_target_": "beside.Part"}
    content["choices"]["planner"] = "mine"
    config.write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    ["eval run", "report run", "equations run", "distill run", "collect run --steps 9 --id x-v0",
     "train --resume run"],
)  # fmt: skip
def test_no_command_runs_a_strangers_code(stranger, capsys, command):
    Path("run/summary.json").write_text(
        '{"finished": true, "step": 0, "evaluations": [], "time/cpu_seconds": 0,'
        ' "time/wall_seconds": 0}'
    )
    Path("run/metrics.jsonl").write_text('{"step": 0}\n')
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "planner._target_=beside.Part" in err and "--trust" in err
    assert not Path("ran").exists()


def test_no_function_runs_a_strangers_code_unless_it_is_trusted(stranger):
    for load in (mbrl.load, GymAgent.load):
        with pytest.raises(BadInput, match="trust=True"):
            load("run")
    sys.path.append(str(stranger))
    try:
        for load in (mbrl.load, GymAgent.load):
            with pytest.raises(BadInput, match="accept_config=True"):
                load("run", trust=True)
        assert not Path("ran").exists()
        mbrl.load("run", trust=True, accept_config=True)
    finally:
        sys.path.remove(str(stranger))
        sys.modules.pop("beside", None)
    assert Path("ran").exists()

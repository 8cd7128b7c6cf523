"""MuJoCo Warp beside MuJoCo's threads: on Warp's CPU device, which compiles for a minute at first.

What needs a GPU is marked `gpu`.
"""

import copy
import logging
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import mbrl
from mbrl.cli import main
from mbrl.envs import MujocoTask, WarpVecEnv, mujoco_env, tasks, threaded_mujoco, warp_physics
from mbrl.envs.mujoco import load_model
from mbrl.errors import BadInput
from mbrl.imagination import ModelEnv, SB3ModelEnv
from mbrl.roles import HasRewardTerms, ModelVecEnv, SimulatesFromState
from mbrl.types import Task
from tests.no_reads import reads

slow = pytest.mark.slow
gpu = pytest.mark.gpu


def make(task=None, num_envs: int = 4, device: str = "cpu", **options) -> WarpVecEnv:
    return WarpVecEnv(task or tasks.Hopper(), num_envs=num_envs, device=device, **options)


def actions(env, steps: int, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    cpu = env.action._replace(low=env.action.low.cpu(), high=env.action.high.cpu())
    return torch.stack([cpu.sample(env.num_envs, generator=draws) for _ in range(steps)])


def rows(step) -> torch.Tensor:
    """Join all that a step returned."""
    flags = [x[:, None] for x in (step.reward, step.terminated, step.truncated)]
    return torch.cat([step.obs, step.next_obs, *flags], 1)


# ------------------------------------------------------------------- without Warp
def test_without_the_extra_one_line_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(BadInput, match=r"warp is not installed; pip install 'dynaplan\[gpu\]'"):
        mbrl.make_vec("Hopper-v5", backend="warp", device="cpu")


def test_arguments_of_the_other_back_end_are_refused():
    task = tasks.Hopper()
    with pytest.raises(BadInput, match="num_threads=2: should be 1, or take backend=threads"):
        mujoco_env(task, backend="warp", num_threads=2)
    with pytest.raises(BadInput, match="dtype=torch.float64: should be torch.float32, or"):
        mujoco_env(task, backend="warp", dtype=torch.float64)
    with pytest.raises(BadInput, match="njmax=7: should be None, or take backend=warp"):
        mujoco_env(task, njmax=7)
    with pytest.raises(BadInput, match="backend: pendulum takes no such argument"):
        mbrl.make_vec("Pendulum-v1", backend="warp")
    with pytest.raises(BadInput, match="CartPole-v1 is gymnasium's own; should be threads or"):
        mbrl.make_vec("CartPole-v1", backend="warp")
    with pytest.raises(BadInput, match="backend=warp: should be threads, or warp in gymnasium.m"):
        gymnasium.make("mbrl/Hopper-v5", backend="warp")
    with pytest.raises(BadInput, match="render_mode: should be None, or take backend=threads"):
        gymnasium.make_vec("mbrl/Hopper-v5", backend="warp", render_mode="rgb_array")


@slow
def test_warp_is_imported_only_when_it_is_used():
    code = "import sys, mbrl, mbrl.envs; mbrl.make_vec('Hopper-v5').reset(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"warp", "mujoco_warp"} & set(done.stdout.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_one_line_says_so(capsys):
    line = "device=cuda: there are 0 CUDA devices here; use device=cpu"
    for build in (
        lambda: mbrl.make_vec("Hopper-v5", backend="warp"),
        lambda: WarpVecEnv(tasks.Hopper()),
        lambda: gymnasium.make_vec("mbrl/Hopper-v5", num_envs=2, backend="warp"),
    ):
        with pytest.raises(BadInput, match=line):
            build()
    assert main(["train", "env=hopper", "env.backend=warp", "device=cuda", "agent=random"]) == 2
    assert line in capsys.readouterr().err


@slow
def test_a_gpu_that_warp_does_not_find_is_named_with_the_driver_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 99)
    right = "device=cuda:98: torch has it, but Warp does not find it; .* driver 580 or newer"
    with pytest.raises(BadInput, match=right):
        make(device="cuda:98")


# ------------------------------------------------------------- beside the C library
@slow
@pytest.mark.parametrize("name", ["InvertedPendulum", "Hopper", "Reacher"])
def test_episodes_are_those_of_the_threads_within_float32(name):
    own, other = (
        build(getattr(tasks, name)(), num_envs=6, seed=5) for build in (make, threaded_mujoco)
    )
    torch.testing.assert_close(own.reset(), other.reset(), atol=1e-6, rtol=1e-6)
    running = torch.ones(6, dtype=torch.bool)  # first episodes: their starts are the same
    for action in actions(own, 15):
        a, b = own.step(action), other.step(action)
        for x, y in zip(a[1:], b[1:], strict=True):
            torch.testing.assert_close(x[running], y[running], atol=2e-4, rtol=1e-4)
        running &= ~(b.terminated | b.truncated)
        for key, term in other.reward_terms().items():
            found, right = own.reward_terms()[key][running], term.float()[running]
            torch.testing.assert_close(found, right, atol=2e-4, rtol=1e-4)
        assert a.obs[running].equal(a.next_obs[running])
    assert isinstance(own, HasRewardTerms) and isinstance(own.task, Task)


@slow
def test_after_50_steps_a_hopper_is_where_the_c_library_has_it():
    env = make()
    env.max_episode_steps = None
    env.reset(0)
    start = {name: x.double().numpy().copy() for name, x in env._physics.fields.items()}
    controls = 0.3 * actions(env, 50)
    for action in controls:
        env.advance(action)  # no restart: a fallen hopper goes on falling
    model = load_model(tasks.Hopper())
    for i in range(4):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = start["qpos"][i], start["qvel"][i]
        for action in controls:
            data.ctrl[:] = action[i].numpy()
            mujoco.mj_step(model, data, 4)
        assert np.abs(env._physics.fields["qpos"][i].numpy() - data.qpos).max() < 1e-4


@slow
def test_forces_of_contacts_are_those_of_a_step_and_none_at_a_start():
    own, other = (build(tasks.HumanoidStandup(), num_envs=2) for build in (make, threaded_mujoco))
    torch.testing.assert_close(own.reset(5), other.reset(5), atol=1e-5, rtol=1e-5)
    for action in actions(own, 2):  # it lies on the floor
        a, b = own.step(action), other.step(action)
        forces = own._now["cfrc_ext"]
        assert forces.abs().max() > 10
        torch.testing.assert_close(a.next_obs, b.next_obs, atol=0.05, rtol=1e-3)
    torch.testing.assert_close(own.reset(6), other.reset(6), atol=1e-5, rtol=1e-5)
    assert (own._now["cfrc_ext"] == 0).all()


# ------------------------------------------------------------------------- episodes
@slow
def test_a_restart_touches_only_its_worlds():
    env, twin = (make(tasks.Reacher()) for _ in range(2))
    before = [each.reset(3) for each in (env, twin)][0]
    first = before.clone()
    for action in actions(env, 6):
        before = env.step(action).obs
        twin.advance(action)  # nothing begins anew
    state, fields = env._physics.get_state(), twin._now  # lagged ones, such as xpos
    mask = torch.tensor([False, True, False, False])
    obs = env.restart(mask)
    assert obs[~mask].equal(before[~mask]) and not obs[1].equal(before[1])
    assert (obs[1] - first[1]).abs().max() < 0.5  # near straight, and the lagged gap goes with it
    reach = torch.linalg.vector_norm(obs[1, 8:10]).item()
    assert reach == pytest.approx(_reach(env._physics.fields["qpos"][1]), abs=1e-5)
    for name in ("qpos", "qvel"):
        assert env._physics.fields[name][~mask].equal(state[name][~mask])
        assert not env._physics.fields[name][mask].equal(state[name][mask])
    assert all(env._now[name][~mask].equal(fields[name][~mask]) for name in fields)
    action = actions(env, 1, seed=2)[0]
    a, b = env.step(action), twin.step(action)
    torch.testing.assert_close(a.next_obs[~mask], b.next_obs[~mask], atol=1e-5, rtol=1e-5)


def _reach(qpos: torch.Tensor) -> float:
    """Compute the distance of fingertip and target by the C library."""
    model = load_model(tasks.Reacher())
    data = mujoco.MjData(model)
    data.qpos[:] = qpos.numpy()
    mujoco.mj_forward(model, data)
    gap = data.body("fingertip").xpos - data.body("target").xpos
    return float(np.linalg.norm(gap[:2]))


@slow
def test_episodes_end_by_the_limit_and_by_a_fall_and_start_anew():
    env = make(tasks.InvertedPendulum(), num_envs=16)
    env.max_episode_steps = 7
    env.reset(0)
    age, ended = torch.zeros(16, dtype=torch.int64), [0, 0]
    for action in actions(env, 60):
        step, age = env.step(action), age + 1
        assert step.terminated.equal(step.next_obs[:, 1].abs() > 0.2)
        assert step.truncated.equal(age >= 7)
        done = step.terminated | step.truncated
        assert (step.obs[done].abs() <= 0.01).all()  # a start
        assert step.obs[~done].equal(step.next_obs[~done])
        assert step.reward.equal((~step.terminated).float())
        ended[0] += int(step.terminated.sum())
        ended[1] += int(step.truncated.sum())
        age[done] = 0
    assert min(ended) > 10


@slow
def test_seeds_give_the_same_episodes_and_those_of_environments_may_be_apart():
    env = make(tasks.InvertedPendulum(), num_envs=2, seed=4)
    first = env.reset()
    assert first.equal(env.reset(4)) and not first.equal(env.reset())
    assert env.reset([9, 4])[1].equal(first[0])
    assert env.reset([4, None])[0].equal(first[0])

    def run() -> torch.Tensor:
        env.reset(11)
        return torch.stack([rows(env.step(action)) for action in actions(env, 60)])

    assert run().equal(run())
    with pytest.raises(BadInput, match="seed: 3 seeds, there should be num_envs=2"):
        env.reset([1, 2, 3])
    with pytest.raises(BadInput, match=r"action: shape \(3, 1\) should be \(2, 1\)"):
        env.step(torch.zeros(3, 1))
    with pytest.raises(BadInput, match="call reset"):
        make(tasks.InvertedPendulum(), num_envs=2).step(torch.zeros(2, 1))


@slow
@pytest.mark.parametrize("name", ["Hopper", "Reacher"])
def test_a_restored_run_goes_on_bit_for_bit(name):
    task = getattr(tasks, name)
    env, other = make(task(), seed=1), make(task(), seed=2)
    env.reset()
    for action in actions(env, 30):
        env.step(action)
    other.load_state_dict(env.state_dict())
    for action in actions(env, 70, seed=1):  # Reacher's limit is 50: with new starts
        assert rows(env.step(action)).equal(rows(other.step(action)))
    with pytest.raises(ValueError, match=r"state: its observations are \(4, .*should be \(3, "):
        make(task(), num_envs=3).load_state_dict(env.state_dict())


@slow
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path):
    common = ["agent=random", "env=inverted_pendulum", "env.backend=warp", "env.num_envs=3"]
    common += ["total_steps=120", "save_every=30", "eval_every=60", "eval_episodes=2"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["train", *common, f"run_dir={whole}"]) == 0
    assert main(["train", *common, f"run_dir={broken}"]) == 0
    for folder in sorted((broken / "checkpoints").glob("[0-9]*"))[-1:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    (broken / "summary.json").unlink(missing_ok=True)
    assert main(["train", "--resume", str(broken)]) == 0
    a, b = (sorted((run / "checkpoints").glob("[0-9]*"))[-1] for run in (whole, broken))
    for name in ("env.safetensors", "env.json", "buffer.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


# --------------------------------------------------------------------------- faults
@slow
def test_a_world_that_diverges_is_named_and_starts_anew_while_the_others_go_on(caplog):
    env, twin = make(), make()
    last = [each.reset(0) for each in (env, twin)][0]
    env._physics.fields["qvel"][1] = torch.nan
    env._physics.fields["qpos"][3, 0] = 1e12
    action = actions(env, 1)[0]
    with caplog.at_level(logging.WARNING):
        step, other = env.step(action), twin.step(action)
    well = torch.tensor([True, False, True, False])
    assert "environment 1, 3, step 1: diverged (a NaN or a number beyond 1e10)" in caplog.text
    assert env.num_diverged == 2 and twin.num_diverged == 0
    assert rows(step)[well].equal(rows(other)[well])
    assert step.truncated.equal(~well) and not step.terminated.any()
    assert step.next_obs[~well].equal(last[~well]) and (step.reward[~well] == 0).all()
    assert not step.obs[1].equal(last[1])  # another start
    caplog.clear()
    for action in actions(env, 5, seed=1):
        step, other = env.step(action), twin.step(action)
        assert rows(step)[well].equal(rows(other)[well]) and rows(step).isfinite().all()
    assert env.num_diverged == 2 and not caplog.records
    env._physics.fields["qvel"][0] = torch.nan
    for action in actions(env, 3):  # without a restart, as in an ended episode of gymnasium
        env.advance(action)
    assert env.num_diverged == 3
    env.restart(torch.tensor([True, False, False, False]))
    again = make()
    again.load_state_dict(env.state_dict())
    assert again.num_diverged == 3


@slow
def test_contacts_that_do_not_fit_are_reported_with_the_environment_once(caplog, capfd):
    env = make(num_envs=2, njmax=1)
    env.reset(0)
    with caplog.at_level(logging.WARNING):
        for action in actions(env, 30):
            env.step(action)
    lines = [record.getMessage() for record in caplog.records if "njmax" in record.getMessage()]
    named = "more rows of constraints than njmax=1: some contacts have no force; raise njmax"
    assert 1 <= len(lines) <= 2 and all(line.endswith(named) for line in lines)
    assert lines[0].startswith("environment ") and env.num_overflowed == 2
    caplog.clear()
    env = make(tasks.HumanoidStandup(), num_envs=2, nconmax=1)
    env.reset(0)
    env.step(actions(env, 1)[0])
    assert env.num_overflowed > 0 and "more contacts than nconmax=1 per world" in caplog.text
    assert "overflow" not in "".join(capfd.readouterr())  # nothing is printed by the device


@slow
def test_the_bits_of_an_overflow_are_those_of_mujoco_warp():
    from mujoco_warp import OverflowType as Bit

    from mbrl.envs import warp

    rows, contacts, others = warp._OVERFLOWS
    assert rows == Bit.NEFC | Bit.NJMAX_NNZ
    assert contacts == Bit.BROADPHASE | Bit.NARROWPHASE | Bit.CCD
    assert rows | contacts | others == Bit.ALL & ~(Bit.ITERATIONS | Bit.LS_ITERATIONS)


@slow
def test_too_little_memory_says_how_many_worlds_fit(monkeypatch):
    monkeypatch.setattr(warp_physics, "free_memory", lambda device: 2e6)
    message = r"num_envs=5000: takes about .* on cpu, where .* are free; should be at most (\d+)"
    with pytest.raises(BadInput, match=message) as caught:
        make(num_envs=5000)
    fit = int(str(caught.value).rpartition(" ")[2])
    assert 20 < fit < 200
    assert make(num_envs=fit).num_envs == fit
    with pytest.raises(BadInput, match=f"at most {fit}"):
        make(num_envs=fit + 1)
    for nconmax in (100_000, 10**11):  # the second is no array at all
        with pytest.raises(BadInput, match=f"^nconmax={nconmax}: a world needs more memory than"):
            make(num_envs=1, nconmax=nconmax)


@slow
def test_a_copy_is_refused_with_what_to_do_instead():
    env = make(num_envs=2)
    for copying in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make another one, and load_state_dict"):
            copying(env)


# ----------------------------------------------------------------------- other models
class Pole(MujocoTask):
    """A pole on a hinge, with settings of its own."""

    frame_skip = 2
    max_episode_steps = 20
    task = Task()

    def __init__(self, path, option: str, fields: tuple[str, ...] = ()):
        path.write_text(
            f'<mujoco>{option}<worldbody><body><joint name="j" type="hinge" axis="0 1 0"/>'
            '<geom type="capsule" size=".02" fromto="0 0 0 0 0 .5"/></body></worldbody>'
            '<actuator><motor joint="j" ctrlrange="-1 1"/></actuator></mujoco>'
        )
        self.model_path, self.fields = path, fields

    def start(self, qpos, qvel, generator):
        qpos[:] = generator.uniform(-0.1, 0.1)

    def observe(self, now):
        return now["qpos"] * 1.0

    def outcome(self, before, action, now, dt):
        return now["qvel"][:, 0], now["qpos"][:, 0] > 9


class NumpyPole(Pole):
    """Its observations are of numpy, whatever the fields are."""

    def observe(self, now):
        return np.asarray(now["qpos"])


@slow
def test_a_model_for_pgs_is_solved_by_newton_and_the_log_says_so_once(tmp_path, caplog):
    task = Pole(tmp_path / "pole.xml", '<option solver="PGS"/>')
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            make(task, num_envs=1)
    said = [record.getMessage() for record in caplog.records if "PGS" in record.getMessage()]
    assert len(said) == 1 and "pole.xml asks for the PGS solver" in said[0] and "Newton" in said[0]


@slow
def test_what_mujoco_warp_cannot_do_is_refused_by_name(tmp_path):
    flag = '<option><flag midphase="disable"/></option>'
    with pytest.raises(BadInput, match=r"model_path=.*pole.xml: MuJoCo Warp cannot simulate it"):
        make(Pole(tmp_path / "pole.xml", flag))
    with pytest.raises(BadInput, match="fields: efc_force is no field that MuJoCo Warp computes"):
        make(Pole(tmp_path / "pole.xml", "", ("efc_force",)))
    with pytest.raises(BadInput, match="task: the observation of NumpyPole is a ndarray though"):
        make(NumpyPole(tmp_path / "pole.xml", ""))


# ------------------------------------------------------------------------------ faces
@slow
def test_it_has_the_role_of_a_model_environment_and_no_simulator():
    env: ModelVecEnv = make(tasks.InvertedPendulum(), num_envs=1)
    check_env(ModelEnv(env), skip_render_check=True)
    assert not isinstance(env, SimulatesFromState) and env.env_state() is None


@slow
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_gymnasium_s_vector_face_has_its_three_modes(mode):
    envs = gymnasium.make_vec(
        "mbrl/InvertedPendulum-v5",
        num_envs=3,
        backend="warp",
        device="cpu",
        autoreset_mode=mode,
        max_episode_steps=4,
    )
    obs, _ = envs.reset(seed=3)
    other = mbrl.make_vec("InvertedPendulum-v5", 3, seed=3).reset()
    np.testing.assert_allclose(obs, other, atol=1e-6)
    still, done = np.zeros((3, 1), np.float32), np.zeros(3, dtype=bool)
    for number in range(1, 12):
        if mode == "Disabled" and done.any():
            envs.reset(options={"reset_mask": done})
        obs, reward, terminated, truncated, info = envs.step(still)
        done = terminated | truncated
        ends = number % 5 == 4 if mode == "NextStep" else number % 4 == 0
        assert done.all() == ends
        assert ("final_obs" in info) == (mode == "SameStep" and done.all())
        assert (reward == (0 if mode == "NextStep" and number % 5 == 0 else 1)).all()
        assert envs.observation_space.contains(obs)
    envs.close()


@slow
def test_stable_baselines_learn_in_it():
    from stable_baselines3 import SAC

    env = SB3ModelEnv(make(tasks.InvertedPendulum()))
    model = SAC("MlpPolicy", env, learning_starts=20, seed=0, device="cpu").learn(80)
    assert model.num_timesteps == 80 and model.ep_info_buffer[0]["l"] > 0


@slow
@pytest.mark.parametrize("name", ["Hopper", "Reacher"])
def test_a_step_reads_nothing_of_the_device(name, monkeypatch):
    env = make(getattr(tasks, name)())
    env._look_every = 64  # as on a GPU
    env.reset(0)
    moves = actions(env, 12)
    env.step(moves[0])  # fills the queue of starts
    with reads(monkeypatch) as found:
        for action in moves[1:]:
            env.step(action)
    assert found == []


# ------------------------------------------------------------------------- on a GPU
@gpu
@pytest.mark.parametrize("name", ["InvertedPendulum", "Hopper", "Reacher"])
def test_a_gpu_steps_as_the_cpu_does(name):
    here, there = (make(getattr(tasks, name)(), device=device) for device in ("cpu", "cuda"))
    torch.testing.assert_close(here.reset(7), there.reset(7).cpu(), atol=1e-6, rtol=1e-6)
    for action in actions(here, 10):
        a, b = here.advance(action), there.advance(action.cuda())
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y.cpu(), atol=1e-4, rtol=1e-4)


@gpu
def test_a_step_on_a_gpu_shares_warp_s_memory_and_waits_for_nothing():
    env = make(num_envs=64, device="cuda")
    obs = env.reset(0)
    assert obs.is_cuda and env._physics.fields["qpos"].data_ptr() == env._physics._data.qpos.ptr
    assert env._physics.control.data_ptr() == env._physics._data.ctrl.ptr
    moves = actions(env, 12).cuda()
    env.step(moves[0])  # fills the queue of starts
    torch.cuda.set_sync_debug_mode("error")
    try:
        for action in moves[1:]:
            env.step(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert env.num_diverged == 0 and not env._obs.isnan().any()


@gpu
def test_a_diverging_world_on_a_gpu_is_reported_at_the_next_look(caplog):
    env = make(num_envs=8, device="cuda")
    env.reset(0)
    env._physics.fields["qvel"][5] = torch.nan
    step = env.step(actions(env, 1)[0].cuda())
    assert step.truncated.cpu().tolist() == [i == 5 for i in range(8)]
    with caplog.at_level(logging.WARNING):
        env.close()
    assert "environment 5" in caplog.text and step.next_obs.isfinite().all()


@gpu
def test_a_policy_learns_on_the_gpu_in_worlds_that_are_there(tmp_path):
    run = tmp_path / "run"
    worlds = ["env=hopper", "env.backend=warp", "env.num_envs=64", "device=cuda", f"run_dir={run}"]
    times = ["total_steps=6400", "eval_every=3200", "save_every=3200", "eval_episodes=4"]
    assert main(["train", "agent=sac", "agent.learning_starts=640", *worlds, *times]) == 0
    assert main(["eval", str(run), "--episodes", "4"]) == 0


@gpu
def test_states_saved_on_a_gpu_are_restored_there():
    env, other = make(device="cuda"), make(device="cuda")
    env.reset(1)
    for action in actions(env, 20).cuda():
        env.step(action)
    other.load_state_dict(env.state_dict())
    action = actions(env, 1, seed=1)[0].cuda()
    a, b = env.step(action), other.step(action)  # a GPU adds in any order
    torch.testing.assert_close(a.next_obs, b.next_obs, atol=1e-4, rtol=1e-4)

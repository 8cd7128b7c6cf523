"""Ids of the framework's environments in gymnasium's registry; nothing is built or imported."""

from __future__ import annotations

import gymnasium

# steps after which an episode is truncated, for gymnasium, which must know without building one
LIMITS = {
    "Hopper-v5": 1000,
    "Walker2d-v5": 1000,
    "HalfCheetah-v5": 1000,
    "Swimmer-v5": 1000,
    "InvertedPendulum-v5": 1000,
    "InvertedDoublePendulum-v5": 1000,
    "Reacher-v5": 50,
    "Ant-v5": 1000,
    "Humanoid-v5": 1000,
    "HumanoidStandup-v5": 1000,
    "Pusher-v5": 100,
    "CartpoleSwingup-v0": 1000,
    "CartpoleSwingupSparse-v0": 1000,
    "Push-v0": 60,
    "PushBox-v0": 60,
    "PushBoxPose-v0": 60,
    "PushObstacle-v0": 60,
    "Sort-v0": 80,
    "Rope-v0": 60,
    "PiecewiseAffine-v0": 40,
    "KuramotoSivashinsky-v0": 200,
    "Pendulum-v1": 200,
    "PendulumSparse-v0": 100,
    "PendulumWeak-v0": 200,
    "Refrigerator-v0": 100,
}


def register() -> None:
    """Register every environment of the framework with gymnasium, as `mbrl/ID`."""
    for name, limit in LIMITS.items():
        original = gymnasium.registry.get(name)
        gymnasium.register(
            f"mbrl/{name}",
            entry_point="mbrl.envs.to_gymnasium:MbrlEnv",
            vector_entry_point="mbrl.envs.to_gymnasium:make_vector_env",
            max_episode_steps=limit,
            reward_threshold=None if original is None else original.reward_threshold,
            kwargs={"name": name},
        )

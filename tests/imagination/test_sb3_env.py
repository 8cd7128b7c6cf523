"""A model as SB3's VecEnv."""

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from mbrl.imagination import SB3ModelEnv
from tests.imagination.worlds import PUSHES, Pushed, world
from tests.toys import ACTION, ToyModel


def test_sb3s_ppo_learns_inside_the_model():
    for model, action in ((ToyModel(), ACTION), (Pushed(), PUSHES)):
        env = SB3ModelEnv(world(model, action, num_envs=16, max_episode_steps=20))
        ppo = PPO("MlpPolicy", env, n_steps=64, learning_rate=1e-3, gamma=0.9, seed=0)
        before, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        ppo.learn(16 * 64 * 6)
        after, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        assert after > before / 2 > before  # less than half of the cost is left

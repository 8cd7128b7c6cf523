"""Collect a Minari dataset and learn a policy from it alone."""

import subprocess

from mbrl import GymAgent


def mbrl(*arguments: str) -> None:
    subprocess.run(["mbrl", *arguments], check=True)


mbrl("train", "agent=sindy_mpc", "env=pendulum", "run_dir=runs/expert")
mbrl(
    "collect",
    "runs/expert",
    "--steps",
    "2000",
    "--id",
    "pendulum/example-v0",
    "--mix",
    "random,expert",
)

agent = GymAgent("td3_bc", env="pendulum", dataset="pendulum/example-v0", seed=0)
agent.learn(5000)  # updates, no new steps
print("torque at the upright position:", agent.predict([1.0, 0.0, 0.0])[0])

"""`mbrl eval` and `mbrl.load`: a trained agent from its run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.cli.common import Parser, count, failed, restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.config import Parts


def main(arguments: list[str]) -> int:
    """Evaluate the newest checkpoint of a run."""
    parser = Parser(prog="mbrl eval", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--episodes", type=count(1), metavar="N", help="default: the run's")
    parser.add_argument("--seed", type=count(0), metavar="S", help="default: the run's")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(arguments)

    from mbrl.run import RunFolder

    run = RunFolder.open(options.run)
    try:
        parts = restore(run)
        from mbrl.loop import evaluate

        score = evaluate(
            parts.make_eval_env,
            parts.agent,
            episodes=options.episodes or run.config["eval_episodes"],
            seed=run.config["seed"] if options.seed is None else options.seed,
        )
    except BadInput:
        raise
    except Exception as error:
        return failed(run, error)
    if options.json:
        keys = ("eval/mean_reward", "eval/std_reward", "eval/episodes", "eval/mean_ep_length")
        print(json.dumps({key: score[key] for key in keys}))
    else:
        mean, std, number = (score[f"eval/{k}"] for k in ("mean_reward", "std_reward", "episodes"))
        print(f"eval/mean_reward {mean:.6g}  eval/std_reward {std:.6g}  eval/episodes {number}")
    return 0


class LoadedAgent:
    """A trained agent in SB3's shape.

    Attributes:
        agent: the agent itself.
    """

    def __init__(self, parts: Parts):
        """Take the restored parts."""
        self.agent = parts.agent
        self._action = parts.env.action
        self._device = parts.env.device

    def predict(self, obs: Any, deterministic: bool = True) -> tuple[Any, None]:
        """Choose actions.

        Args:
            obs: (obs_dim,) or (B, obs_dim), array-like.
            deterministic: act as in evaluation, without exploration.

        Returns:
            Actions as numpy, (act_dim,) or (B, act_dim); discrete ones as int64 () or (B,). The
            second is SB3's recurrent state: None, the agent keeps its own.
        """
        import torch

        rows = torch.as_tensor(obs, dtype=torch.float32, device=self._device)
        with torch.no_grad():
            batch = rows if rows.dim() > 1 else rows[None]
            action = self.agent.act(batch, explore=not deterministic)
        if self._action.kind == "discrete":
            action = action.argmax(-1)
        action = action.cpu().numpy()
        return (action if rows.dim() > 1 else action[0]), None

    def reset(self) -> None:
        """Begin a new episode."""
        self.agent.reset()


def load(run: str | Path) -> LoadedAgent:
    """Load the agent of a run folder.

    Raises:
        BadInput: if it is no run folder, or its checkpoint is missing or damaged.
    """
    from mbrl.run import RunFolder

    return LoadedAgent(restore(RunFolder.open(Path(run))))

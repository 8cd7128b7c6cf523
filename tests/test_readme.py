"""Every command and snippet of the README runs (shortened), and it lists every file it should."""

import re
import shlex
from pathlib import Path

import pytest

from mbrl.cli import main
from mbrl.config import compose

README = (Path(__file__).parent.parent / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
COMMANDS += re.findall(r"^\|[^`\n]*`(mbrl [^`]*)`", README, re.M)  # the table of methods
SHORT = {
    "total_steps": "40", "eval_episodes": "1", "save_every": "20", "agent.learning_starts": "20",
    "learner.hidden": "8", "dynamics.hidden": "8", "dynamics.min_updates": "5",
    "dynamics.max_updates": "5", "planner.horizon": "4", "planner.num_samples": "8",
    "planner.num_elites": "4", "planner.num_iterations": "1", "planner.warm_iterations": "1",
}  # fmt: skip


def shortened(arguments: list[str]) -> list[str]:
    """Make a training command small; what it says itself of other keys stays."""
    if "--resume" in arguments or "--help" in arguments:
        return arguments
    config = compose(arguments).config
    taken = set(config) | {
        f"{group}.{key}" for group, node in config.items() if isinstance(node, dict) for key in node
    }
    extra = {key: value for key, value in SHORT.items() if key in taken}
    kept = [a for a in arguments if a.partition("=")[0] not in extra]
    return [*kept, *(f"{key}={value}" for key, value in extra.items())]


def test_every_command_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    ours = [c for c in COMMANDS if c.startswith("mbrl ")]
    assert len(ours) >= 10 and {"make demo", "make test"} <= set(COMMANDS)
    for command in ours:
        _, name, *arguments = shlex.split(command)
        if name == "train":
            arguments = shortened(arguments)
        if name == "collect":
            arguments[arguments.index("--steps") + 1] = "300"
        status = main([name, *arguments])
        assert status == 0, f"{command}: {capfd.readouterr().err}"

    # the snippets use the run that the commands made
    for snippet in re.findall(r"```python\n(.*?)```", README, re.S):
        assert len(snippet.splitlines()) <= 15
        exec(compile(snippet, "README.md", "exec"), {})


def test_the_makefile_has_the_two_commands():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in ("demo", "test"):
        assert re.search(rf"^{target}: \$\(STAMP\)", makefile, re.M)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (Path(__file__).parent.parent / link).exists()


def test_the_tree_names_every_room():
    house = Path(__file__).parent.parent / "mbrl"
    for path in house.iterdir():
        room = f"{path.name}/" if path.is_dir() else path.name
        if not path.name.startswith(("_", ".")) and path.name not in ("py.typed"):
            assert f"\n  {room}" in README, f"{room} is missing in the README's tree"

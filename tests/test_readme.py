"""Every command, snippet, link and file name of the README and the documentation holds.

Training commands are shortened. A command that stands on several pages runs once, unless it names a
run folder that the page goes on with.
"""

import csv
import functools
import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl import cli
from mbrl.cli import main
from mbrl.config import compose
from mbrl.config.library import CONFIGS, Library
from mbrl.config.signatures import read_signature

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "findings/README.md"] + [
    str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))
]
SHORT = {  # keys of a run, and parameters of the parts of a group, wherever they stand in it
    "total_steps": "40", "eval_episodes": "1", "save_every": "20", "agent.learning_starts": "20",
    "agent.updates_per_refit": "1", "learner.hidden": "8", "learner.num_model_envs": "2",
    "learner.num_steps": "20", "dynamics.hidden": "8", "dynamics.min_updates": "5",
    "dynamics.max_updates": "5", "dynamics.dense_updates": "5", "dynamics.stage_updates": "4",
    "planner.horizon": "4", "planner.num_samples": "8", "planner.num_elites": "4",
    "planner.num_iterations": "1", "planner.warm_iterations": "1", "env.num_envs": "1",
}  # fmt: skip
DISTILL = ["--max-terms", "3", "--starts", "2", "--polish", "1", "--episodes", "1"]
NOT_OURS = {"make", "python", "python3", "pip", ".venv/bin/pip", "source", "cd"}


def text_of(page: str) -> str:
    """A page, the files that it shows put in."""
    text = (ROOT / page).read_text()
    return re.sub(r'--8<-- "(.*)"', lambda match: (ROOT / match[1]).read_text(), text)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```$", text_of(page), re.S | re.M)


def commands(page: str) -> list[str]:
    """The commands of console blocks and of tables."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    rows = [line for line in text_of(page).splitlines() if line.startswith("|")]
    lines += [c for row in rows for c in re.findall(r"`(mbrl train [^`]*)`", row)]
    return [c for line in lines if (c := line.partition("  #")[0].strip()) and "[" not in c]


def split(pages: list[str]) -> dict[str, list[str]]:
    """The commands to run on each page: those without a run folder on the first one only."""
    seen: set[str] = set()
    chosen = {}
    for page in pages:
        chosen[page] = [
            c for c in commands(page) if "runs/" in c or c[:3] == "cd " or c not in seen
        ]
        seen |= set(chosen[page])
    return chosen


COMMANDS = split(PAGES)
FILES = [f.read_text() + "\n" for f in (ROOT / "examples").rglob("*.py")]
SLOW = {
    "docs/backends.md",
    "docs/methods/morec.md",
    "docs/results/learning.md",
    "docs/methods/mopo.md",
}
RUNNING = [
    pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else [])
    for p in PAGES
    if COMMANDS[p] or blocks(p, "python")
]


def shortened(arguments: list[str]) -> list[str]:
    """Make a training command small; what it says itself of other keys stays."""
    if "--help" in arguments:
        return arguments
    if "--resume" in arguments:
        return [a if not a.startswith("total_steps=") else "total_steps=60" for a in arguments]
    folder = (
        Path(arguments[arguments.index("--config-dir") + 1])
        if "--config-dir" in arguments
        else None
    )
    words = [a for a in arguments if "=" in a]
    config = compose(words, folder).config
    extra = {key: SHORT[key] for key in set(config) & set(SHORT)}
    for group, node in config.items():
        for path, part in nodes(group, node):
            names = read_signature(part["_target_"]).parameters
            extra |= {f"{path}.{n}": v for n in names if (v := SHORT.get(f"{group}.{n}"))}
    if isinstance(config.get("dynamics", {}).get("hidden"), list):
        extra |= {"dynamics.hidden": "[8]", "dynamics.schedule": "[4]"}
    kept = [a for a in arguments if a.partition("=")[0] not in extra]
    return [*kept, *(f"{key}={value}" for key, value in extra.items())]


def nodes(path: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a configuration, with their keys."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for name, child in node.items():
            yield from nodes(f"{path}.{name}", child)


def here(argument: str) -> str:
    """What needs a GPU runs on the CPU where there is none."""
    return "device=cpu" if argument == "device=cuda" and not has_gpu() else argument


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run(command: str) -> int:
    """Run one of our commands, shortened."""
    _, name, *arguments = shlex.split(command)
    if name == "train":
        arguments = shortened([here(argument) for argument in arguments])
    if name == "collect":
        arguments[arguments.index("--steps") + 1] = "300"
    if name == "distill":
        arguments += DISTILL
    try:
        return main([name, *arguments])
    except SystemExit as end:  # --help
        return int(end.code or 0)


def snippets_before_commands(page: str) -> int:
    """How many Python blocks of a page about recorded files stand before its first commands."""
    before = text_of(page).partition("```console")[0]
    return before.count("\n```python\n") if page == "docs/from-logs.md" else 0


@pytest.mark.parametrize("page", RUNNING)
def test_every_command_and_snippet_runs(page, tmp_path, monkeypatch, capfd):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    scope: dict = {}
    snippets = [x for x in blocks(page, "python") if x not in FILES]  # a file is run by commands
    early = snippets_before_commands(page)
    for snippet in snippets[:early]:  # they make the files that the commands read
        exec(compile(snippet, page, "exec"), scope)
    for command in COMMANDS[page]:
        if command.startswith("cd "):
            monkeypatch.chdir(tmp_path / command.removeprefix("cd "))
        elif command.startswith("mbrl "):
            assert run(command) == 0, f"{command}: {capfd.readouterr().err}"
    for snippet in snippets[early:]:  # they use the runs that the commands made
        exec(compile(snippet, page, "exec"), scope)


def test_the_readme_is_short():
    assert len(README.split()) <= 1000
    assert all(len(snippet.splitlines()) <= 15 for snippet in blocks("README.md", "python"))
    assert {"make demo", "make test"} <= set(commands("README.md"))


@pytest.mark.parametrize("page", PAGES)
def test_other_commands_name_what_is_there(page):
    makefile = (ROOT / "Makefile").read_text()
    for command in commands(page):
        first, *rest = shlex.split(command)
        assert first == "mbrl" or first in NOT_OURS, command
        if first == "make":
            assert re.search(rf"^{rest[0]}: \$\(STAMP\)", makefile, re.M), command
        if first == "python":
            assert (ROOT / rest[0]).is_file(), command


@pytest.mark.parametrize("page", PAGES)
def test_yaml_blocks_can_be_read(page):
    for block in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(block), dict)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    here = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        if link.startswith("reference/") or "/reference/configuration/" in link:
            continue  # made by docs/hooks.py: `make docs` checks these
        assert (here / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:scripts|results|examples|mbrl|tests|docs)/[\w./*-]+)", text_of(page))
    for name in named:
        if "NAME" in name or "GROUP" in name or "/a/" in name:
            continue  # a pattern
        assert list(ROOT.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("page", PAGES)
def test_keys_that_are_named_exist(page):
    groups = {group: keys_of(group) for group in ("agent", "dynamics", "planner", "learner", "env")}
    for group, key in re.findall(r"`(agent|dynamics|planner|learner|env)\.(\w+)", text_of(page)):
        assert key in groups[group], f"{group}.{key}"


@functools.cache
def keys_of(group: str) -> set[str]:
    """All parameters of a group's choices."""
    library = Library()
    nodes = [library.read(group, file.stem) for file in (CONFIGS / group).glob("*.yaml")]
    targets = {node["_target_"] for node in nodes if "_target_" in node}
    return {key for target in targets for key in read_signature(target).parameters}


def test_every_command_is_on_the_page_of_commands():
    page = text_of("docs/commands.md")
    assert [name for name in cli.COMMANDS if f"`mbrl {name}" not in page] == []


def test_few_files_hold_a_method():
    most = {"mbpo": 5, "pets": 5, "mopo": 5, "sindy": 8, "morec": 8, "sparse_relu": 9}
    for method, limit in most.items():
        section = text_of(f"docs/methods/{method}.md").partition("## The code")[2]
        rows = re.findall(r"^\| `mbrl/[\w/]+\.py` \|", section.partition("\n## ")[0], re.M)
        assert 0 < len(rows) <= limit, method


def test_the_returns_of_the_learning_page_are_those_of_its_table():
    """Each row with a command: the last returns of every seed, as results/ has them."""
    with (ROOT / "results/experiments/learning.csv").open() as file:
        table = list(csv.DictReader(line for line in file if line[0] != "#"))
    compared = 0
    for line in (ROOT / "docs/results/learning.md").read_text().splitlines():
        row = re.match(
            r"\| [^|]* \| `mbrl train agent=(\w+) env=(\w+)[^`]*` \| ([\d,]+) \| ([^|]*)", line
        )
        if row is None:
            continue
        agent, env, steps, text = row.groups()
        runs = [r for r in table if (r["agent"], r["env"]) == (agent, env)]
        runs = [r for r in runs if int(r["step"]) == int(steps.replace(",", ""))]
        shown = re.findall(r"-?\d+\.?\d*", text.partition("(")[0])
        digits = [len(value.partition(".")[2]) for value in shown]
        if runs:
            measured = [float(r["mean_reward"]) for r in sorted(runs, key=lambda r: int(r["seed"]))]
            for value, digit, mean in zip(shown, digits, measured, strict=True):
                assert abs(float(value) - mean) <= 0.5001 * 10.0**-digit, line
            compared += 1
    assert compared >= 10


def test_the_tree_names_every_room():
    for path in (ROOT / "mbrl").iterdir():
        room = f"{path.name}/" if path.is_dir() else path.name
        if not path.name.startswith(("_", ".")) and path.name not in ("py.typed"):
            assert f"\n  {room}" in README, f"{room} is missing in the README's tree"


def test_the_references_and_equations_of_the_site_are_made():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    pages = {group: hooks.configure(group) for group in hooks.groups()}
    assert "| `planner.num_samples` | a whole number, at least 2 | `500` |" in pages["planner"]
    column = hooks.equation(r"\begin{bmatrix} a \\ b \end{bmatrix}")
    assert column.count("<mtr>") == 2 and "display" in column
    assert "## agent=mbpo" in pages["agent"] and "total_steps: 5000" in pages["train"]


def test_every_metric_is_in_the_glossary():
    glossary = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    pattern = r'"((?:train|eval|model|rollout|time)/\w+)'
    used = {m for f in (ROOT / "mbrl").rglob("*.py") for m in re.findall(pattern, f.read_text())}
    assert len(used) > 30
    assert sorted(m for m in used if f"`{m}`" not in glossary) == []


TINY = (
    '"learner.hidden": 8, "dynamics.hidden": 8, "dynamics.training.min_updates": 5, '
    '"dynamics.training.max_updates": 5, "agent.num_rollouts": 20'
)
TRAINING = "dynamics.EnsembleTraining(min_updates=5, max_updates=20)"
# smaller settings: what stands in the script -> what the test puts in its place
SMALLER = {
    "exact_planning": {
        "range(40)": "range(10)",
        "schedule=(16, 8)": "schedule=(4,), dense_updates=5, stage_updates=4",
    },
    "fit_an_ensemble": {"hidden=64": f"hidden=64, training={TRAINING}"},
    "mbpo_on_my_env": {
        "task=env.task": f"task=env.task, training={TRAINING}",
        "num_rollouts=2000": "num_rollouts=20",
        "agent, 1000": "agent, 505",
    },
    "model_as_sb3_env": {
        "seed=0)\nagent": f"seed=0, **{{{TINY}}})\nagent",
        "learn(1000)": "learn(250)",
        "n_steps=128, batch_size=256": "n_steps=8, batch_size=64",
        "20_000": "256",
    },
    "offline_from_minari": {'"2000"': '"300"', "learn(5000)": "learn(20)"},
    "vector_env_throughput": {"64, 2.0": "2, 0.05"},
}
# what must be true after a script has run
RIGHT = {
    "fit_an_ensemble": "prediction.uncertainty.shape == (1000,) and error < 0.1",
    "icem_on_a_function": "obs.abs().max() < 0.1",
    "sindy_equations": "metrics['model/terms'] == 2 and metrics['model/rollout_error'] < 1e-3",
    "exact_planning": "plan.info['lower_bound'].item() <= -plan.value.item() + 1e-6",
}
TINY_SCRIPTS = ("fit_an_ensemble", "icem_on_a_function", "mbpo_on_my_env")  # Python without files
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_every_example_runs(script, tmp_path, monkeypatch, capfd):
    source = script.read_text()
    assert len(source.splitlines()) < (21 if script.stem in TINY_SCRIPTS else 40)
    for old, new in SMALLER.get(script.stem, {}).items():
        assert old in source, f"{script.name} has changed: {old}"
        source = source.replace(old, new)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    real = subprocess.run

    def call(words, **options):
        return run(shlex.join(words)) if words[0] == "mbrl" else real(words, **options)

    monkeypatch.setattr(subprocess, "run", call)
    scope: dict = {"__name__": "__main__"}
    exec(compile(source, script, "exec"), scope)
    assert eval(RIGHT.get(script.stem, "True"), scope)


def test_there_are_enough_examples_and_a_page_names_them_all():
    page = (ROOT / "docs" / "examples.md").read_text()
    assert len(EXAMPLES) >= 8
    assert [e.name for e in EXAMPLES if f"`{e.name}`" not in page] == []


def test_own_parts_are_one_short_file_and_one_yaml():
    own = ROOT / "examples" / "own"
    files = sorted(own.glob("*.py"))
    choices = [f for f in own.glob("*/*.yaml") if "tasks.Mjcf" not in f.read_text()]
    assert len(files) == len(choices) >= 3
    assert [f.name for f in files if len(f.read_text().splitlines()) > 60] == []

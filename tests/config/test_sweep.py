"""Sweep files: those on offer fit, wrong ones are answered, and W&B's macros arrive as meant."""

import math
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mbrl.cli import main
from mbrl.config import compose
from mbrl.config.arguments import parse_arguments, parse_value
from mbrl.config.library import CONFIGS, SWEEPS, Library
from mbrl.config.sweep import check_sweep
from mbrl.errors import BadInput
from tests.config.parts import write

FILES = sorted((CONFIGS / SWEEPS).glob("*.yaml"))
BASE = ["agent=mbpo", "env=pendulum"]
MACROS = ("args", "args_no_hyphens", "args_append_hydra", "args_override_hydra")


def command(parameters: dict[str, Any], macro: str) -> list[str]:
    """What the agent of the installed W&B writes in place of a macro."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    args = {key: {"value": value} for key, value in parameters.items()}
    return create_sweep_command_args({"args": args})[macro]


def at(config: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def firsts(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The first value of each parameter under its dotted key."""
    found = {}
    for name, entry in parameters.items():
        if "parameters" in entry:
            found |= firsts(entry["parameters"], f"{prefix}{name}.")
        else:
            values = entry.get("values") or [entry.get("value", entry.get("min"))]
            found[f"{prefix}{name}"] = values[0]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sweep_file_is_one_of_trainings(file, capsys):
    sweep = yaml.safe_load(file.read_text())
    chosen = firsts(sweep["parameters"])
    (macro,) = [word[2:-1] for word in sweep["command"] if word.startswith("${args")]
    fixed = [w for w in sweep["command"] if not w.startswith("${") and w != "train"]
    config = compose([*fixed, *command(chosen, macro)]).config
    for key, value in chosen.items():
        got = config["choices"][key] if key in config["choices"] else at(config, key)
        assert got == value, key
    assert config["logger"]["wandb"]  # else W&B would never hear of the runs
    assert main(["sweep", file.stem]) == 0  # every value
    said = capsys.readouterr().out
    assert f"every value of {', '.join(chosen)} fits" in said and f"wandb sweep {file}" in said


def test_there_are_sweep_files_and_they_are_no_part(tmp_path):
    assert len(FILES) >= 2 and SWEEPS not in Library().defaults
    (tmp_path / SWEEPS).mkdir()
    (tmp_path / SWEEPS / FILES[0].name).write_text(FILES[0].read_text())
    assert SWEEPS not in Library(tmp_path).defaults  # a user's own lie beside the user's parts
    with pytest.raises(BadInput, match="mbrl sweep"):
        compose([f"sweep={FILES[0].stem}"])


GOOD = {
    "program": "mbrl",
    "command": ["${env}", "${program}", "train", "logger.wandb=true", "${args}"],
    "method": "random",
    "metric": {"name": "eval/mean_reward", "goal": "maximize"},
    "parameters": {"seed": {"values": [0, 1]}},
}


def parameter(**entry: Any) -> dict[str, Any]:
    return {"parameters": {"learner.learning_rate": entry}}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"parameters": {}}, "parameters: should hold"),
        ({"parameters": {"sed": {"value": 1}}}, "did you mean seed"),
        ({"parameters": {"seed": {"values": [0, -1]}}}, "seed=-1"),  # not the first value
        ({"parameters": {"seed": 3}}, "should be {value"),
        ({"parameters": {"learner": {"parameters": {"tua": {"value": 1}}}}}, "learner.tau"),
        (parameter(values=[]), "one or more"),
        (
            parameter(min="1e-5", max=0.1),
            "min=1e-5: should be a number; YAML reads 1e-5 as text, write 1.0e-5",
        ),
        ({"parameters": {"learner.tau": {"min": 0.1, "max": 9.0}}}, "learner.tau=9"),
        ({"parameters": {"learner.hidden": {"min": 8.0, "max": 16.0}}}, "learner.hidden"),
        (parameter(min=1e-5, max="many"), "max=many: should be a number\n"),
        (parameter(minn=1e-5, max=0.1), "learning_rate.minn: unknown key; did you mean min?"),
        (parameter(distribution="unifrom", min=0.1, max=0.2), "did you mean uniform?"),
        ({"early_terminate": {"type": "hyperbandit", "min_itr": 3}}, "did you mean min_iter?"),
        ({"early_terminate": {"type": "hyperbandit"}}, "give min_iter=N"),
        ({"early_terminate": {"type": "hyperbandit", "min_iter": 1.5}}, "min_iter=1.5"),
        ({"early_terminate": 3}, "early_terminate=3: should hold KEY: VALUE lines"),
        ({"metric": {"nmae": "x"}}, "metric.nmae: unknown key; did you mean name?"),
        ({"metric": {"name": "x", "goal": "maximise"}}, "did you mean maximize?"),
        ({"method": "gird"}, "method=gird: unknown; did you mean grid?"),
        ({"run_cpa": 3}, "run_cpa: unknown key; did you mean run_cap?"),
        ({"command": ["${env}", "mbrl", "train"]}, "should be that of a run"),
        ({"command": ["${env}", "${program}", "eval", "${args}"]}, "should be that of a run"),
        ({"command": ["${env}", "${program}", "train", "${args}"]}, "logger.wandb=true"),
    ],
)
def test_a_wrong_sweep_file_is_answered_in_one_line(tmp_path, capsys, change, said):
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(GOOD | change))
    assert main(["sweep", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(file) in err and said in err, err


@pytest.mark.parametrize(
    "entry",
    [
        {"min": 1e-4, "max": 1e-2},
        {"distribution": "log_uniform", "min": math.log(1e-4), "max": math.log(1e-2)},
        {"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 1e-2},
        {"distribution": "q_log_uniform_values", "min": 1e-4, "max": 1e-2, "q": 1e-4},
        {"distribution": "log_normal", "mu": -7, "sigma": 1},
        {"distribution": "beta", "a": 1, "b": 2},
        {"values": [1e-3, 1e-2], "probabilities": [0.2, 0.8]},
    ],
)
def test_good_distributions(tmp_path, entry):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(GOOD | parameter(**entry)))
    assert check_sweep(tmp_path / "sweep.yaml") == ["learner.learning_rate"]


def test_a_variable_of_wandb_may_stand_in_the_command(tmp_path):
    run_dir = "run_dir=runs/${envvar:WANDB_SWEEP_ID}"
    words = ["mbrl", "train", "logger.wandb=true", run_dir, "${args}"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(GOOD | {"command": words}))
    assert check_sweep(tmp_path / "sweep.yaml") == ["seed"]


def test_checking_imports_no_torch(tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(GOOD))
    code = (
        "import sys; from mbrl.cli import main; assert main(['sweep', sys.argv[1]]) == 0; "
        "assert not {'torch', 'wandb'} & set(sys.modules)"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "sweep.yaml")]
    subprocess.run(run, check=True, cwd=Path(__file__).parents[2])


# --- a sweep file may come from a stranger


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return a function that checks a sweep file beside a module that leaves a marker."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("open('ran', 'w').close()\nclass Part: pass\n")
    write(tmp_path / "theirs", {"env/toy": "_target_: beside.Part"})

    def check(change: dict[str, Any], *options: str) -> int:
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(GOOD | change))
        return main(["sweep", "sweep.yaml", *options])

    return check


def with_command(*words: str) -> dict[str, Any]:
    return {"command": ["${env}", "${program}", "train", "logger.wandb=true", *words, "${args}"]}


@pytest.mark.parametrize(
    "change, said",
    [
        (with_command("--config-dir", "theirs"), "--config-dir theirs is read, and its code run"),
        (with_command("--config-dir=theirs", "env=toy"), "with --trust or the same --config-dir"),
        (with_command("agent._target_=beside.Part"), "beside.Part: there is no module"),
        (with_command("agent=sac", "env=gym", "env.id=tests:X-v0"), "would run the module tests"),
        ({"program": "evil.sh"}, "would run 'evil.sh', which is not `mbrl`"),
        ({"command": ["${env}", "sh", "-c", "x", "mbrl", "train", "${args}"]}, "sh -c x mbrl"),
        ({"parameters": {"seed": {"values": list(range(501))}}}, "parameters.seed: 501 values"),
        ({"parameters": {"eval_episodes": {"value": 90_000}}}, "eval_episodes=90000"),
    ],
)  # fmt: skip
def test_what_a_strangers_sweep_file_would_run_or_read_is_refused(sweep, capsys, change, said):
    assert sweep(change) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "sweep.yaml" in err and said in err, err
    assert not Path("ran").exists()


def test_the_users_own_folder_of_choices_is_read_if_the_user_names_it(sweep):
    change = with_command("--config-dir", "theirs", "agent=random")
    assert sweep(change, "--config-dir", "./theirs") == 0
    assert sweep(change, "--config-dir", ".") == 2
    assert sweep(change, "--trust") == 0
    assert sweep({"program": "evil.sh"}, "--trust") == 0
    assert not Path("ran").exists()


# --- W&B's macros, as the installed client writes them

KEYS = st.lists(st.text(string.ascii_lowercase + "_", min_size=1), min_size=1, max_size=3)
# a string by itself is printed bare: one that reads as something else ("1", "None", "[a") is that
BARE = st.text(min_size=1).filter(lambda text: parse_value(text) == text)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False))
INNER = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = SCALARS | BARE | st.lists(INNER) | st.dictionaries(st.text(), INNER, max_size=3)


@pytest.mark.parametrize("macro", MACROS)
@given(st.dictionaries(KEYS.map(".".join), VALUES, min_size=1, max_size=3))
def test_what_a_macro_writes_is_read_back(macro, parameters):
    read = parse_arguments(command(parameters, macro))
    assert {key: parse_value(text) for key, text in read} == parameters
    assert repr([parse_value(text) for _, text in read]) == repr([*parameters.values()])  # 1, True


TEXT = st.text(" a'\"\\,=:;#{}[]()$%&*-+~/\nü", min_size=1, max_size=8).filter(
    # a reference to another key, in whatever way it comes, or YAML's null
    lambda text: "${" not in text and text.strip() != "~"
)
LENGTHS = st.lists(st.integers(1, 9), min_size=4, max_size=4)
MEANT = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "run_dir": st.none(),
        "logger": st.fixed_dictionaries({"wandb": st.booleans()}, optional={"project": TEXT}),
        "logger.project": TEXT,
        "agent.rollout_length": LENGTHS.map(lambda x: [x[0], x[0] + x[1], *sorted(x[2:])]),
        "learner": st.fixed_dictionaries({"target_entropy": st.none() | st.floats(-9, -0.1)}),
        "learner.learning_rate": st.floats(1e-300, 1.0),
        "dynamics.hidden": st.integers(1, 512) | st.integers(1, 512).map(float),
        "env": st.fixed_dictionaries({"num_envs": st.integers(1, 9)}),
        "dynamics": st.just("bootstrapped_ensemble"),
    },
)


@pytest.fixture(scope="module")
def unswept():
    return compose(BASE).config


@settings(max_examples=25, phases=[Phase.generate])  # a config takes 0.1 s
@given(macro=st.sampled_from(MACROS), parameters=MEANT)
def test_what_a_macro_writes_is_what_is_trained_with(unswept, macro, parameters):
    config = compose([*BASE, *command(parameters, macro)]).config
    meant = {}
    for key, value in parameters.items():
        if isinstance(value, dict):
            meant |= {f"{key}.{name}": inner for name, inner in value.items()}
        elif key != "dynamics":
            meant[key] = value
    for key, value in meant.items():
        assert (
            at(config, key) == value and type(at(config, key)) is not str or isinstance(value, str)
        )
    changed = {key for key in unswept if config[key] != unswept[key]}
    assert changed <= {key.partition(".")[0] for key in parameters}

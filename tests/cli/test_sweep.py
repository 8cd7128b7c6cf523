"""`mbrl sweep`: a file is checked, and the command that runs it is shown."""

import yaml

from mbrl.cli import main

GOOD = {
    "program": "mbrl",
    "command": ["${env}", "${program}", "train", "logger.wandb=true", "${args}"],
    "method": "random",
    "metric": {"name": "eval/mean_reward", "goal": "maximize"},
    "parameters": {"seed": {"values": [0, 1]}, "learner.tau": {"value": 0.1}},
}


def test_a_good_file_is_answered_with_the_command_that_runs_it(tmp_path, capsys):
    file = tmp_path / "my sweep.yaml"
    file.write_text(yaml.safe_dump(GOOD, sort_keys=False))
    assert main(["sweep", str(file)]) == 0
    assert capsys.readouterr().out == (
        f"{file}: every value of seed, learner.tau fits; W&B checks the rest and runs it: "
        f"`wandb sweep '{file}'`, then `wandb agent ID` with the id it prints\n"
    )


def test_a_bad_value_is_refused_with_the_file_and_the_key(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"parameters": {"learner.tau": {"value": 3.0}}}))
    assert main(["sweep", str(file)]) == 2
    err = capsys.readouterr().err
    assert str(file) in err and "learner.tau=3" in err and err.count("\n") == 1


def test_a_file_is_needed(capsys):
    assert main(["sweep"]) == 2 and main(["sweep", "nowhere"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mbrl: sweep: ") and "nowhere" in second

"""Logger: the record on disk, and the views of it."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole

from mbrl.errors import BadInput
from mbrl.training import logger as module
from mbrl.training.logger import Console, JsonLines, Logger, TensorBoardSink, make_logger
from mbrl.training.wandb_sink import WandbSink, wandb_mode

CONFIG = {
    "logger": {"tensorboard": False, "wandb": False, "project": "tests"},
    "choices": {"env": "toy", "agent": "mbpo"},
    "seed": 3,
}


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_on_disk_at_once(tmp_path):
    record = JsonLines(tmp_path / "new" / "metrics.jsonl")
    record.log({"train/loss": 0.5}, 10)
    assert rows(tmp_path / "new" / "metrics.jsonl") == [{"step": 10, "train/loss": 0.5}]


def test_what_is_not_finite_is_null(tmp_path):
    record = JsonLines(tmp_path / "m")
    record.log({"a": math.nan, "b": math.inf, "c": 1}, 1)
    assert rows(tmp_path / "m") == [{"step": 1, "a": None, "b": None, "c": 1}]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.data())
def test_cutting_back_and_going_on_equals_never_having_left(tmp_path_factory, values, data):
    folder = tmp_path_factory.mktemp("m")
    whole, cut = JsonLines(folder / "whole"), JsonLines(folder / "cut")
    keep = data.draw(st.integers(0, len(values)))
    position = 0
    for i, value in enumerate(values):
        position = cut.position() if i == keep else position
        whole.log({"x": value}, i)
        cut.log({"x": value}, i)
    position = cut.position() if keep == len(values) else position
    cut.close()

    resumed = Logger([JsonLines(folder / "cut")])  # a new process appends to what is there
    resumed.rewind(position)
    for i in range(keep, len(values)):
        resumed.log({"x": values[i]}, i)
    assert resumed.position() == whole.position()
    resumed.close()
    assert (folder / "cut").read_bytes() == (folder / "whole").read_bytes()


def test_a_torn_last_line_is_cut_off(tmp_path):
    record = JsonLines(tmp_path / "m")
    record.log({"x": 1}, 1)
    position = record.position()
    record.close()
    with (tmp_path / "m").open("ab") as file:
        file.write(b'{"step": 2, "x"')
    logger = Logger([JsonLines(tmp_path / "m")])
    logger.rewind(position)
    logger.log({"x": 3}, 3)
    assert [row["step"] for row in rows(tmp_path / "m")] == [1, 3]


def plain_console(clock) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(1000, console=RichConsole(file=out, width=80), clock=clock), out


def test_lines_off_a_terminal_are_throttled_but_never_an_evaluation():
    now = [0.0]
    console, out = plain_console(lambda: now[0])
    for second, metrics in [
        (0.0, {"train/loss": 1.0}),
        (0.5, {"train/loss": 2.0}),
        (0.6, {"eval/mean_reward": -12.5, "train/loss": 3.0}),
        (0.9, {"train/loss": 4.0}),
        (1.7, {"train/loss": 5.0}),
    ]:
        now[0] = second
        console.log(metrics, int(100 + 1000 * second / 2))
    console.close()
    lines = out.getvalue().splitlines()
    assert [line.split("train/loss ")[1] for line in lines] == ["1", "3", "5"]
    assert lines[0].startswith("step 100/1000") and "left" not in lines[0]
    assert "eval/mean_reward -12.5" in lines[1] and "\x1b" not in out.getvalue()
    assert "left 0:00:00" in lines[2]  # 50 steps left at 500 a second


def test_the_time_left_is_told_from_the_speed_so_far():
    now = [0.0]
    console, out = plain_console(lambda: now[0])
    console.log({}, 0)
    now[0] = 3670.0
    console.log({}, 500)
    assert "left 1:01:10" in out.getvalue()


def test_a_terminal_gets_a_bar_and_a_table():
    out = io.StringIO()
    terminal = RichConsole(file=out, force_terminal=True, width=80, height=30)
    console = Console(1000, console=terminal)
    console.log({"train/loss": 1.5}, 100)
    console.log({"eval/mean_reward": -7.25}, 400)
    console.close()
    last = out.getvalue()[out.getvalue().rindex("eval/mean_reward") :]
    assert "400/1000" in last and "━" in last and "\x1b[" in last
    assert "eval/mean_reward" in last and "-7.25" in last and "1.5" in last


def test_the_logger_hands_rows_to_every_sink_and_closes_them(tmp_path):
    class Memory:
        def __init__(self):
            self.seen: list = []

        def log(self, metrics, step):
            self.seen.append((step, metrics))

        def close(self):
            self.seen.append("closed")

    memory = Memory()
    logger = Logger([memory, JsonLines(tmp_path / "m")])
    logger.log({"x": 1.0}, 5)
    logger.close()
    assert memory.seen == [(5, {"x": 1.0}), "closed"]
    assert rows(tmp_path / "m") == [{"step": 5, "x": 1.0}]


def test_the_record_is_always_on(tmp_path, capsys):
    logger = make_logger(tmp_path, CONFIG, 100)
    logger.log({"eval/mean_reward": 1.0}, 100)
    logger.close()
    assert rows(tmp_path / "metrics.jsonl") == [{"step": 100, "eval/mean_reward": 1.0}]
    assert "eval/mean_reward 1" in capsys.readouterr().out


def test_importing_it_imports_no_view():
    code = (
        "import sys, mbrl.logger; assert not {'torch', 'wandb', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_in_one_line(tmp_path, monkeypatch, package):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, package, raising=False)
    config = {**CONFIG, "logger": {**CONFIG["logger"], package: True}}
    with pytest.raises(BadInput, match=rf"pip install 'dynaplan\[{package}\]'"):
        make_logger(tmp_path, config, 100)


def test_tensorboard_reads_back_what_was_written_and_hides_what_a_resume_repeats(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoardSink(tmp_path)
    for step in (100, 200, 300):
        first.log({"eval/mean_reward": float(step)}, step)
    first.close()
    second = TensorBoardSink(tmp_path)
    second.log({"eval/mean_reward": -1.0}, 200)
    second.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    scalars = [(event.step, event.value) for event in read.Scalars("eval/mean_reward")]
    assert scalars == [(100, 100.0), (200, -1.0)]


@pytest.fixture
def no_wandb_settings(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


def test_wandb_goes_online_with_a_key_unless_its_mode_says_otherwise(no_wandb_settings):
    env = no_wandb_settings
    assert wandb_mode() == "offline"
    env.setenv("WANDB_API_KEY", "k" * 40)
    assert wandb_mode() == "online"
    env.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_an_offline_wandb_run_is_read_back_and_gone_on_with(no_wandb_settings, tmp_path):
    for step, reward in ((100, -5.0), (200, -2.5)):
        sink = WandbSink(tmp_path, CONFIG)
        sink.log({"eval/mean_reward": reward}, step)
        sink.close()
    identity = (tmp_path / "wandb_id").read_text()
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert files and all(file.stem == f"run-{identity}" for file in files)
    wandb = Path(sys.executable).parent / "wandb"
    command = [str(wandb), "leet", "inspect", "--summary", "--json", str(files[-1])]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(shown)
    assert "eval/mean_reward" in shown and "-2.5" in shown and identity in shown

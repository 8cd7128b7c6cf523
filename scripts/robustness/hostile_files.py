"""Open hostile run folders and datasets; each should be refused in one line and obeyed in nothing.

python -m scripts.robustness.hostile_files [--out results/robustness/hostile_files.csv]

Every case is harmless: a module that leaves a marker stands for code, a file with a known word for
a secret. It is opened in a forked process with limits of time and memory. Counted are: code that
ran, files outside that were opened or changed, hangs, and answers that are not one line with exit
status 2.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import yaml

from mbrl.api import GymAgent
from mbrl.cli import main as mbrl
from mbrl.data import load_dataset
from mbrl.errors import BadInput
from mbrl.manifest import seal, unseal
from mbrl.training.run_folder import RunFolder

SECONDS, MEMORY = 60, 12 * 2**30
COMMANDS = (
    "eval run",
    "report run",
    "equations run",
    "distill run --out new",
    "collect run --steps 9 --id x-v0",
    "train --resume run",
)
TARGETS = (
    "beside.Part",
    "os.system",
    "builtins.exec",
    "subprocess.run",
    "mbrl.api.GymAgent",
    "mbrl.config.build.importlib.import_module",
    "mbrl.training.logger.JsonLines",
    "mbrl.training.run_folder.shutil.rmtree",
    "mbrl.envs.make_vec",
    "mbrl.cli.main",
    "mbrl./etc/x.Y",
    "mbrl.load",
    "mbrl.envs.torch.load",
    "beside.Part.x",
    "mbrl.data.load_dataset",
    "runpy.run_path",
    "mbrl.agents.Dyna.__init__",
    "mbrl.dynamics.sindy.kernel.Kernel",
)
NAMES = (
    "config.yaml",
    "versions.json",
    "metrics.jsonl",
    "summary.json",
    "report.html",
    "error.log",
    "wandb_id",
    "checkpoints",
    ".lock",
    "tensorboard",
    "checkpoints/LAST",
    "notes.txt",
    "checkpoints/LAST/agent.json",
    "checkpoints/LAST/manifest.json",
)
Case = tuple[str, Callable[[Path], object]]


def edit(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Return a spoiler that changes config.yaml."""

    def spoil(home: Path) -> None:
        file = home / "run/config.yaml"
        config = yaml.safe_load(file.read_text())
        change(config)
        file.write_text(yaml.safe_dump(config))

    return spoil


def hostile_targets() -> Iterator[Case]:
    for target in TARGETS:
        node = {"_target_": target}
        places = {
            "agent": lambda c, n=node: c.update(agent=n),
            "unused planner": lambda c, n=node: c.update(planner=n),
            "nested": lambda c, n=node: c["agent"].update(x={"y": [n]}),
            "env kwargs": lambda c, n=node: c["env"].update(kwargs={"deep": n}),
        }
        for place, change in places.items():
            yield f"target {target} in {place}", edit(change)
    for settings in (
        {"id": "beside:X-v0"},
        {"id": ":x"},
        {"kwargs": {"xml_file": "a.xml"}},
        {"kwargs": {"a": "/etc/hosts"}},
        {"kwargs": {"a": "../x"}},
        {"kwargs": {"a/b": 1}},
        {"kwargs": {"a": "b:c"}},
    ):
        yield f"env {settings}", edit(lambda c, s=settings: c["env"].update(s))


def place(home: Path, name: str, make: Callable[[Path], object]) -> None:
    last = sorted((home / "run/checkpoints").iterdir())[-1].name
    path = home / "run" / name.replace("LAST", last)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path)


def hostile_entries() -> Iterator[Case]:
    kinds = {
        "link": lambda path: path.symlink_to(path.anchor and OUTSIDE / "secret"),
        "link to a folder": lambda path: path.symlink_to(OUTSIDE),
        "dangling link": lambda path: path.symlink_to(OUTSIDE / "nothing"),
        "pipe": os.mkfifo,
    }
    for name in NAMES:
        for kind, make in kinds.items():
            yield f"{kind} {name}", lambda home, n=name, m=make: place(home, n, m)


def hostile_texts() -> Iterator[Case]:
    bomb = "a0: &a0 [x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    configs = {
        "aliases": bomb,
        "deep": "[" * 30_000,
        "self": "&a [*a]",
        "large": "#" * 10**7,
        "python": "!!python/object/apply:os.system [x]",
        "list": "- 1",
        "key": "1: a",
        "date": "a: 2020-01-01",
        "number": "a: " + "9" * 5000,
        "bytes": "a: !!binary aGk=",
        "key twice": "seed: 0\nseed: 1",
        "two documents": "a: 1\n---\nb: 2",
        "object": "!!python/object/new:os.system [x]",
        "null byte": 'a: "b\\0c"\nd: \x00',
        "set": "a: !!set {b}",
        "key of numbers": "? [1]\n: a",
    }
    for name, text in configs.items():
        yield f"config.yaml {name}", lambda h, t=text: (h / "run/config.yaml").write_text(t)
    for name in ("../secret.json", str(OUTSIDE / "secret"), "a/b.json", "agent.pkl"):
        yield f"manifest {name}", lambda h, n=name: forge(h, n)
    yield "swapped checkpoint", lambda h: edit(lambda c: c.update(seed=5))(h)


def sealed(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Return a spoiler that changes config.yaml, and seals it as a stranger may."""

    def spoil(home: Path) -> None:
        edit(change)(home)
        RunFolder(home / "run", {}).seal_config()

    return spoil


def hostile_sizes() -> Iterator[Case]:
    for key in ("eval_episodes", "total_steps", "buffer_size", "num_threads"):
        for value in (10**9, 10**18, -1, 1.5, "x", [1], {"a": 1}, None):
            if (key, value) != ("total_steps", None):
                yield f"sealed {key}={value}", sealed(lambda c, k=key, v=value: c.update({k: v}))
    for name, value in (("num_envs", 10**6), ("max_torque", 1e300), ("sparse", 3), ("x", 1)):
        yield f"sealed env.{name}", sealed(lambda c, n=name, v=value: c["env"].update({n: v}))
    yield "sealed label", sealed(lambda c: c["agent"].update(_args_=["x"]))
    yield "sealed choice", sealed(lambda c: c["choices"].update(agent=[3]))
    yield "sealed device", sealed(lambda c: c.update(device="cuda:" + "9" * 30))
    yield "sealed interpolation", sealed(lambda c: c.update(device="${oc.env:HOME}"))
    yield "sealed logger", sealed(lambda c: c.update(logger="${now:}"))


def restated(part: str, change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Return a spoiler that changes the JSON of a part of every checkpoint, and seals it."""

    def spoil(home: Path) -> None:
        for folder in (home / "run/checkpoints").iterdir():
            file = folder / f"{part}.json"
            tree = json.loads(file.read_text())
            tree = change(tree["dict"]) or tree
            file.write_text(json.dumps(tree))
            digests = unseal(folder / "manifest.json")
            digests[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
            (folder / "manifest.json").write_bytes(seal(digests))

    return spoil


def hostile_states() -> Iterator[Case]:
    for value in (-1, 10**30, "x", None, 1.5, [1], True):
        node = {"value": value} if not isinstance(value, list) else {"list": [{"value": 1}]}
        yield f"log_position {value}", restated("loop", lambda t, n=node: t.update(log_position=n))
        yield (
            f"counted step {value}",
            restated("loop", lambda t, n=node: t["progress"]["dict"].update(step=n)),
        )
    for part in ("loop", "env", "buffer"):
        yield f"empty {part}", restated(part, lambda t: {"dict": {}})
        yield f"list for {part}", restated(part, lambda t: {"list": []})
        yield f"odd node in {part}", restated(part, lambda t: {"tensor": "nothing"})


def forge(home: Path, name: str) -> None:
    """Write a manifest that names another file, sealed with the config."""
    own = hashlib.sha256((home / "run/config.yaml").read_bytes()).hexdigest()
    for file in (home / "run/checkpoints").glob("*/manifest.json"):
        file.write_bytes(seal({name: "0" * 64, "config.yaml": own}))


def run_cases() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    cases = [*hostile_targets(), *hostile_entries(), *hostile_texts()]
    yield from ((name, COMMANDS[i % len(COMMANDS)], s) for i, (name, s) in enumerate(cases))
    yield from (
        (name, COMMANDS[i % len(COMMANDS)], s) for i, (name, s) in enumerate(hostile_sizes())
    )
    yield from ((name, "train --resume run total_steps=40", s) for name, s in hostile_states())
    for changes in (
        {"step": "<script>"},
        {"step": -1},
        {"evaluations": {}},
        {"evaluations": [3]},
        {"evaluations": [{"step": 1, "rewards": ["<b>"]}]},
        {"time/cpu_seconds": "x"},
    ):
        yield f"summary.json {changes}", "report run", lambda h, c=changes: change_json(h, c)


def change_json(home: Path, changes: dict) -> None:
    file = home / "run/summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


ARRAYS = {"observations": 2, "next_observations": 2, "actions": 1, "rewards": 0, "terminals": 0}
NEORL = {"obs": 2, "next_obs": 2, "action": 1, "reward": 0, "done": 0, "index": 0}


def spoil_hdf5(home: Path, name: str, kind: str) -> None:
    with h5py.File(home / "data.hdf5", "w") as file:
        for each, width in ARRAYS.items():
            if each != name:
                file[each] = np.zeros((9, width) if width else 9)
        shape = (9, ARRAYS[name]) if ARRAYS[name] else (9,)
        if kind == "external":
            file.create_dataset(name, shape, "u1", external=[(str(OUTSIDE / "secret"), 0, 99)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f8")
            layout[:] = h5py.VirtualSource(OUTSIDE / "other.h5", "x", shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "external link":
            file[name] = h5py.ExternalLink(str(OUTSIDE / "other.h5"), "x")
        elif kind == "soft link":
            file[name] = h5py.SoftLink("/away")
        elif kind == "huge":
            file.create_dataset(name, (10**13,), "f4", chunks=(1000,))
        else:
            file[name] = np.array(["<script>"] * 9, dtype=h5py.string_dtype())


def spoil_npz(home: Path, name: str, kind: str) -> None:
    with zipfile.ZipFile(home / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for each, width in NEORL.items():
            content = io.BytesIO()
            array = np.zeros((9, width) if width else 9)
            np.save(content, np.array([{}] * 9) if (each, kind) == (name, "pickle") else array)
            data = content.getvalue()
            if (each, kind) == (name, "bomb"):
                data += bytes(200_000_000)
            if (each, kind) == (name, "header"):
                data = data.replace(b"(9", b"(9000000000000000").replace(b" " * 15 + b"\n", b"\n")
            archive.writestr(f"{each}.npy", data[:60] if (each, kind) == (name, "cut") else data)


def data_cases() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    for kind in ("external", "virtual", "external link", "soft link", "huge", "text"):
        for name in ARRAYS:
            yield f"hdf5 {kind} {name}", "data.hdf5", lambda h, n=name, k=kind: spoil_hdf5(h, n, k)
    for kind in ("pickle", "bomb", "header", "cut"):
        for name in NEORL:
            yield f"npz {kind} {name}", "data.npz", lambda h, n=name, k=kind: spoil_npz(h, n, k)
    for name in ("data.hdf5", "data.h5", "data.npz"):
        for kind, make in (
            ("link", lambda p: p.symlink_to(OUTSIDE / "other.h5")),
            ("dangling", lambda p: p.symlink_to(OUTSIDE / "none")),
            ("pipe", os.mkfifo),
            ("folder", Path.mkdir),
            ("empty", Path.touch),
        ):
            yield f"{kind} {name}", name, lambda h, n=name, m=make: m(h / n)
        for size in (1, 8, 100, 1000):
            yield (
                f"{size} bytes {name}",
                name,
                lambda h, n=name, s=size: (h / n).write_bytes(
                    (b"\x89HDF\r\n\x1a\n" if "h5" in n or "hdf5" in n else b"PK\x03\x04") + bytes(s)
                ),
            )


OUTSIDE = Path(tempfile.gettempdir())  # set by main


def opened(work: Callable[[], int], home: Path) -> list[object]:
    """Run work in a forked process; return status, lines, what it opened outside, and hangs."""
    out = home / "said"
    began, child = time.monotonic(), os.fork()
    if child == 0:
        os.chdir(home)
        with out.open("w") as file:
            os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        seen = (home / "outside").open("w")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

        def watch(event: str, arguments: tuple) -> None:
            if event == "open" and str(arguments[0]).startswith(str(OUTSIDE)):
                print(arguments[0], file=seen, flush=True)

        sys.addaudithook(watch)
        try:
            status = work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            status = 99
        sys.stderr.flush()
        os._exit(status)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - began > SECONDS:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return ["hung", 0, 0, 1, ""]
        time.sleep(0.01)
    said = out.read_text().splitlines()
    outside = len((home / "outside").read_text().splitlines())
    return [os.waitstatus_to_exitcode(ended[1]), len(said), outside, 0, " ".join(said)]


def load(name: str) -> int:
    """Load a dataset as the commands do; return the exit status."""
    try:
        load_dataset(name)
        return 0
    except BadInput as error:
        print(f"mbrl: {error}", file=sys.stderr)
        return 2


def main() -> None:
    global OUTSIDE
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/hostile_files.csv"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        OUTSIDE = root / "elsewhere"
        OUTSIDE.mkdir()
        (OUTSIDE / "secret").write_text("canary" * 20)
        with h5py.File(OUTSIDE / "other.h5", "w") as file:
            file["x"] = np.ones(9)
        before = {file.name: file.read_bytes() for file in OUTSIDE.iterdir()}
        agent = GymAgent("random", env="pendulum").learn(20)
        agent.save(root / "good")
        summary = {"finished": True, "step": 20, "evaluations": []}
        times = {"time/cpu_seconds": 1.0, "time/wall_seconds": 1.0}
        RunFolder.open(root / "good").write_summary(summary | times)
        os.environ["MINARI_DATASETS_PATH"] = str(root / "minari")
        for kind, cases in (("run folder", run_cases()), ("dataset", data_cases())):
            for name, how, spoil in cases:
                home = root / f"case{len(rows)}"
                home.mkdir()
                if kind == "run folder":
                    shutil.copytree(root / "good", home / "run")
                    (home / "beside.py").write_text("open('ran', 'w').close()\nPart = print\n")
                spoil(home)
                work = (
                    (lambda h=how: mbrl(h.split()))
                    if kind == "run folder"
                    else (lambda h=how: load(h))
                )
                status, lines, outside, hung, said = opened(work, home)
                now = {file.name: file.read_bytes() for file in OUTSIDE.iterdir()}
                executed = int((home / "ran").exists())
                changed = int(now != before or "canary" in str(said))
                words = str(said).replace(str(root), "")[:160]
                rows.append(
                    [
                        kind,
                        name.replace(str(root), ""),
                        how,
                        status,
                        lines,
                        executed,
                        outside,
                        changed,
                        hung,
                        words,
                    ]
                )
                shutil.rmtree(home)
    with options.out.open("w", newline="") as file:
        file.write("# python -m scripts.robustness.hostile_files\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "kind",
                "case",
                "opened by",
                "status",
                "lines",
                "executed",
                "read outside",
                "changed outside",
                "hung",
                "answer",
            ]
        )
        writer.writerows(rows)
    wrong = [row for row in rows if row[3:9] != [2, 1, 0, 0, 0, 0]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} hostile files refused in one line")
    for row in wrong:
        print(*row)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()

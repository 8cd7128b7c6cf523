"""What `mbrl doctor` says of a machine: what works, and what mends what does not."""

import os
import subprocess
import sys
import types
from importlib import metadata

import pytest
import torch

from mbrl.cli import machine


@pytest.fixture
def gpus(monkeypatch):
    """Set what torch, the driver and Warp say of GPUs."""

    def set_gpus(count: int, driver: bool = True, cuda: str | None = "12.8", **warp) -> None:
        properties = types.SimpleNamespace(name="NVIDIA Toy", total_memory=80 * 2**30)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(machine, "has_driver", lambda: driver)
        monkeypatch.setattr(machine, "_driver", lambda: ["driver 550.54.15"] if driver else [])
        own = types.ModuleType("warp")
        own.init = lambda: None  # type: ignore[attr-defined]
        own.get_cuda_device_count = lambda: warp.get("warp_gpus", count)  # type: ignore[attr-defined]
        own.is_conditional_graph_supported = lambda: warp.get("graphs", True)  # type: ignore[attr-defined]
        own.config = types.SimpleNamespace(kernel_cache_dir="/cache")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "warp", own)

    return set_gpus


def test_gpus_are_named_with_their_memory_and_driver(gpus):
    gpus(2)
    card = "(NVIDIA Toy, 80 GiB)"
    assert machine.devices() == f"cpu, cuda:0 {card}, cuda:1 {card}, driver 550.54.15"
    assert machine.warp() == "works on the GPU; its kernels are kept in /cache"


def test_each_reason_for_no_gpu_has_its_mend(gpus):
    gpus(0, driver=False)
    assert "no NVIDIA driver (libcuda.so.1); install one" in machine.devices()
    assert "for checks: on a GPU it needs an NVIDIA driver" in machine.warp()
    gpus(0, cuda=None)
    assert "is built without CUDA; take one from https://pytorch.org" in machine.devices()
    assert "it finds no GPU; Warp's wheel needs NVIDIA's driver 580 or newer" in machine.warp()
    gpus(0)
    right = "for CUDA 12.8 finds none; update the driver (driver 550.54.15), or look at CUDA_VISIBL"
    assert right in machine.devices()
    gpus(1, graphs=False)
    assert "slowly: the driver is older than CUDA 12.4; update it" in machine.warp()


def test_the_driver_s_version_is_read(monkeypatch, tmp_path):
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n")
    monkeypatch.setattr(machine, "_DRIVER", file)
    assert machine._driver() == ["driver 550.54.15"]
    for text in ("", "NVRM version: unknown\n"):
        file.write_text(text)
        assert machine._driver() == []


@pytest.mark.parametrize(
    ("versions", "right"),
    [
        ({"mujoco-warp": None}, "mujoco-warp is not installed; pip install 'dynaplan[gpu]'"),
        ({"warp-lang": None}, "warp-lang is not installed; pip install 'dynaplan[gpu]'"),
        ({"mujoco": "3.18.1"}, "is not made for mujoco 3.18.1; pip install 'mujoco-warp==3.18.*'"),
    ],
)
def test_packages_of_warp_that_are_missing_or_do_not_go_together(monkeypatch, versions, right):
    real = metadata.version

    def version(name: str) -> str:
        answer = versions.get(name, real(name) if name != "warp-lang" else "1.19.0")
        if answer is None:
            raise metadata.PackageNotFoundError(name)
        return answer

    monkeypatch.setattr(metadata, "version", version)
    assert machine.warp().endswith(right)


@pytest.mark.parametrize(("works", "other"), [(True, False), (False, False), (False, True)])
def test_rendering_is_tried(monkeypatch, works, other):
    class Context:
        def __init__(self, width, height):
            if not works:
                raise RuntimeError("no\n display")

        def make_current(self):
            pass

        free = make_current

    def run(arguments, env, **options):
        assert env["MUJOCO_GL"] == "egl" and "GLContext" in arguments[-1]
        return subprocess.CompletedProcess(arguments, 0 if other else 1)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setitem(sys.modules, "mujoco", types.ModuleType("mujoco"))
    sys.modules["mujoco"].GLContext = Context  # type: ignore[attr-defined]
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    advice = "osmesa does not work (no display)"
    if other:
        advice += ", egl does; set MUJOCO_GL=egl"
    else:
        advice += "; install libegl1 and set MUJOCO_GL=egl, or libosmesa6 and set MUJOCO_GL=osmesa"
    assert machine.rendering() == ("osmesa works" if works else advice)


def test_threads_are_compared_and_what_is_in_their_way_is_named(monkeypatch):
    for cores, seconds, right in (
        (1, {}, "1 core: env.num_threads=1"),
        (
            4,
            {1: 4.0, 4: 1.1},
            "4 threads step 256 environments 3.6 times as fast as one; env.num_t",
        ),
        (4, {1: 4.0, 4: 3.9}, "1.0 times as fast as one; other programs use the cores, or the con"),
        (99, {1: 4.0, 16: 1.0}, "99 cores: 16 threads step 256 environments 4.0 times"),
    ):
        monkeypatch.setattr(machine, "num_cores", lambda cores=cores: cores)
        monkeypatch.setattr(machine, "_seconds", seconds.__getitem__)
        assert right in machine.threads()

    def missing(num_threads: int) -> float:
        raise ImportError("No module named 'mujoco.batch'")

    monkeypatch.setattr(machine, "_seconds", missing)
    assert machine.threads().endswith("pip install 'mujoco>=3.17,!=4.0.0'")


def test_the_real_measurement_gives_a_time():
    assert 0 < machine._seconds(1) < 60
    assert 1 <= machine.num_cores() <= (os.cpu_count() or 1)

"""The wheel and the sdist: built, installed, and run outside the checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(*command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env={**clean, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


def test_both_hold_the_configs_assets_and_type_marker_and_no_doors(dist):
    wheel = zipfile.ZipFile(next(dist.glob("*.whl"))).namelist()
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        sdist = [name.partition("/")[2] for name in archive.getnames()]
    for names in (wheel, sdist):
        data = [f for kind in ("yaml", "xml") for f in (ROOT / "mbrl").rglob(f"*.{kind}")]
        needed = {str(file.relative_to(ROOT)) for file in data}
        assert {"mbrl/configs/train.yaml", "mbrl/configs/sweep/mbpo_pendulum.yaml"} <= needed
        assert needed | {"mbrl/py.typed"} <= set(names)
        assert not [n for n in names if n.split("/")[0] in ("envs", "planners", "configs")]
    assert not [n for n in wheel if n.split("/")[0] not in ("mbrl",) and ".dist-info" not in n]


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_installs_and_trains_outside_the_checkout(dist, kind, tmp_path):
    """The dependencies come from this environment, the package from the archive alone."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", code, cwd=tmp_path).strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not (site / entry.name).exists() and "dynaplan" not in entry.name:
            (site / entry.name).symlink_to(entry)
    run(
        *(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
        next(dist.glob(kind)),
        cwd=tmp_path,
    )
    where = run(python, "-c", "import mbrl; print(mbrl.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(site)
    (tmp_path / "envs").mkdir()  # a user's own folder of that name shadows nothing
    command = tmp_path / "venv" / "bin" / "mbrl"
    arguments = "agent=random env=cartpole_swingup total_steps=20 eval_episodes=1 run_dir=out"
    run(command, "train", *arguments.split(), cwd=tmp_path, OMP_NUM_THREADS="1")
    assert (tmp_path / "out" / "summary.json").is_file()

"""Containers of a stranger: what lies outside, declares too much or is no numbers is refused."""

import io
import json
import os
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import dataset

from mbrl.data import load_dataset, save_dataset
from mbrl.data.containers import check_hdf5, read_npz
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Transitions

ROWS = 40


def fill(file, without=()):
    arrays = {
        "observations": np.arange(ROWS * 2.0).reshape(ROWS, 2),
        "next_observations": np.arange(ROWS * 2.0).reshape(ROWS, 2) + 2,
        "actions": np.zeros((ROWS, 1)),
        "rewards": np.ones(ROWS),
        "terminals": np.zeros(ROWS, bool),
    }
    for name in arrays.keys() - set(without):
        file[name] = arrays[name]


def external(file, folder):
    (folder / "secret.raw").write_bytes(b"\x01" * 8 * ROWS)
    file.create_dataset(
        "rewards", (ROWS,), "f8", external=[(str(folder / "secret.raw"), 0, 8 * ROWS)]
    )


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones(ROWS)
    layout = h5py.VirtualLayout((ROWS,), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (ROWS,))
    file.create_virtual_dataset("rewards", layout)


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones(ROWS)
    file["rewards"] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def soft_link(file, folder):
    file["away"] = np.ones(ROWS)
    file["rewards"] = h5py.SoftLink("/away")


def huge(file, folder):
    file.create_dataset("rewards", (10**13,), "f4", chunks=(1000,))


def text(file, folder):
    file["rewards"] = np.array(["<script>"] * ROWS, dtype=h5py.string_dtype())


def references(file, folder):
    made = file.create_dataset("rewards", (ROWS,), h5py.ref_dtype)
    made[0] = file.ref


CASES = {
    external: "stored outside of the file",
    virtual: "stored outside of the file",
    external_link: "is a link",
    soft_link: "is a link",
    huge: "declares more numbers than such a file can hold",
    text: "holds object, not numbers",
    references: "holds object, not numbers",
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_hdf5_that_reaches_outside_or_declares_too_much_is_refused(tmp_path, spoil):
    file = tmp_path / "data.hdf5"
    with h5py.File(file, "w") as content:
        fill(content, without=("rewards",))
        spoil(content, tmp_path)
    with pytest.raises(BadInput, match=f"rewards .*{CASES[spoil]}"):
        load_dataset(str(file))


def test_a_loop_of_hard_links_has_an_end_and_good_files_are_read(tmp_path):
    file = tmp_path / "data.hdf5"
    with h5py.File(file, "w") as content:
        fill(content)
        inner = content.create_group("metadata")
        inner["again"] = content["/"]
        content.create_dataset("zipped", data=np.zeros(100_000), compression="gzip", shuffle=True)
        content["metadata/algorithm"] = "text"
    check_hdf5(file)
    assert len(load_dataset(str(file)).data.reward) == ROWS


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npz_members_that_are_pickled_doubled_or_bombs_are_refused(tmp_path):
    def refused(words):
        with pytest.raises(BadInput, match=words):
            read_npz(tmp_path / "x.npz", ("obs",))

    good = np.ones((4, 2))
    assert read_npz(npz(tmp_path / "x.npz", obs=good), ("obs", "none")).keys() == {"obs"}
    npz(tmp_path / "x.npz", obs=np.array([{"a": 1}], dtype=object))
    refused("obs holds object, not numbers")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        content = io.BytesIO()
        np.save(content, good)
        archive.writestr("obs.npy", content.getvalue() + bytes(300_000_000))
    refused("declares more numbers than such a file can hold")
    head = content.getvalue().replace(b"(4, 2), }  ", b"(4, 2" + b"0" * 3 + b"), }")[:128]
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("obs.npy", head + bytes(64))
    refused("declares more numbers than the file holds")
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "x.npz", "w") as archive,
    ):
        archive.writestr("obs.npy", content.getvalue())
        archive.writestr("obs.npy", content.getvalue())
    refused("obs is there twice")


@pytest.mark.parametrize("name", ["data.hdf5", "data.npz"])
def test_datasets_that_are_links_or_pipes_are_refused(tmp_path, name):
    (tmp_path / "real").touch()
    (tmp_path / name).symlink_to(tmp_path / "real")
    with pytest.raises(BadInput, match=f"{name}: a symbolic link"):
        load_dataset(str(tmp_path / name))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInput, match=f"{name}: a named pipe"):
        load_dataset(str(tmp_path / name))
    (tmp_path / name).unlink()
    with h5py.File(tmp_path / name, "w") as content:
        fill(content)
    (tmp_path / f"{name}.sha256").symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="sha256: a symbolic link"):
        load_dataset(str(tmp_path / name))


@pytest.fixture
def minari(tmp_path, monkeypatch):
    """Return the folder of a small Minari dataset without checksums."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    import torch

    obs = torch.arange(12.0).view(6, 2)
    flags = torch.zeros(5, dtype=torch.bool)
    last = torch.arange(5) == 4
    data = Transitions(
        obs[:-1], torch.zeros(5, 1), torch.ones(5), obs[1:], flags, last, torch.zeros(5).long()
    )
    save_dataset("toy/x-v0", data, ActionSpec.box([-1.0], [1.0]), env="toy", algorithm="none")
    folder = tmp_path / "root/toy/x-v0"
    (folder / "manifest.json").unlink()
    return folder


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"action_space": None, "env_spec": '{"id": "beside:X-v0"}'}, "has no action_space"),
        ({"observation_space": 3}, "has no observation_space"),
        ({"action_space": '{"type": "Discrete", "n": 1000000000, "start": 0}'}, "should have at"),
        ({"observation_space": '{"type": "Box", "shape": [1000000, 1000000]}'}, "at most"),
        ({"observation_space": '{"type": "Box", "shape": 3}'}, "should have at most"),
        (
            {
                "observation_space": '{"type": "Dict", "subspaces": {"a": {"type": "Box", "shape": '
                '[1000000000000], "low": -1, "high": 1}}}'
            },
            "is a Dict; only Box can be learned",
        ),
        ({"action_space": '{"type": "MultiBinary", "n": 1000000000000}'}, "only Box or Discrete"),
        ({"total_episodes": 10**12}, "total_episodes=1000000000000: should be at most"),
        ({"total_episodes": "many"}, "total_episodes=many"),
        ({"observation_space": "[" * 50_000}, "nested too deeply"),
        ({"ref_min_score": "<b>", "ref_max_score": 1}, "should be numbers"),
    ],
)
def test_minari_metadata_that_makes_environments_or_takes_memory_is_refused(minari, changes, words):
    file = minari / "data/metadata.json"
    metadata = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))
    with pytest.raises(BadInput, match=words):
        load_dataset("toy/x-v0")


def test_minari_files_outside_of_the_dataset_are_not_read(minari, tmp_path):
    main = minari / "data/main_data.hdf5"
    main.rename(tmp_path / "away.hdf5")
    main.symlink_to(tmp_path / "away.hdf5")
    with pytest.raises(BadInput, match="main_data.hdf5: a symbolic link"):
        load_dataset("toy/x-v0")
    main.unlink()
    with h5py.File(main, "w") as content:
        content["episode_0"] = h5py.ExternalLink(str(tmp_path / "away.hdf5"), "/episode_0")
    with pytest.raises(BadInput, match="/episode_0 is a link"):
        load_dataset("toy/x-v0")


@pytest.fixture
def arrow(minari):
    """Return the folder of a dataset in Arrow's form, and a function that replaces a column."""
    data = minari / "data"
    (data / "main_data.hdf5").unlink()
    metadata = json.loads((data / "metadata.json").read_text())
    metadata.pop("content_sha256", None)
    (data / "metadata.json").write_text(json.dumps({**metadata, "data_format": "arrow"}))
    rows = 6
    columns = {
        "observations": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 2, "f4")), 2),
        "actions": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows, "f4")), 1),
        "rewards": pa.array(np.ones(rows)),
        "terminations": pa.array([False] * rows),
        "truncations": pa.array([False] * rows),
    }

    def write(**changed):
        made = {**columns, **changed}
        batch = pa.RecordBatch.from_arrays(list(made.values()), list(made))
        dataset.write_dataset(batch, data / "0", format="arrow", existing_data_behavior=
                              "overwrite_or_ignore")  # fmt: skip
        (data / "0/metadata.json").write_text('{"id": 0, "total_steps": 5}')

    return data, write


def test_an_arrow_dataset_of_minari_is_read(arrow):
    _, write = arrow
    write()
    assert len(load_dataset("toy/x-v0").data.reward) == 5


def test_arrow_columns_that_declare_too_much_or_hold_no_numbers_are_refused(arrow):
    _, write = arrow
    rows = 2**31 - 1
    for words, changed in (
        ("rewards holds null", {"rewards": pa.nulls(6)}),
        ("rewards holds dictionary", {"rewards": pa.array(["a"] * 6).dictionary_encode()}),
        ("infos holds null", {"infos": pa.StructArray.from_arrays([pa.nulls(6)], ["x"])}),
    ):
        write(**changed)
        with pytest.raises(BadInput, match=rf"part-0.arrow: {words}.*, not numbers"):
            load_dataset("toy/x-v0")
    names = ["observations", "actions", "rewards", "terminations", "truncations"]
    empty = pa.RecordBatch.from_arrays(
        [pa.StructArray.from_buffers(pa.struct([]), rows, [None])] * 5, names
    )
    with pa.ipc.new_file(str(arrow[0] / "0/part-0.arrow"), empty.schema) as writer:
        writer.write_batch(empty)
    with pytest.raises(BadInput, match="declares more numbers"):
        load_dataset("toy/x-v0")


def test_arrow_bombs_are_refused_before_they_are_unpacked(arrow):
    data, write = arrow
    write()
    table = pa.table({"rewards": pa.array(np.zeros(40_000_000))})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(data / "0/part-0.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(BadInput, match="part-0.arrow declares more numbers than such a file"):
        load_dataset("toy/x-v0")


def test_an_old_pyarrow_that_unpickles_is_refused(arrow, monkeypatch):
    arrow[1]()
    monkeypatch.setattr(pa, "__version__", "14.0.0")
    with pytest.raises(BadInput, match="pyarrow 14.0.0 may unpickle; pip install"):
        load_dataset("toy/x-v0")

"""LeRobot datasets of format v3, made here with pyarrow: names of components, episodes, hostile."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mbrl.data.logs import read_log, read_tables
from mbrl.errors import BadInput

TEMPLATE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
STATE = {"dtype": "float32", "shape": [2], "names": ["shoulder.pos", "elbow.pos"]}
FEATURES = {
    "observation.state": STATE,
    "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["shoulder", "elbow"]}},
    "observation.images.top": {"dtype": "video", "shape": [480, 640, 3], "names": ["h", "w", "c"]},
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
}


def write_file(folder, place, episodes):
    """A file of the data, with the numbers of its episodes, three rows each."""
    count = 3 * len(episodes)
    frames = np.tile(np.arange(3), len(episodes))
    state = np.stack([100.0 * np.repeat(episodes, 3) + frames, np.full(count, 7.0)], 1)
    lists = pa.list_(pa.float32(), 2)
    table = pa.table(
        {
            "observation.state": pa.array(state.tolist(), lists),
            "action": pa.array((state + 0.5).tolist(), lists),
            "timestamp": pa.array(frames / 30, pa.float32()),
            "frame_index": frames,
            "episode_index": np.repeat(episodes, 3),
            "index": np.arange(count),
            "task_index": np.zeros(count, np.int64),
        }
    )
    file = folder / TEMPLATE.format(chunk_index=0, file_index=place)
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)


def make(folder, **changes):
    info = {
        "codebase_version": "v3.0",
        "fps": 30,
        "data_path": TEMPLATE,
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": FEATURES,
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info | changes))
    for place, episodes in enumerate(([0, 1], [2])):
        write_file(folder, place, episodes)
    return folder


def refused(folder, words):
    with pytest.raises(BadInput) as error:
        read_tables([folder])
    message = str(error.value)
    assert message.startswith(str(folder)) and words in message and len(message.splitlines()) == 1


def test_a_dataset_becomes_episodes_with_its_own_names_and_times(tmp_path):
    log = read_log([make(tmp_path / "arm")], obs=["observation.state"], action=["action"])
    assert log.obs_names == ("observation.state.shoulder.pos", "observation.state.elbow.pos")
    assert log.action_names == ("action.shoulder", "action.elbow")
    assert [e.obs[:, 0].tolist() for e in log.episodes] == [
        [0, 1, 2],
        [100, 101, 102],
        [200, 201, 202],
    ]
    assert log.episodes[2].action[:, 0].tolist() == [200.5, 201.5]
    assert log.step == pytest.approx(1 / 30)
    assert log.episodes[2].source.endswith("file-001.parquet, rows 1-3")


def test_a_component_is_chosen_by_its_name(tmp_path):
    log = read_log(
        [make(tmp_path / "arm")], obs=["observation.state.elbow.pos"], action=["action.elbow"]
    )
    assert log.obs_names == ("observation.state.elbow.pos",)
    with pytest.raises(BadInput, match=r"obs: no column observation.state.elbo .*did you mean"):
        read_log([tmp_path / "arm"], obs=["observation.state.elbo"], action=["action"])


@pytest.mark.parametrize("names", [None, ["a", "a"], ["a"], ["a", "b", "c"], "ab", {"motors": 3}])
def test_names_that_are_none_doubled_or_too_few_become_places(tmp_path, names):
    features = FEATURES | {"observation.state": STATE | {"names": names}}
    (table, _) = read_tables([make(tmp_path / "arm", features=features)])
    assert table.names[:2] == ("observation.state[0]", "observation.state[1]")


def test_files_are_read_in_the_order_of_their_numbers(tmp_path):
    folder = make(tmp_path / "arm")
    write_file(folder, 1000, [4])
    write_file(folder, 999, [3])
    order = [t.values["episode_index"][0] for t in read_tables([folder])]
    assert order == [0, 2, 3, 4]


@pytest.mark.parametrize(
    "template",
    [
        "../data/file-{file_index:03d}.parquet",
        "/etc/{file_index:03d}.parquet",
        "data/../../x/{file_index}.parquet",
        "data/**/file.parquet",
        "data/{file_index.__class__}.parquet",
        "data\\{file_index}.parquet",
        "C:/{file_index}.parquet",
        "data/{file_index:0999999999d}.parquet",
        "data/file.mp4",
        3,
    ],
)
def test_a_template_that_leaves_the_folder_is_refused(tmp_path, template):
    refused(make(tmp_path / "arm", data_path=template), "should be like data/chunk-{chunk_index")


def test_links_are_refused(tmp_path):
    folder = make(tmp_path / "arm")
    file = folder / "data/chunk-000/file-001.parquet"
    os.replace(file, tmp_path / "outside.parquet")
    file.symlink_to(tmp_path / "outside.parquet")
    refused(folder, "a symbolic link; only files and folders are opened")


def test_other_versions_and_damaged_folders_are_refused(tmp_path):
    refused(make(tmp_path / "a", codebase_version="v2.1"), "codebase_version is v2.1; should be")
    refused(make(tmp_path / "b", features=[1]), "features should hold a dictionary")
    refused(make(tmp_path / "c", data_path="data/x-{file_index}.parquet"), "holds no data/x-*.par")
    folder = make(tmp_path / "d")
    (folder / "meta/info.json").write_text("[")
    refused(folder, "should be LeRobot's")
    (folder / "meta/info.json").write_text("[]")
    refused(folder, "should hold names with values")
    (folder / "meta/info.json").write_bytes(b" " * (17 * 2**20))
    refused(folder, "should be at most")

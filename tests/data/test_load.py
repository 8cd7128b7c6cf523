"""One loader for all datasets: chosen by the suffix of a file, else a name of Minari's."""

import numpy as np
import pytest

from mbrl.data import load_dataset
from mbrl.errors import BadInput
from tests.data.flat_files import LENGTHS, MADE, d4rl, neorl
from tests.data.samples import save

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


def test_the_suffix_chooses_the_reader(tmp_path):
    paths = [
        d4rl(tmp_path / "a.hdf5", MADE),
        d4rl(tmp_path / "b.H5", MADE),
        neorl(tmp_path / "c.npz", MADE, LENGTHS),
    ]
    for path in paths:
        read = load_dataset(path)
        assert read.id == path and read.data.obs.shape == (13, 3)
        np.testing.assert_array_equal(read.data.obs, MADE["obs"])
    save("toy/random-v0")
    assert load_dataset("toy/random-v0", obs_dim=2).id == "toy/random-v0"


def test_a_file_of_another_suffix_is_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1,2")
    with pytest.raises(BadInput, match=r"should end in .hdf5 \(D4RL\) or .npz"):
        load_dataset(str(path))


def test_a_dataset_is_named_by_text_or_a_path():
    for wrong in (None, 3, ["a-v0"]):
        with pytest.raises(BadInput, match="dataset: a .* should be a path or a name"):
            load_dataset(wrong)

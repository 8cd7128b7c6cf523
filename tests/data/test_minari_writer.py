"""Datasets appear whole: a full disk, an error or a kill leaves the name free."""

import pytest

from mbrl.data import load_dataset, new_dataset
from mbrl.errors import BadInput
from tests.data.samples import save, toy
from tests.robustness.test_full_disk import Disk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors
NAME = "a/b/toy-v0"


def names(home):
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


def test_a_name_is_taken_once_and_its_namespaces_are_minaris(home):
    save(NAME)
    with pytest.raises(BadInput, match=f"dataset {NAME}: already there; choose another name"):
        save(NAME)
    import minari
    from minari.namespace import list_local_namespaces

    assert list(minari.list_local_datasets()) == [NAME]
    assert set(list_local_namespaces()) == {"a", "a/b"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_name_free(home, error):
    with pytest.raises(error), new_dataset(NAME) as folder:
        (folder / "data").mkdir()
        raise error
    assert names(home) == []
    assert save(NAME).digest == load_dataset(NAME).digest


def test_what_a_killed_write_has_left_is_cleared(home):
    left = home / "a/b/.toy-v0.new/data"
    left.mkdir(parents=True)
    (left / "main_data.hdf5").write_text("half")
    with pytest.raises(BadInput, match="not in"):
        load_dataset("toy-v0")
    save(NAME)
    assert load_dataset(NAME).id == NAME and not left.exists()


def test_rows_that_do_not_follow_each_other_leave_the_name_free(home):
    data = toy()
    with pytest.raises(ValueError, match="episode 0: a step does not begin where"):
        save(NAME, data._replace(next_obs=data.next_obs + 1))
    assert names(home) == []


def test_whichever_write_fails_the_file_is_named_and_the_name_stays_free(home, monkeypatch):
    disk = Disk(monkeypatch)
    data = toy()
    save("counted-v0", data)
    number = disk.writes
    assert number >= 3
    for allowed in range(number):
        disk.left = allowed
        with pytest.raises(OSError, match="No space left") as caught:
            save("full-v0", data)
        assert "full-v0" in str(caught.value.filename)
        disk.left = None
        assert not [name for name in names(home) if "full" in name]
    assert save("full-v0", data).digest == load_dataset("counted-v0").digest

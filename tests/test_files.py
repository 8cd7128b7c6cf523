"""Files of a stranger: links and special files are refused by name, nothing hangs."""

import os
import socket
import tracemalloc

import pytest

from mbrl.errors import BadInput
from mbrl.files import (
    check_tree,
    is_regular,
    open_regular,
    open_to_append,
    read_regular,
    write_whole,
)


@pytest.fixture
def odd(tmp_path):
    """Return paths of everything that is no regular file."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    there = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)
    there.bind("socket")
    os.chdir(here)
    there.close()
    return {name: tmp_path / name for name in ("link", "dangling", "folder", "pipe", "socket")}


WORDS = {
    "link": "a symbolic link",
    "dangling": "a symbolic link",
    "folder": "a folder",
    "pipe": "a named pipe",
    "socket": "a socket",
}


def test_what_is_no_file_is_neither_read_nor_written(odd, tmp_path):
    for name, path in odd.items():
        assert not is_regular(path)
        for use in (
            open_regular,
            lambda file: read_regular(file, 100),
            open_to_append,
            lambda file: write_whole(file, b"x"),
        ):
            with pytest.raises(BadInput, match=f"{name}: {WORDS[name]}, not a file"):
                use(path)
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "nothing").exists()


def test_a_tree_with_a_link_or_a_special_file_is_refused_by_its_name(odd, tmp_path):
    for name, path in odd.items():
        tree = tmp_path / f"of {name}" / "deep"
        tree.mkdir(parents=True)
        path.rename(tree / name)
        if name == "folder":
            check_tree(tree.parent)
            continue
        with pytest.raises(BadInput, match=f"{name}: {WORDS[name]}; only files"):
            check_tree(tree.parent)
        check_tree(tree.parent, without=("deep",))


def test_names_that_are_one_name_on_some_disks_are_refused(tmp_path):
    (tmp_path / "Config.yaml").touch()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(BadInput, match="are one name on some disks"):
        check_tree(tmp_path)


def test_sizes_are_bounded_before_anything_is_read(tmp_path):
    file = tmp_path / "sparse"
    with file.open("wb") as opened:
        opened.truncate(2**40)  # no block of the disk
    with pytest.raises(BadInput, match=r"sparse: 1099511627776 bytes; should be at most 100$"):
        read_regular(file, 100)
    file.write_bytes(b"x" * 100)
    assert read_regular(file, 100) == b"x" * 100


def test_reading_takes_the_memory_of_the_file_and_not_of_its_limit(tmp_path):
    (tmp_path / "small").write_bytes(b"x")
    tracemalloc.start()
    assert read_regular(tmp_path / "small", 2**28) == b"x"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_second_name_of_a_file_is_not_appended_to(tmp_path):
    (tmp_path / "file").write_text("kept")
    os.link(tmp_path / "file", tmp_path / "metrics.jsonl")
    with pytest.raises(BadInput, match=r"metrics.jsonl: one of two names of a file"):
        open_to_append(tmp_path / "metrics.jsonl")
    write_whole(tmp_path / "metrics.jsonl", b"new")  # by rename: only this name changes
    assert (tmp_path / "file").read_text() == "kept"


def test_a_write_does_not_follow_a_link_under_its_temporary_name(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / ".file.tmp").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "target").read_text() == "kept" and not (tmp_path / ".file.tmp").exists()
    with open_to_append(tmp_path / "rows") as opened:
        opened.write(b"1\n")
    with open_to_append(tmp_path / "rows") as opened:
        opened.write(b"2\n")
    assert (tmp_path / "rows").read_text() == "1\n2\n"

"""Sealed lists of checksums: what is written is read, and any damage is found."""

import hashlib
import json

import pytest

from mbrl.errors import BadInput
from mbrl.manifest import seal, unseal

DIGESTS = {"weights.npz": "ab" * 32, "config.yaml": "01" * 32}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(seal(DIGESTS))
    return path


def test_a_manifest_comes_back_in_its_order(file):
    assert list(unseal(file, "copy it again").items()) == list(DIGESTS.items())


def test_the_last_entry_is_the_checksum_of_the_rest(file):
    written = json.loads(file.read_bytes())
    assert list(written) == [*DIGESTS, "manifest"]
    text = f'{{"weights.npz": "{"ab" * 32}", "config.yaml": "{"01" * 32}"}}'
    assert written["manifest"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_list_of_nothing_is_sealed_too(tmp_path):
    (tmp_path / "empty").write_bytes(seal({}))
    assert unseal(tmp_path / "empty", "") == {}


def test_flipped_bits_and_cuts_are_found(file):
    content = file.read_bytes()
    damaged = [content[:at] for at in range(0, len(content), 17)]
    for at in range(0, len(content), 3):
        damaged.append(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
    for changed in damaged:
        file.write_bytes(changed)
        with pytest.raises(BadInput, match=r"manifest.json: damaged; copy it again$"):
            unseal(file, "copy it again")


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"a": "b"}', '"text"', "[" * 100_000])
def test_what_is_no_manifest_is_damaged(file, text):
    file.write_text(text)
    with pytest.raises(BadInput, match="damaged"):
        unseal(file, "")


def test_an_entry_that_is_taken_out_is_missed(file):
    whole = json.loads(file.read_bytes())
    del whole["config.yaml"]
    file.write_text(json.dumps(whole, indent=2))
    with pytest.raises(BadInput, match="damaged"):
        unseal(file, "")


def test_a_missing_manifest_is_named_with_its_remedy(tmp_path):
    with pytest.raises(BadInput, match=r"gone/manifest.json: missing; fetch it$"):
        unseal(tmp_path / "gone/manifest.json", "fetch it")

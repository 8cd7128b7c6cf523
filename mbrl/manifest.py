"""Sealed lists of checksums: file name -> SHA-256, the last entry being that of the rest.

So a damaged digest is not taken for a damaged file. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mbrl.errors import BadInput
from mbrl.files import MB, read_regular

_LIMIT = MB  # bytes of a manifest


def seal(digests: dict[str, str]) -> bytes:
    """Write a manifest.

    Args:
        digests: file name -> SHA-256; under "manifest" that of all the rest is added.
    """
    own = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return json.dumps({**digests, "manifest": own}, indent=2).encode()


def unseal(file: Path, remedy: str = "") -> dict[str, str]:
    """Read a manifest.

    Args:
        file: where it is.
        remedy: what would help, for the message.

    Raises:
        BadInput: if it is missing, damaged, not readable, a link or a special file.
    """
    hint = f"; {remedy}" if remedy else ""
    try:
        content = read_regular(file, _LIMIT)
    except FileNotFoundError:
        raise BadInput(f"{file}: missing{hint}") from None
    except OSError as error:  # of the disk, say
        raise BadInput(f"{file}: not readable ({error.strerror}){hint}") from None
    try:
        digests = json.loads(content)
        del digests["manifest"]
        if not all(isinstance(digest, str) for digest in digests.values()):
            digests = {}
    except (ValueError, KeyError, TypeError, RecursionError):
        digests = {}
    if seal(digests) != content:
        raise BadInput(f"{file}: damaged{hint}")
    return digests

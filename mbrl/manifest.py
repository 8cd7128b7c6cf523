"""Sealed lists of checksums: file name -> SHA-256, the last entry being that of the rest.

So a damaged digest is not taken for a damaged file. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mbrl.errors import BadInput


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
        BadInput: if it is missing, damaged or not readable.
    """
    hint = f"; {remedy}" if remedy else ""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{file}: missing{hint}") from None
    except OSError as error:  # of the disk, say
        raise BadInput(f"{file}: not readable ({error.strerror}){hint}") from None
    try:
        digests = json.loads(content)
        del digests["manifest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        digests = {}
    if seal(digests) != content:
        raise BadInput(f"{file}: damaged{hint}")
    return digests

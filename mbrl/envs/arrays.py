"""Array libraries by the standard of the Python array API."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np


def array_namespace(array: Any) -> Any:
    """Return the module whose functions take an array: numpy, or array_api_compat's for torch.

    numpy keeps to the standard itself; array_api_compat's form of it imports much.

    Args:
        array: a numpy array or a torch tensor.
    """
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)

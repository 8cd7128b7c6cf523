"""Checks of what lies outside the package and needs no torch: gymnasium ids."""

from __future__ import annotations

import difflib
import importlib.util
import sys

from mbrl.errors import BadInput


def check_gymnasium_id(key: str, id: str) -> None:
    """Check that gymnasium knows an id; of an id in a module, that there is the module.

    Raises:
        BadInput: naming the nearest id.
    """
    module, colon, _ = id.partition(":")
    if colon:
        top = module.partition(".")[0]
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            raise BadInput(f"{key}={id}: there is no module {module}")
        return
    if id.startswith("mbrl/"):
        return
    import gymnasium

    if id in gymnasium.registry:
        return
    try:
        gymnasium.spec(id)  # says what is wrong with it
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(id, list(gymnasium.registry), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else str(error).splitlines()[0]
        hint += f"; one that a module of yours registers is {key}=MODULE:{id}"
        raise BadInput(f"{key}={id}: no such gymnasium environment; {hint}") from None

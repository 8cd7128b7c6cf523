"""Products of float32 matrices by the library that is fastest on this processor.

torch hands float32 products to MKL, which leaves half the width of AMD's processors with AVX-512
unused. oneDNN, which torch has too, uses all of it; torch asks it only where float32 products may
be rounded to bfloat16 (`torch.backends.mkldnn.matmul.fp32_precision = "bf16"`). Without Intel's
matrix unit (AMX) oneDNN has no product of that kind and computes in full float32: twice as fast,
as exact. Elsewhere (Intel, ARM, other systems) torch's own choice is the best one and stands.
"""

from __future__ import annotations

import functools
import math
import threading
from contextlib import AbstractContextManager, ContextDecorator, nullcontext
from types import TracebackType
from typing import Any, Literal, Self, final

import torch

DEFAULT = "none"  # torch's setting where nobody has set one
# rows from which oneDNN's products are worth their start, some 12 us each, in thin layers as well
MANY_ROWS = 2048
EXACT = 1e-6  # relative error of a float32 product; one of rounded factors errs by some 1e-3
LARGE = 2**22  # multiplications that oneDNN speeds up by more than the 15 us it takes to start
BFLOAT16_LARGE = 2**22  # multiplications that bfloat16 speeds up by more than conversions cost


def chosen_products() -> Literal["oneDNN float32", "torch's default"]:
    """Return which products FastProducts chooses here; others may round in another way."""
    return "oneDNN float32" if _onednn_is_faster() else "torch's default"


def products_for(rows: int) -> AbstractContextManager[object]:
    """Return a context of FastProducts for many rows; for few it changes nothing.

    For models of which nothing but the number of rows is known; else see products_of.

    Args:
        rows: B of the products' factors (B, n).
    """
    return FastProducts() if rows >= MANY_ROWS else nullcontext()


def products_of(*sizes: int) -> AbstractContextManager[object]:
    """Return FastProducts() for large products, and a context without effect for small ones.

    Args:
        sizes: of the product: batch, rows, inner and columns, whose product decides.
    """
    return FastProducts() if math.prod(sizes) >= LARGE else nullcontext()


def bfloat16_pays(rows: int, fan_in: int, fan_out: int) -> bool:
    """Return whether a product of these sizes is computed in bfloat16 where that is asked for."""
    return rows * fan_in * fan_out >= BFLOAT16_LARGE


@functools.cache
def _setting() -> Any:
    """Return where torch keeps the setting; None in a torch that has none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@functools.cache
def _onednn_is_faster() -> bool:
    """Return whether oneDNN computes float32 products in full and faster: a matter of features."""
    if not torch.backends.mkldnn.is_available() or _setting() is None:
        return False
    features = torch.cpu.get_capabilities()
    return (
        "AMD" in str(features.get("cpu_name"))
        and bool(features.get("avx512_bf16"))
        and not features.get("amx_tile")
        and _is_exact()
    )


def _is_exact() -> bool:
    """Return whether products that may be rounded are exact in float32 here, by one of them."""
    x = torch.linspace(1, 2, 128 * 128).view(128, 128).sin()
    expected = x.double() @ x.double()
    before = _setting().fp32_precision
    _setting().fp32_precision = "bf16"
    error = (x @ x - expected).abs().max() / expected.abs().max()
    _setting().fp32_precision = before
    return error.item() < EXACT


@final
class FastProducts(ContextDecorator):
    """Context, or decorator of a function, in which float32 products are the fastest exact ones.

    torch's setting is one of the process: it is set by the first context and put back by the last
    one; contexts may be nested, and those of several threads may overlap. Where the caller has
    set something else than torch's default, that stands.
    """

    _lock = threading.Lock()
    _depth = 0
    _stands = False  # the caller's own setting

    def __enter__(self) -> Self:
        """Set oneDNN's products where they are faster."""
        if _onednn_is_faster():
            with FastProducts._lock:
                if FastProducts._depth == 0:
                    FastProducts._stands = _setting().fp32_precision != DEFAULT
                    if not FastProducts._stands:
                        _setting().fp32_precision = "bf16"
                FastProducts._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Reset the setting when the last context ends."""
        if _onednn_is_faster():
            with FastProducts._lock:
                FastProducts._depth -= 1
                if FastProducts._depth == 0 and not FastProducts._stands:
                    _setting().fp32_precision = DEFAULT

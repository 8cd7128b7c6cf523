"""Products of float32 matrices are exact whichever library computes them."""

import threading

import pytest
import torch

from mbrl.nn import products
from mbrl.nn.products import (
    DEFAULT,
    MANY_ROWS,
    FastProducts,
    chosen_products,
    products_for,
    products_of,
)

SHAPES = [
    (1, 256, 256, 256),
    (2, 256, 256, 256),
    (7, 64, 200, 200),
    (7, 2048, 200, 24),
    (2, 5, 3, 1),
]


def setting():
    return products._setting().fp32_precision


@pytest.fixture
def chosen(monkeypatch):
    """Run as on a processor where oneDNN's products are chosen."""
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: True)


@pytest.mark.parametrize("shape", SHAPES)
def test_fast_products_err_by_no_more_than_float32(shape):
    num, rows, inner, out = shape
    g = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(num, rows, inner, generator=g),
        torch.randn(num, inner, out, generator=g),
    )
    bias = torch.randn(num, 1, out, generator=g)
    expected = torch.baddbmm(bias.double(), x.double(), weight.double())
    bound = 1e-6 * torch.baddbmm(bias.abs(), x.abs(), weight.abs())
    with FastProducts():
        found = torch.baddbmm(bias, x, weight)
        one = torch.addmm(bias[0], x[0], weight[0])
    assert ((found - expected).abs() <= bound).all()
    assert ((one - expected[0]).abs() <= bound[0]).all()


def test_the_setting_is_put_back_when_the_last_context_ends(chosen):
    with FastProducts():
        with FastProducts():
            assert setting() == "bf16"
        assert setting() == "bf16"
    assert setting() == DEFAULT
    with pytest.raises(ZeroDivisionError), FastProducts():
        raise ZeroDivisionError
    assert setting() == DEFAULT


def test_few_rows_keep_torchs_products(chosen):
    with products_for(MANY_ROWS - 1):
        assert setting() == DEFAULT
    with products_for(MANY_ROWS):
        assert setting() == "bf16"
    assert setting() == DEFAULT


def test_contexts_of_two_threads_overlap(chosen):
    inside, leave = threading.Event(), threading.Event()

    def work():
        with FastProducts():
            inside.set()
            leave.wait(10)

    with FastProducts():
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(10)
    assert setting() == "bf16"
    leave.set()
    thread.join()
    assert setting() == DEFAULT


def test_a_setting_of_the_caller_stands(chosen):
    products._setting().fp32_precision = "ieee"
    try:
        with FastProducts():
            assert setting() == "ieee"
        assert setting() == "ieee"
    finally:
        products._setting().fp32_precision = DEFAULT


@pytest.mark.parametrize(
    ("features", "choice"),
    [
        ({"cpu_name": "AMD EPYC 9654", "avx512_bf16": True, "amx_tile": False}, "oneDNN float32"),
        ({"cpu_name": "AMD Ryzen 5 5600", "avx512_bf16": False}, "torch's default"),
        ({"cpu_name": "Intel(R) Xeon(R)", "avx512_bf16": True}, "torch's default"),
        ({"cpu_name": "AMD of later", "avx512_bf16": True, "amx_tile": True}, "torch's default"),
        ({}, "torch's default"),
    ],
)
def test_the_processors_features_decide(features, choice, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(products, "_is_exact", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    products._onednn_is_faster.cache_clear()
    try:
        assert chosen_products() == choice
    finally:
        products._onednn_is_faster.cache_clear()


def test_products_that_would_be_rounded_are_not_chosen(monkeypatch):
    features = {"cpu_name": "AMD EPYC", "avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(products, "EXACT", 0.0)
    products._onednn_is_faster.cache_clear()
    try:
        assert chosen_products() == "torch's default"
    finally:
        products._onednn_is_faster.cache_clear()


def test_only_large_products_are_changed(chosen):
    with products_of(64, 128, 256):
        assert setting() == DEFAULT
    with products_of(7, 64, 128, 128):
        assert setting() == "bf16"
    assert setting() == DEFAULT

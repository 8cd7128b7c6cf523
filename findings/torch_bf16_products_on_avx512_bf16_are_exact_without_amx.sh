#!/usr/bin/env bash
# torch.backends.mkldnn.matmul.fp32_precision = "bf16" lets float32 products be computed in bfloat16. torch's notes show
# errors of 1e-2 for it, measured on an Intel processor with AMX, and torch enables it on every processor that has
# AVX-512's bfloat16 instructions. A good guess is that products lose precision there. Seen on an AMD processor with
# these instructions and without AMX: other digits than by default, since another library (oneDNN for MKL) computes
# them, and an error of float32, a thousand times less than that of rounded factors. A program that was found to
# train well with "bf16" (or set_float32_matmul_precision("medium")) there has not been tried in bfloat16 at all.
# Seen with torch 2.13.0 (CPU). Needs an x86 processor with avx512_bf16 and without amx_tile; exit status 2 elsewhere.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" || exit 2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 || exit 2
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch

features = torch.cpu.get_capabilities()
print("torch", torch.__version__, "on", features.get("cpu_name"))
if not features.get("avx512_bf16") or features.get("amx_tile"):
    print("this processor is of another kind: nothing to see here")
    sys.exit(2)

torch.manual_seed(0)
x, y = torch.randn(512, 512), torch.randn(512, 512)
exact = x.double() @ y.double()


def error(product):
    """Return the largest error, relative to the largest element."""
    return ((product - exact).abs().max() / exact.abs().max()).item()


default = x @ y
torch.backends.mkldnn.matmul.fp32_precision = "bf16"
allowed = x @ y
rounded = (x.bfloat16().float().double() @ y.bfloat16().float().double()).float()
print(f"error by default:                     {error(default):.1e}")
print(f'error with fp32_precision="bf16":     {error(allowed):.1e}  <- expected some 1e-3')
print(f"error with factors rounded to bf16:   {error(rounded):.1e}")
print("same digits as by default:           ", torch.equal(default, allowed))
holds = error(allowed) < 1e-5 < error(rounded) and not torch.equal(default, allowed)
print("the finding", "holds" if holds else "does not hold any more")
sys.exit(0 if holds else 1)
PYTHON

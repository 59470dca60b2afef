"""Writes bitsandbytes' maps of dynamic quantization, and codes of numbers in blocks by PyTorch.

    python scripts/golden_adamw_8bit.py crates/tensor_core/src/tests/golden_adamw_8bit.json

The codes are the nearest ones, as bitsandbytes' CUDA kernel and its PyTorch backend choose them;
its CPU kernel gives numbers near 0 other codes.
"""

import json
import sys
from pathlib import Path

import bitsandbytes.functional as F
import torch

torch.manual_seed(7)
BLOCK = 256

# Spread over seven decades, so that all codes occur, with an outlier in the second block.
n = 2 * BLOCK - 100
moments = torch.randn(n) * 10 ** (7 * torch.rand(n) - 7)
moments[BLOCK + 3] = 250.0
rows = {}
for name, signed, numbers in [("signed", True, moments), ("unsigned", False, moments.abs())]:
    code = F.create_dynamic_map(signed=signed)
    blocks = numbers.split(BLOCK)
    absmax = torch.stack([block.abs().max() for block in blocks])
    scaled = torch.cat([block / a for block, a in zip(blocks, absmax)])
    codes = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2)
    restored = code[codes] * absmax.repeat_interleave(BLOCK)[:n]
    rows[name] = {
        "map": [float(f"{x:.9g}") for x in code.tolist()],
        "numbers": [float(f"{x:.9g}") for x in numbers.tolist()],
        "codes": codes.tolist(),
        "absmax": absmax.tolist(),
        "median_error": ((restored - numbers).abs() / numbers.abs()).median().item(),
    }
Path(sys.argv[1]).write_text(json.dumps(rows) + "\n")

"""Writes a small pytorch_model.bin as torch.save does, and what it holds, for model_io.

Writes:    crates/model_io/tests/golden/pytorch.bin, pytorch.json
Usage:     python scripts/golden_pytorch_bin.py       (torch)

The file has tensors of each type that can be weights and of some that cannot, a view into a larger
storage, a transposed one, a parameter, and two names of one tensor, as of tied weights.
"""

import json
import pathlib

import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "crates" / "model_io" / "tests" / "golden"
torch.manual_seed(0)
numbers = torch.randn(4, 6)
tensors = {
    "f32": numbers,
    "tied": numbers,
    "rows": numbers[1:3],
    "column": numbers[:, 2],
    "transposed": torch.randn(2, 3).t(),
    "f16": torch.randn(3).half(),
    "bf16": torch.randn(3).bfloat16(),
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    "scalar": torch.tensor(1.5),
    "mask": torch.ones(2, 2, dtype=torch.bool).tril(),
    "steps": torch.tensor([3]),
}
torch.save(tensors, OUT / "pytorch.bin")
weights = {
    name: tensor.detach().float().tolist()
    for name, tensor in tensors.items()
    if tensor.is_floating_point()
}
(OUT / "pytorch.json").write_text(json.dumps(weights) + "\n")

"""Writes five steps of torch.optim.Muon on three matrices, and of AdamW on an embedding.

    python scripts/golden_muon.py crates/tensor_core/src/tests/golden_muon.json

PyTorch orthogonalizes in bf16, with two or three right digits. Here the constant torch.bfloat16 is
float64 while it does, so that the same code computes in f64.
"""

import json
import sys
from pathlib import Path

import torch

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
torch.bfloat16 = torch.float64

LRS = [0.02, 0.02, 0.05, 0.01, 0.002]
WEIGHT_DECAY = 0.1
# Gradients of very different sizes: the size of a step does not depend on them.
SHAPES = {
    "h.0.wide.weight": ((2, 5), 1e-3),
    "h.0.tall.weight": ((5, 3), 10.0),
    "h.0.square.weight": ((3, 3), 1.0),
    "wte.weight": ((4, 2), 1.0),
}

start = {name: torch.randn(shape) for name, (shape, _) in SHAPES.items()}
grads = {name: scale * torch.randn(len(LRS), *shape) for name, (shape, scale) in SHAPES.items()}
weights = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in start.items()}
muon = torch.optim.Muon(
    [weight for name, weight in weights.items() if name.startswith("h.")],
    momentum=0.95,
    nesterov=True,
    weight_decay=WEIGHT_DECAY,
    adjust_lr_fn="match_rms_adamw",
)
adamw = torch.optim.AdamW([weights["wte.weight"]], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)

values = {name: [] for name in SHAPES}
for step, lr in enumerate(LRS):
    for name, weight in weights.items():
        weight.grad = grads[name][step].clone()
    for optimizer in (muon, adamw):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    for name, weight in weights.items():
        values[name].append(weight.detach().tolist())

golden = {
    "lrs": LRS,
    "weights": {
        name: {
            "start": start[name].tolist(),
            "grads": grads[name].tolist(),
            "values": values[name],
        }
        for name in SHAPES
    },
}
Path(sys.argv[1]).write_text(json.dumps(golden) + "\n")

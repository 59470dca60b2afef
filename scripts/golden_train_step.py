"""Writes the golden training step: a tiny Llama, its loss and gradients, and an AdamW update.

    python scripts/golden_train_step.py benches/tests/train_step.safetensors

The tensors are `param.NAME`, `inputs`, `targets` (one is -100, which the loss ignores), `loss`,
`grad.NAME` and `stepped.NAME`, the parameter after the update. The weights are large, so that all
gradients are significant. The parameters are float32 numbers; the rest is computed from them in
float64 and rounded at the end.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "benches" / "python"))
from models import Llama, decay_groups

IGNORE = -100

# AdamW's first step divides each gradient by its magnitude, so a tiny gradient would test rounding
# only. Of the seeds below 40, this one maximizes the smallest gradient magnitude.
torch.manual_seed(27)
model = Llama(vocab=17, n_layer=2, n_head=2, n_embd=16, n_ff=24)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        mean = 1.0 if "norm" in name else 0.0
        parameter.copy_(mean + 0.3 * torch.randn_like(parameter))
model.double()

inputs, targets = torch.randint(17, (3, 7)), torch.randint(17, (3, 7))  # (B, T)
targets[1, 4] = IGNORE


def as_float32(kind, tensors):
    return {f"{kind}.{name}": tensor.detach().float() for name, tensor in tensors}


golden = {"inputs": inputs, "targets": targets} | as_float32("param", model.named_parameters())
loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
loss.backward()
golden["loss"] = loss.detach().float()
golden |= as_float32(
    "grad", ((name, parameter.grad) for name, parameter in model.named_parameters())
)
torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-2, betas=(0.9, 0.95), eps=1e-8).step()
golden |= as_float32("stepped", model.named_parameters())

path = Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
save_file(golden, path, metadata={"torch": torch.__version__})

"""Writes the golden values of tensor_core's operations: PyTorch's results and gradients on small seeded inputs.

    python scripts/golden_ops.py crates/tensor_core/src/tests/golden_ops.json

Everything is float64. `grad` is the gradient that arrives at an operation's result, `grad_NAME` the one it passes on.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)


def differentiate(inputs, function):
    """Runs `function(**inputs)` and its backward pass; gives all inputs, results and gradients by name."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    result = function(**leaves)
    grad = torch.randn_like(result)
    result.backward(grad)
    grads = {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}
    return {**inputs, "result": result, "grad": grad, **grads}


def adamw(weight_decay):
    parameter = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 0.0]))
    optimizer = torch.optim.AdamW([parameter], betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay)
    rates, grads, values = [1e-2, 5e-3, 5e-3, 1e-3, 2e-3], torch.randn(5, 4), []
    for rate, grad in zip(rates, grads):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = grad.clone()
        optimizer.step()
        values.append(parameter.detach().clone())
    return {"rates": torch.tensor(rates), "grads": grads, "values": torch.stack(values)}


def clip():
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(2, 3), (4,), (1,)]]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    grads = torch.cat([p.grad.flatten() for p in parameters])
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    return {"grads": grads, "norm": norm, "clipped": torch.cat([p.grad.flatten() for p in parameters])}


values = torch.tensor([-4.0, -1.0, -0.1, 0.0, 0.3, 2.0, 5.0, 1e-3, -12.0])
targets = torch.tensor([3, -100, 0, 6, -100, 2])
norm = {"x": torch.randn(2, 3, 6) * 2 + 1, "weight": torch.randn(6), "bias": torch.randn(6)}
golden = {
    "softmax": differentiate({"x": torch.randn(3, 5)}, lambda x: x.softmax(-1)),
    "layer_norm": differentiate(norm, lambda x, weight, bias: F.layer_norm(x, (6,), weight, bias, 1e-5)),
    "gelu_exact": differentiate({"x": values}, lambda x: F.gelu(x)),
    "gelu_tanh": differentiate({"x": values}, lambda x: F.gelu(x, approximate="tanh")),
    "cross_entropy": differentiate({"x": torch.randn(6, 7) * 3}, lambda x: F.cross_entropy(x, targets))
    | {"targets": targets},
    "adamw_decay": adamw(0.1),
    "adamw": adamw(0.0),
    "clip": clip(),
}
golden = {op: {name: value.tolist() for name, value in entry.items()} for op, entry in golden.items()}
with open(sys.argv[1], "w") as file:
    json.dump({"torch": torch.__version__} | golden, file)

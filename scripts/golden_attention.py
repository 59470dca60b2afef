"""Writes the golden values of part 1's three-token example: a causal attention head with gradients.

    python scripts/golden_attention.py crates/part_1_attention/tests/golden/attention.json

All values are float64. The loss is the sum of the output times `grad_output`.
"""

import json
import math
import sys

import torch

torch.set_default_dtype(torch.float64)


def matrix(*rows):
    return torch.tensor(rows, requires_grad=True)


x = matrix([0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2], [0.0, 0.1, 0.0, 0.1])
w_q = matrix([0.2, -0.1], [0.0, 0.1], [0.1, 0.2], [-0.1, 0.0])
w_k = matrix([0.1, 0.1], [0.0, -0.1], [0.2, 0.0], [0.0, 0.2])
w_v = matrix([0.1, 0.0], [-0.1, 0.1], [0.2, -0.1], [0.0, 0.2])
grad_output = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 2.0]])

q, k, v = x @ w_q, x @ w_k, x @ w_v
future = torch.triu(torch.ones(3, 3, dtype=torch.bool), diagonal=1)
scores = (q @ k.T / math.sqrt(2)).masked_fill(future, -math.inf)
weights = scores.softmax(-1)
output = weights @ v
(output * grad_output).sum().backward()

golden = {
    "torch": torch.__version__,
    "q": q,
    "k": k,
    "v": v,
    "weights": weights,
    "output": output,
    "grad_output": grad_output,
    "grad_x": x.grad,
    "grad_w_q": w_q.grad,
    "grad_w_k": w_k.grad,
    "grad_w_v": w_v.grad,
}
golden = {
    name: value.tolist() if torch.is_tensor(value) else value for name, value in golden.items()
}
with open(sys.argv[1], "w") as file:
    json.dump(golden, file, indent=1)

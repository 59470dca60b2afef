"""Single operations, forward and backward, in eager PyTorch on float32.

Letters: N rows, C width, V vocabulary size, B batch size, T context length, H heads, D head width.
"""

import torch
import torch.nn.functional as F

from models import apply_rope, rope_tables
from timing import median_time_with_backward


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def unary(function):
    """Operation with one input (N, C)."""
    return lambda n, c: (function, [leaf(n, c)])


def layer_norm(n, c):
    leaves = [leaf(n, c), leaf(c), leaf(c)]
    return lambda x, weight, bias: F.layer_norm(x, (c,), weight, bias, 1e-5), leaves


def rms_norm(n, c):
    return lambda x, weight: F.rms_norm(x, (c,), weight, 1e-5), [leaf(n, c), leaf(c)]


def silu_mul(n, c):
    return lambda gate, up: F.silu(gate) * up, [leaf(n, c), leaf(n, c)]


def rope(b, t, h, d):
    cos, sin = (table.float()[:, None] for table in rope_tables(t, d))  # (T, 1, D)
    return lambda x: apply_rope(x, cos, sin), [leaf(b, t, h, d)]


def linear(n, c_in, c_out):
    return F.linear, [leaf(n, c_in), leaf(c_out, c_in), leaf(c_out)]


def embedding(n, v, c):
    ids = torch.randint(v, (n,))
    return lambda weight: F.embedding(ids, weight), [leaf(v, c)]


def cross_entropy(n, v):
    targets = torch.randint(v, (n,))
    return lambda logits: F.cross_entropy(logits, targets), [leaf(n, v)]


# Each entry maps the dimensions of a shape to the timed function and its inputs.
OPS = {
    "softmax": unary(lambda x: F.softmax(x, -1)),
    "log_softmax": unary(lambda x: F.log_softmax(x, -1)),
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "gelu_tanh": unary(lambda x: F.gelu(x, approximate="tanh")),
    "gelu": unary(F.gelu),
    "silu_mul": silu_mul,
    "rope": rope,
    "linear": linear,
    "embedding": embedding,
    "cross_entropy": cross_entropy,
}


def op(op, shape, seconds=0.5):
    """{"work":"op","op":"softmax","shape":[2048,256],"seconds":0.5}"""
    if op not in OPS:
        raise ValueError(f"unknown operation {op!r}; choose from {', '.join(OPS)}")
    function, leaves = OPS[op](*shape)
    return median_time_with_backward(function, leaves, seconds)

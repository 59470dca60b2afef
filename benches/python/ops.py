"""One operation, forward and backward, in eager PyTorch on float32.

Letters: N rows, C width, V vocabulary; B rows of a batch, T tokens of a row, H heads, D width of a head.
"""

import torch
import torch.nn.functional as F

from models import apply_rope, rope_tables
from timing import median_time_with_backward


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def rows(function):
    """An operation on one input (N, C)."""
    return lambda n, c: (function, [leaf(n, c)])


def layer_norm(n, c):
    return lambda x, weight, bias: F.layer_norm(x, (c,), weight, bias, 1e-5), [leaf(n, c), leaf(c), leaf(c)]


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


# Each entry makes, from the numbers of a shape, the function to time and its inputs.
OPS = {
    "softmax": rows(lambda x: F.softmax(x, -1)),
    "log_softmax": rows(lambda x: F.log_softmax(x, -1)),
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "gelu_tanh": rows(lambda x: F.gelu(x, approximate="tanh")),
    "gelu": rows(F.gelu),
    "silu_mul": silu_mul,
    "rope": rope,
    "linear": linear,
    "embedding": embedding,
    "cross_entropy": cross_entropy,
}


def op(op, shape, seconds=0.5):
    """{"work":"op","op":"softmax","shape":[2048,256],"seconds":0.5}"""
    if op not in OPS:
        raise ValueError(f"no operation {op!r}; there are {', '.join(OPS)}")
    function, leaves = OPS[op](*shape)
    return median_time_with_backward(function, leaves, seconds)

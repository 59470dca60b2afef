"""Writes the golden values of tensor_core's operations: PyTorch's results and gradients.

    python scripts/golden_ops.py crates/tensor_core/src/tests/golden_ops.json

All values are float64. `grad` is the gradient of an operation's result, `grad_NAME` that of its
input NAME. A mask is 1 where a query attends to a key and 0 elsewhere.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)


def differentiate(inputs, function):
    """Runs `function(**inputs)` and its backward pass; returns all tensors by name."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    result = function(**leaves)
    grad = torch.randn_like(result)
    result.backward(grad)
    grads = {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}
    return {**inputs, "result": result, "grad": grad, **grads}


def adamw(weight_decay):
    parameter = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 0.0]))
    optimizer = torch.optim.AdamW(
        [parameter], betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay
    )
    lrs, grads, values = [1e-2, 5e-3, 5e-3, 1e-3, 2e-3], torch.randn(5, 4), []
    for lr, grad in zip(lrs, grads):
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = grad.clone()
        optimizer.step()
        values.append(parameter.detach().clone())
    return {"rates": torch.tensor(lrs), "grads": grads, "values": torch.stack(values)}


def clip():
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(2, 3), (4,), (1,)]]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    grads = torch.cat([p.grad.flatten() for p in parameters])
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    return {
        "grads": grads,
        "norm": norm,
        "clipped": torch.cat([p.grad.flatten() for p in parameters]),
    }


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rope(x, offsets):
    """RoPE of `x` (B, T, H, D) with base 10000; each row of the batch has its own offset."""
    t, d = x.shape[1], x.shape[3]
    frequencies = 10000.0 ** (-torch.arange(0, d, 2).double() / d)  # (D / 2)
    positions = offsets[:, None] + torch.arange(t)  # (B, T)
    angles = positions[:, :, None, None] * frequencies  # (B, T, 1, D / 2)
    angles = torch.cat((angles, angles), dim=-1)  # (B, T, 1, D)
    return x * angles.cos() + rotate_half(x) * angles.sin()


def attention(mask, q_heads=2, kv_heads=2):
    """Attention with a boolean mask (T, S), or (B, T, S) if the rows differ.

    Queries and result are (B, T, H, D). Keys and values are (B, S, KV, D); each KV head serves
    H / KV query heads.
    """
    t, s = mask.shape[-2:]
    b, d = 2, 4
    shapes = {"q": (b, t, q_heads, d), "k": (b, s, kv_heads, d), "v": (b, s, kv_heads, d)}
    inputs = {name: torch.randn(shape) for name, shape in shapes.items()}
    head_mask = mask.expand(b, t, s)[:, None]  # (B, 1, T, S)

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H or KV, T or S, D)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=head_mask, enable_gqa=True
        ).transpose(1, 2)

    return differentiate(inputs, attend) | {"mask": mask.int()}


def causal_mask(t, cached=0):
    """Causal mask (T, S) of queries that follow `cached` keys, so S = T + cached."""
    return torch.ones(t, cached + t).tril(cached).bool()


values = torch.tensor([-4.0, -1.0, -0.1, 0.0, 0.3, 2.0, 5.0, 1e-3, -12.0])
targets = torch.tensor([3, -100, 0, 6, -100, 2])
norm = {"x": torch.randn(2, 3, 6) * 2 + 1, "weight": torch.randn(6), "bias": torch.randn(6)}
golden = {
    "softmax": differentiate({"x": torch.randn(3, 5)}, lambda x: x.softmax(-1)),
    "layer_norm": differentiate(
        norm, lambda x, weight, bias: F.layer_norm(x, (6,), weight, bias, 1e-5)
    ),
    "gelu_exact": differentiate({"x": values}, lambda x: F.gelu(x)),
    "gelu_tanh": differentiate({"x": values}, lambda x: F.gelu(x, approximate="tanh")),
    "cross_entropy": differentiate(
        {"x": torch.randn(6, 7) * 3}, lambda x: F.cross_entropy(x, targets)
    )
    | {"targets": targets},
    "adamw_decay": adamw(0.1),
    "adamw": adamw(0.0),
    "clip": clip(),
}
gate_up = {"gate": torch.randn(3, 5) * 3, "up": torch.randn(3, 5)}
offsets = torch.tensor([0, 5])
token_ids = torch.tensor([3, 0, 6, 2])
golden |= {
    "log_softmax": differentiate({"x": torch.randn(3, 5) * 3}, lambda x: x.log_softmax(-1)),
    "rms_norm": differentiate(
        {"x": torch.randn(2, 3, 6) * 2 + 1, "weight": torch.randn(6)},
        lambda x, weight: F.rms_norm(x, (6,), weight, 1e-6),
    ),
    "silu_mul": differentiate(gate_up, lambda gate, up: F.silu(gate) * up),
    "rope": differentiate({"x": torch.randn(2, 3, 2, 4)}, lambda x: rope(x, offsets))
    | {"offsets": offsets},
    "token_log_probs": differentiate(
        {"logits": torch.randn(4, 7) * 3},
        lambda logits: logits.log_softmax(-1).gather(1, token_ids[:, None])[:, 0],
    )
    | {"targets": token_ids},
    "entropy": differentiate(
        {"logits": torch.randn(4, 7) * 3},
        lambda logits: torch.distributions.Categorical(logits=logits).entropy(),
    ),
}

i, j = (
    torch.arange(5)[:, None],
    torch.arange(5)[None],
)  # positions of queries (T, 1) and keys (1, S)
window, sinks = 3, 1
key_is_token = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()  # (B, S): false for padding
segments = torch.tensor([0, 0, 1, 1, 1])  # two documents packed into one row
cached = 3
golden |= {
    "attention_causal": attention(causal_mask(5)),
    "attention_grouped": attention(causal_mask(5), q_heads=4, kv_heads=2),
    "attention_window": attention((j <= i) & ((j < sinks) | (j > i - window)))
    | {"window": torch.tensor(window), "sinks": torch.tensor(sinks)},
    "attention_padding": attention(key_is_token[:, None].expand(2, 5, 5))
    | {"lengths": key_is_token.sum(1)},
    "attention_cached": attention(causal_mask(5, cached)) | {"cached": torch.tensor(cached)},
    "attention_segments": attention(causal_mask(5) & (segments[:, None] == segments))
    | {"segments": segments},
}
golden = {
    op: {name: value.tolist() for name, value in entry.items()} for op, entry in golden.items()
}
with open(sys.argv[1], "w") as file:
    json.dump({"torch": torch.__version__} | golden, file)

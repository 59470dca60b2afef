"""Llama and GPT-2 in plain PyTorch, for the comparison.

The code is eager and idiomatic, so that the comparison of speed is fair. Parameters have the names
of transformers' Llama and GPT-2.
Letters: B batch size, T context length, C width, H heads, D head width, V vocabulary size.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

INIT_STD = 0.02
NORM_EPS = 1e-5
ROPE_BASE = 10000.0


def init_weights(model, n_layer, residual_projections):
    """Normal weights, scaled down where a layer adds to the residual stream; zero biases."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            residual = name.endswith(residual_projections)
            std = INIT_STD / math.sqrt(2 * n_layer) if residual else INIT_STD
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def decay_groups(model, weight_decay):
    """AdamW parameter groups: weight decay applies to the weights of Linear layers only."""
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    linear_ids = {id(p) for p in linear}
    others = [p for p in model.parameters() if id(p) not in linear_ids]
    return [
        {"params": linear, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def rope_tables(t, d):
    """Cosines and sines of positions 0..T-1, each (T, D), in float64; both halves are equal."""
    frequencies = ROPE_BASE ** (-torch.arange(0, d, 2).double() / d)  # (D / 2)
    angles = torch.outer(torch.arange(t).double(), frequencies)  # (T, D / 2)
    angles = torch.cat((angles, angles), dim=-1)  # (T, D)
    return angles.cos(), angles.sin()


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def apply_rope(x, cos, sin):
    """Rotates each pair (i, i + D/2) by the angle of its position."""
    return x * cos + rotate_half(x) * sin


class LlamaAttention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.q_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.k_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.v_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.o_proj = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q, k, v = (
            projection(x).view(b, t, self.n_head, c // self.n_head).transpose(1, 2)  # (B, H, T, D)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, c))


class LlamaMlp(nn.Module):
    def __init__(self, n_embd, n_ff):
        super().__init__()
        self.gate_proj = nn.Linear(n_embd, n_ff, bias=False)
        self.up_proj = nn.Linear(n_embd, n_ff, bias=False)
        self.down_proj = nn.Linear(n_ff, n_embd, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    def __init__(self, n_head, n_embd, n_ff):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(n_embd, eps=NORM_EPS)
        self.self_attn = LlamaAttention(n_embd, n_head)
        self.post_attention_layernorm = nn.RMSNorm(n_embd, eps=NORM_EPS)
        self.mlp = LlamaMlp(n_embd, n_ff)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaBody(nn.Module):
    """Llama without the output head. A separate module gives its parameters the prefix `model.`"""

    def __init__(self, vocab, n_layer, n_head, n_embd, n_ff):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, n_embd)
        self.layers = nn.ModuleList(LlamaBlock(n_head, n_embd, n_ff) for _ in range(n_layer))
        self.norm = nn.RMSNorm(n_embd, eps=NORM_EPS)
        self.head_dim = n_embd // n_head
        self.rope = rope_tables(0, self.head_dim)

    def forward(self, ids):
        x = self.embed_tokens(ids)  # (B, T, C)
        cos, sin = self.tables(x)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def tables(self, x):
        """RoPE tables of the first T positions, cached for inputs up to that length and dtype."""
        t = x.shape[1]
        if len(self.rope[0]) < t or self.rope[0].dtype != x.dtype:
            self.rope = tuple(table.to(x) for table in rope_tables(t, self.head_dim))
        return tuple(table[:t] for table in self.rope)


class Llama(nn.Module):
    def __init__(self, vocab, n_layer, n_head, n_embd, n_ff):
        super().__init__()
        self.model = LlamaBody(vocab, n_layer, n_head, n_embd, n_ff)
        init_weights(self, n_layer, ("o_proj", "down_proj"))

    def forward(self, ids):
        """Logits (B, T, V) of token ids (B, T); the output head is tied to the embedding."""
        return F.linear(self.model(ids), self.model.embed_tokens.weight)


class Gpt2Attention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)  # (B, H, T, D)
            for part in self.c_attn(x).split(c, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class Gpt2Mlp(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.c_proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Gpt2Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = Gpt2Attention(n_embd, n_head)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = Gpt2Mlp(n_embd)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    def __init__(self, vocab, block_size, n_layer, n_head, n_embd):
        super().__init__()
        self.wte = nn.Embedding(vocab, n_embd)  # tied to the output head
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Gpt2Block(n_embd, n_head) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        init_weights(self, n_layer, ("c_proj",))

    def forward(self, ids):
        """Logits (B, T, V) of token ids (B, T)."""
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]  # (B, T, C)
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)

"""Baseline for speed and loss: a byte-level GPT-2 trained in eager PyTorch.

Writes:    no files; prints the loss over the whole validation split, the training tokens per
           second (without evaluation and the first 20 steps) and, as the last line, one JSON
           object {"val_loss": .., "tokens_per_s": .., "params": ..}.
Usage:     python tiny_gpt.py --data TEXT_FILE [--steps 2000] [--lr 1e-3] ...
Made with: Python 3.11.7, torch 2.15.0
"""

import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from models import Gpt2, decay_groups

VOCAB = 256
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0
UNTIMED_STEPS = 20


def make_optimizer(model, lr, beta2):
    """AdamW with weight decay on the Linear weights only; the tied output head has none."""
    return torch.optim.AdamW(decay_groups(model, WEIGHT_DECAY), lr=lr, betas=(0.9, beta2), eps=1e-8)


def random_batch(data, batch_size, context_len):
    """Random windows of the data; every start is equally likely."""
    starts = torch.randint(len(data) - context_len, (batch_size, 1))
    windows = data[starts + torch.arange(context_len + 1)]
    return windows[:, :-1], windows[:, 1:]


def batch_loss(model, inputs, targets, reduction="mean"):
    logits = model(inputs)
    return F.cross_entropy(logits.view(-1, VOCAB), targets.reshape(-1), reduction=reduction)


@torch.no_grad()
def full_loss(model, data, context_len, rows=64):
    """Mean loss over `data` in non-overlapping windows; the last one may be shorter.

    Every byte but the first is predicted exactly once.
    """
    inputs, targets = data[:-1], data[1:]
    full = len(inputs) // context_len * context_len
    total = 0.0
    for start in range(0, full, rows * context_len):
        stop = min(start + rows * context_len, full)
        x = inputs[start:stop].view(-1, context_len)
        y = targets[start:stop].view(-1, context_len)
        total += batch_loss(model, x, y, "sum").item()
    if full < len(inputs):
        total += batch_loss(model, inputs[None, full:], targets[None, full:], "sum").item()
    return total / len(inputs)


def parse_args():
    parser = argparse.ArgumentParser(description="byte-level GPT-2 training baseline")
    parser.add_argument("--data", required=True, help="text file; its bytes are the tokens")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--context-len", type=int, default=64)
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", choices=["constant", "linear"], default="constant")
    parser.add_argument("--beta2", type=float, default=0.99)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    if args.steps <= UNTIMED_STEPS:
        parser.error(f"--steps must be above {UNTIMED_STEPS}, the number of untimed steps")
    return args


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)

    with open(args.data, "rb") as f:
        data = torch.frombuffer(bytearray(f.read()), dtype=torch.uint8).long()
    n_train = len(data) * 9 // 10
    train, val = data[:n_train], data[n_train:]

    model = Gpt2(VOCAB, args.context_len, args.n_layer, args.n_head, args.n_embd)
    params = sum(p.numel() for p in model.parameters())
    optimizer = make_optimizer(model, args.lr, args.beta2)
    print(f"{params} parameters, {len(train)} training and {len(val)} validation bytes")

    started = time.perf_counter()
    for step in range(args.steps):
        if step == UNTIMED_STEPS:
            started = time.perf_counter()
        if args.decay == "linear":  # from lr at the first step to 0 after the last
            for group in optimizer.param_groups:
                group["lr"] = args.lr * (1 - step / args.steps)
        loss = batch_loss(model, *random_batch(train, args.batch_size, args.context_len))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}: training loss of the batch {loss.item():.4f}", flush=True)
    seconds = time.perf_counter() - started

    timed_tokens = (args.steps - UNTIMED_STEPS) * args.batch_size * args.context_len
    tokens_per_s = timed_tokens / seconds
    val_loss = full_loss(model, val, args.context_len)
    print(f"validation loss {val_loss:.4f}")
    print(f"training speed {tokens_per_s:.0f} tokens/s")
    result = {"val_loss": val_loss, "tokens_per_s": tokens_per_s, "params": params}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

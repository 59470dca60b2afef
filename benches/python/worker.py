"""PyTorch's side of `cargo x compare`: reads one request per line and writes one line of JSON each.

The Rust program starts it, waits for the line {"ready": true, "torch": ..}, writes one JSON object
per line and reads one JSON line for each: the times, or {"error": ..}. This way both sides
alternate on the same machine, and PyTorch starts only once. The fields of a request are the
arguments of the function named by "work"; the docstring of that function starts with an example.

Usage:     python worker.py [--threads 2] [--mode eager] [--device cpu]
Made with: Python 3.11.7, torch 2.15.0; for `generate` also transformers 5.23.0, gguf, accelerate,
           llama-cpp-python 0.3.36
"""

import argparse
import json
import sys

import torch
import torch.nn.functional as F

from generation import generate
from ops import leaf, op
from policy_update import policy_update
from timing import median_time, median_time_with_backward
import train_step as training
from train_step import train_step


def matmul(m, n, k, seconds=1.0):
    """{"work":"matmul","m":512,"n":512,"k":512,"seconds":1.0}"""
    a, b = torch.randn(m, k), torch.randn(n, k)
    return median_time(lambda: a @ b.T, seconds)  # (M, K) x (K, N) -> (M, N), as in a linear layer


def attention(shape, backward, seconds=1.0):
    """{"work":"attention","shape":[8,6,256,64],"backward":true,"seconds":1.0}

    The shape is (B, H, T, D). Times the forward pass, or both passes if `backward` is true.
    """
    q, k, v = leaf(*shape), leaf(*shape), leaf(*shape)

    def causal(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    if backward:
        return median_time_with_backward(causal, [q, k, v], seconds)
    with torch.no_grad():
        return median_time(lambda: causal(q, k, v), seconds)


def read(bytes, seconds=1.0):
    """{"work":"read","bytes":536870912,"seconds":1.0}"""
    x = torch.ones(bytes // 4)
    return median_time(lambda: x.sum(), seconds)


WORKS = {
    "matmul": matmul, "read": read, "attention": attention, "train_step": train_step, "op": op,
    "generate": generate, "policy_update": policy_update,
}  # fmt: skip


def respond(line):
    """Response to a request. A failure is a response too, so that the other side never hangs."""
    try:
        request = json.loads(line)
        work = request.pop("work")
        if work not in WORKS:
            raise ValueError(f"unknown work {work!r}; choose from {', '.join(WORKS)}")
        # JSON cannot represent NaN, so a NaN loss becomes an error.
        return json.dumps(WORKS[work](**request), allow_nan=False)
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"})


def main():
    parser = argparse.ArgumentParser(description="run benchmarks in PyTorch, one request per line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=training.MODES, default="eager")
    parser.add_argument("--device", default="cpu", help="of the training steps: cpu or cuda")
    args = parser.parse_args()
    training.mode, training.device = args.mode, torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(json.dumps({"ready": True, "torch": torch.__version__.split("+")[0]}), flush=True)
    for line in sys.stdin:
        print(respond(line), flush=True)


if __name__ == "__main__":
    main()

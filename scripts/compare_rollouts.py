"""Speed of part 8's rollouts and of transformers' `generate`, in tokens per second.

    pip install torch transformers
    cargo build -p part_8
    python scripts/compare_rollouts.py runs/noisy [--part-8 target/debug/part_8] [--threads 2]

Both use the same model and the same kind of prompts, and sample batches of 32 completions of at
most 8 tokens at temperature 1: 4 prompts with 8 completions each, and 32 prompts with one each.
Both count the tokens up to and including the eos token. The two programs alternate, so that a slow
phase of the machine affects both; the result of a turn is the median of its batches.

Made with: torch 2.15.0, transformers 5.23.0
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

N_COMPLETIONS, MAX_NEW_TOKENS, N_BATCHES, N_TURNS = 32, 8, 60, 3


def ours(args, group_size: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        flags = {
            "model": args.model, "out": out, "batch-size": N_COMPLETIONS // group_size,
            "group-size": group_size, "max-new-tokens": MAX_NEW_TOKENS, "steps": N_BATCHES,
            "lr": 1e-9, "eval-interval": 0, "log-interval": 1, "tracker": "none",
            "threads": args.threads,
        }  # fmt: skip
        command = [args.part_8, "train"] + [f"--{name}={value}" for name, value in flags.items()]
        subprocess.run(command, check=True, capture_output=True)
        rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        return [row["rollout_tokens_per_s"] for row in rows if "rollout_tokens_per_s" in row]


def theirs(model, tokenizer, group_size: int) -> list[float]:
    rates, eos = [], tokenizer.eos_token_id
    for _ in range(N_BATCHES):
        n_prompts = N_COMPLETIONS // group_size
        sums = [(random.randrange(100), random.randrange(100)) for _ in range(n_prompts)]
        texts = [
            f"### Instruction:\nWhat is {a} + {b}? Answer with an integer.\n\n### Response:\n"
            for a, b in sums
        ]
        ids = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        ids = {name: ids[name] for name in ("input_ids", "attention_mask")}
        started = time.perf_counter()
        with torch.inference_mode():
            sequences = model.generate(
                **ids, max_new_tokens=MAX_NEW_TOKENS, num_return_sequences=group_size,
                do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=eos,
                pad_token_id=eos,
            )  # fmt: skip
        seconds = time.perf_counter() - started
        rows = sequences[:, ids["input_ids"].shape[1] :].tolist()
        n_tokens = sum(row.index(eos) + 1 if eos in row else len(row) for row in rows)
        rates.append(n_tokens / seconds)
    return rates


parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("model", help="a run folder of part 6")
parser.add_argument("--part-8", default="target/debug/part_8")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
random.seed(0)
torch.set_num_threads(args.threads)
folder = Path(args.model) / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
for group_size in (8, 1):
    for _ in range(N_TURNS):
        our_rate = statistics.median(ours(args, group_size))
        their_rate = statistics.median(theirs(model, tokenizer, group_size))
        print(
            f"{N_COMPLETIONS // group_size} x {group_size}: part 8 {our_rate:,.0f}, "
            f"transformers {their_rate:,.0f} tokens/s: {our_rate / their_rate:.1f}"
        )

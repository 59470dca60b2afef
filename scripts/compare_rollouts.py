"""Rollouts of part 8 beside `generate` of transformers: tokens written in a second, by the same model, to like questions, in one run.

    pip install torch transformers
    cargo build --release -p part_8
    python scripts/compare_rollouts.py runs/noisy [--part-8 target/release/part_8] [--threads 2]

Batches of 32 responses of at most 8 tokens, drawn at temperature 1: 4 questions answered 8 times each, as a rollout draws
them, and 32 questions answered once. Both count the tokens up to an answer's end, that included. The two programs take turns,
so that a machine that slows down slows both; the median of each turn's batches is what counts.

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

RESPONSES, LONGEST, BATCHES, TURNS = 32, 8, 60, 3


def ours(args, samples: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        flags = {"model": args.model, "out": out, "batch-size": RESPONSES // samples, "samples": samples,
                 "max-new-tokens": LONGEST, "steps": BATCHES, "lr": 1e-9, "eval-interval": 0, "log-interval": 1,
                 "log": "none", "threads": args.threads}  # fmt: skip
        command = [args.part_8, "train"] + [f"--{name}={value}" for name, value in flags.items()]
        subprocess.run(command, check=True, capture_output=True)
        rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        return [row["rollout_tokens_per_s"] for row in rows if "rollout_tokens_per_s" in row]


def theirs(model, tokenizer, samples: int) -> list[float]:
    rates, end = [], tokenizer.eos_token_id
    for _ in range(BATCHES):
        sums = [(random.randrange(100), random.randrange(100)) for _ in range(RESPONSES // samples)]
        texts = [
            f"### Instruction:\nWhat is {a} + {b}? Answer with an integer.\n\n### Response:\n"
            for a, b in sums
        ]
        ids = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        ids = {name: ids[name] for name in ("input_ids", "attention_mask")}
        begin = time.perf_counter()
        with torch.inference_mode():
            written = model.generate(
                **ids, max_new_tokens=LONGEST, num_return_sequences=samples, do_sample=True, temperature=1.0,
                top_k=0, top_p=1.0, eos_token_id=end, pad_token_id=end)  # fmt: skip
        took = time.perf_counter() - begin
        rows = written[:, ids["input_ids"].shape[1] :].tolist()
        rates.append(sum(row.index(end) + 1 if end in row else len(row) for row in rows) / took)
    return rates


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="a run folder of part 6")
parser.add_argument("--part-8", default="target/release/part_8")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
random.seed(0)
torch.set_num_threads(args.threads)
folder = Path(args.model) / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
for samples in (8, 1):
    for _ in range(TURNS):
        us = statistics.median(ours(args, samples))
        them = statistics.median(theirs(model, tokenizer, samples))
        print(f"{RESPONSES // samples} x {samples}: part 8 {us:,.0f}, transformers {them:,.0f} tokens/s: {us / them:.1f}")

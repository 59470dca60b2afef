"""Checks exported model folders of every family against transformers.

Writes:    no files; prints one line per folder (see verdict.py).
Usage:     python check_modern_folder.py MODEL_DIR...

MODEL_DIR holds config.json, generation_config.json, model.safetensors and check.json:
    {"class": "..", "eos_token_id": .., "dtype": "float32" or "bfloat16",
     "input_ids": [..], "logits": [[..], ..]}, as computed by the exporter in that dtype.

Checks that AutoModelForCausalLM opens the weights as that class with that eos token, and that the
logits of `input_ids` in f32 agree. In bf16 each operation rounds to 8 bits and the order of
operations differs, so the logits of both sides deviate from the f32 logits: our mean deviation may
be at most 1.5 times that of transformers. (torch adds a bias before it rounds a product, we add it
after, which is one more rounding. A misplaced tensor would cause 100 times that deviation.)
"""

import pathlib
import sys

from verdict import Mismatch, differences, run_check, largest_difference, logits, open_model, same
import torch
from transformers import AutoModelForCausalLM


def open_and_run(folder, check, dtype):
    model = open_model(AutoModelForCausalLM, folder, dtype=dtype, attn_implementation="eager")
    same("class", check["class"], type(model).__name__)
    same("eos_token_id", check["eos_token_id"], model.generation_config.eos_token_id)
    return logits(model, check["input_ids"])


def compare(folder, check):
    theirs = open_and_run(folder, check, torch.float32)
    if check["dtype"] == "bfloat16":
        mean = differences(check["logits"], theirs).mean().item()
        their_mean = (open_and_run(folder, check, torch.bfloat16) - theirs).abs().mean().item()
        verdict = f"mean error of bf16 logits {mean:.2g}, of transformers' {their_mean:.2g}"
        if not mean <= 1.5 * their_mean:
            raise Mismatch(verdict)
        return verdict
    largest = largest_difference(check["logits"], theirs)
    return f"logits up to {theirs.abs().max():.2g}, largest difference {largest:.2g}"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(
        max(
            [
                run_check(folder, folder / "check.json", compare)
                for folder in map(pathlib.Path, sys.argv[1:])
            ]
        )
    )

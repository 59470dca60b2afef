"""Checks exported Llama, Mistral, Qwen2 and Qwen3 folders against Hugging Face transformers.

Makes:     nothing on disk; prints a line for each folder (see verdict.py).
Usage:     python check_modern_folder.py MODEL_DIR...

MODEL_DIR holds config.json, generation_config.json, model.safetensors and, besides, check.json:
    {"class": "..", "eos_token_id": .., "dtype": "float32" or "bfloat16",
     "input_ids": [..], "logits": [[..], ..]}, as computed by the exporter in that type.

Checked: AutoModelForCausalLM makes a model of that class from the weights, and
finds the token that ends a text. The logits of `input_ids` in f32 agree.
In bf16 every step rounds to 8 bits and in another order, so the logits of both
are off from those in f32: ours by no more than 1.5 times what theirs are, in
the mean over all of them. (torch adds a bias before it rounds a product, and we
after: one rounding more. A tensor out of place would be off by 100 times that.)
"""

import pathlib
import sys

from verdict import Mismatch, differences, judge, largest_difference, logits, open_model, same
import torch
from transformers import AutoModelForCausalLM


def answer(folder, check, dtype):
    model = open_model(AutoModelForCausalLM, folder, dtype=dtype, attn_implementation="eager")
    same("class", check["class"], type(model).__name__)
    same("end of text", check["eos_token_id"], model.generation_config.eos_token_id)
    return logits(model, check["input_ids"])


def compare(folder, check):
    theirs = answer(folder, check, torch.float32)
    if check["dtype"] == "bfloat16":
        mean = differences(check["logits"], theirs).mean().item()
        their_mean = (answer(folder, check, torch.bfloat16) - theirs).abs().mean().item()
        verdict = f"in bf16 logits are off by {mean:.2g}, those of transformers by {their_mean:.2g}"
        if not mean <= 1.5 * their_mean:
            raise Mismatch(verdict)
        return verdict
    largest = largest_difference(check["logits"], theirs)
    return f"logits up to {theirs.abs().max():.2g} differ by at most {largest:.2g}"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(max([judge(folder, folder / "check.json", compare) for folder in map(pathlib.Path, sys.argv[1:])]))

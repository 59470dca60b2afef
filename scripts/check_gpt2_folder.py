"""Checks an exported GPT-2 folder against Hugging Face transformers.

Writes:    no files; prints one line (see verdict.py).
Usage:     python check_gpt2_folder.py MODEL_DIR CHECK_JSON

MODEL_DIR holds config.json, model.safetensors and tokenizer.json.
CHECK_JSON holds {"input_ids": [..], "logits": [[..], ..],
                  "text": "..", "text_ids": [..]}, as computed by the exporter.

Checks that the weights load into GPT2LMHeadModel, that the logits of `input_ids` agree, and that
the tokenizer encodes `text` to `text_ids` and decodes them to `text`.
"""

import pathlib
import sys

from verdict import run_check, largest_difference, logits, open_model, same
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast


def compare(folder, check):
    model = open_model(GPT2LMHeadModel, folder, dtype=torch.float32)
    largest = largest_difference(check["logits"], logits(model, check["input_ids"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    same("ids of the text", check["text_ids"], tokenizer.encode(check["text"]))
    same(
        "text of the ids",
        check["text"],
        tokenizer.decode(check["text_ids"], clean_up_tokenization_spaces=False),
    )
    return (
        f"{len(check['input_ids'])} positions, largest logit difference {largest:.2g}; "
        f"tokenizer agrees on {len(check['text_ids'])} tokens"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(run_check(*map(pathlib.Path, sys.argv[1:]), compare))

"""Checks a tokenizer that part 4 trained against Hugging Face transformers.

Writes:    no files; prints one line (see verdict.py).
Usage:     python check_trained_tokenizer.py FOLDER CHECK_JSON

FOLDER holds tokenizer.json and tokenizer_config.json.
CHECK_JSON holds, as computed by the exporter:
    "vocab_size": N, "context": N,
    "special": {"bos_token": ID, "eos_token", "unk_token", "pad_token"},
    "texts": [{"text", "ids", "shown", "hidden" (decoded with and without special tokens)}]
"""

import pathlib
import sys

from verdict import run_check, same
from transformers import AutoTokenizer


def compare(folder, check):
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    same("vocabulary", check["vocab_size"], len(tokenizer))
    same("context", check["context"], tokenizer.model_max_length)
    for name, id in check["special"].items():
        same(name, id, getattr(tokenizer, f"{name}_id"))
    for case in check["texts"]:
        text = case["text"]
        same(f"ids of {text!r}", case["ids"], tokenizer.encode(text))
        same(f"{text!r} decoded", case["shown"], tokenizer.decode(case["ids"]))
        same(
            f"{text!r} decoded",
            case["hidden"],
            tokenizer.decode(case["ids"], skip_special_tokens=True),
        )
    return f"{len(tokenizer)} tokens, {len(check['texts'])} texts"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(run_check(*map(pathlib.Path, sys.argv[1:]), compare))

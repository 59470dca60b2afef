"""Checks a tokenizer that part 4 trained against Hugging Face transformers.

Makes:     nothing on disk; prints a one-line verdict.
Usage:     python check_trained_tokenizer.py FOLDER CHECK_JSON

FOLDER holds tokenizer.json and tokenizer_config.json. CHECK_JSON holds, as computed by the exporter:
    "vocab_size": N, "context": N, "special": {"bos_token": ID, "eos_token", "unk_token", "pad_token"},
    "texts": [{"text", "ids", "shown", "hidden" (decoded with and without special tokens)}]

Exit code: 0 all agree, 1 something differs, 77 transformers is missing.
Made with: Python 3.11.7, transformers 5.23.0
"""

import json
import pathlib
import sys


def main(folder, check_path):
    check = json.loads(pathlib.Path(check_path).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    same = [("vocabulary", check["vocab_size"], len(tokenizer)), ("context", check["context"], tokenizer.model_max_length)]
    same += [(name, id, getattr(tokenizer, f"{name}_id")) for name, id in check["special"].items()]
    for case in check["texts"]:
        text = case["text"]
        same.append((f"ids of {text!r}", case["ids"], tokenizer.encode(text)))
        same.append((f"{text!r} decoded", case["shown"], tokenizer.decode(case["ids"])))
        same.append((f"{text!r} decoded", case["hidden"], tokenizer.decode(case["ids"], skip_special_tokens=True)))
    for what, ours, theirs in same:
        if ours != theirs:
            print(f"FAIL: {what}: {ours!r}, in transformers {theirs!r}")
            return 1
    print(f"OK: {len(tokenizer)} tokens, {len(check['texts'])} texts")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        import transformers
        from transformers import AutoTokenizer
    except ImportError as error:
        print(f"SKIP: transformers is needed ({error})")
        sys.exit(77)
    transformers.logging.set_verbosity_error()
    sys.exit(main(*sys.argv[1:]))

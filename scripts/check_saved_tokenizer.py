"""Checks a saved model folder, in particular its tokenizer and chat template, against transformers.

Writes:    no files; prints one line (see verdict.py).
Usage:     python check_saved_tokenizer.py MODEL_DIR CHECK_JSON

MODEL_DIR holds config.json, generation_config.json, model.safetensors, tokenizer.json and
tokenizer_config.json. CHECK_JSON holds, as computed by the exporter:
    "special": {"bos_token": ID or null, "eos_token", "unk_token", "pad_token"}, "context": N,
    "texts": [{"text", "ids" (with special tokens), "bare_ids" (without),
               "shown", "hidden" (decoded with and without special tokens)}],
    "chats": [{"messages", "add_generation_prompt", "text", "ids",
               "assistant" (mask: 1 for each token of the assistant, else 0)}],
    "forged": [{"messages", "ids" (of a chat whose messages contain special tokens as plain text,
                with a generation prompt)}],
    "input_ids": [..], "logits": [[..], ..], "bos": ID or null, "eos": [ID, ..]

Checks all of these with AutoTokenizer and AutoModelForCausalLM.
"""

import inspect
import pathlib
import sys

from verdict import run_check, largest_difference, logits, open_model, same
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def check_tokenizer(tokenizer, check):
    for name, id in check["special"].items():
        same(name, id, getattr(tokenizer, f"{name}_id"))
    same("context", check["context"], tokenizer.model_max_length)
    for case in check["texts"]:
        text = case["text"]
        same(f"ids of {text!r}", case["ids"], tokenizer.encode(text))
        same(
            f"bare ids of {text!r}",
            case["bare_ids"],
            tokenizer.encode(text, add_special_tokens=False),
        )
        same(f"{text!r} decoded", case["shown"], tokenizer.decode(case["ids"]))
        same(
            f"{text!r} decoded",
            case["hidden"],
            tokenizer.decode(case["ids"], skip_special_tokens=True),
        )
    if not check["chats"]:
        same("chat template", None, tokenizer.chat_template)
    for case in check["chats"]:
        messages, prompt = case["messages"], case["add_generation_prompt"]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)
        same(f"chat {messages}", case["text"], text)
        chat = tokenizer.apply_chat_template(
            messages, add_generation_prompt=prompt, return_assistant_tokens_mask=True
        )
        same(f"ids of chat {messages}", case["ids"], chat["input_ids"])
        same(f"assistant mask of chat {messages}", case["assistant"], chat["assistant_masks"])
    if "sanitize_control_tokens" not in inspect.signature(tokenizer.apply_chat_template).parameters:
        return  # an older version of transformers
    for case in check["forged"]:
        chat = tokenizer.apply_chat_template(
            case["messages"], add_generation_prompt=True, sanitize_control_tokens=True
        )
        same(f"ids of forged chat {case['messages']}", case["ids"], chat["input_ids"])


def check_model(folder, check):
    model = open_model(AutoModelForCausalLM, folder, dtype=torch.float32)
    config = model.generation_config
    eos = config.eos_token_id
    same("bos_token_id", check["bos"], config.bos_token_id)
    same(
        "eos_token_id", check["eos"], [] if eos is None else eos if isinstance(eos, list) else [eos]
    )
    return largest_difference(check["logits"], logits(model, check["input_ids"]))


def compare(folder, check):
    check_tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True), check)
    largest = check_model(folder, check)
    return (
        f"{len(check['texts'])} texts, {len(check['chats'])} chats, "
        f"{len(check['input_ids'])} positions, "
        f"largest logit difference {largest:.2g}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(run_check(*map(pathlib.Path, sys.argv[1:]), compare))

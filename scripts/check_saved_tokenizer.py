"""Checks a saved model folder, its tokenizer and chat template above all, against Hugging Face transformers.

Makes:     nothing on disk; prints a one-line verdict.
Usage:     python check_saved_tokenizer.py MODEL_DIR CHECK_JSON

MODEL_DIR holds config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json.
CHECK_JSON holds, as computed by the exporter:
    "special": {"bos_token": ID or null, "eos_token", "unk_token", "pad_token"}, "context": N,
    "texts": [{"text", "ids" (begun as texts are), "bare_ids", "shown", "hidden" (decoded with and without markers)}],
    "chats": [{"messages", "add_generation_prompt", "text", "ids", "assistant" (1 for each token that it says, else 0)}],
    "forged": [{"messages", "ids" (of a chat that goes on, special tokens in messages being text)}],
    "input_ids": [..], "logits": [[..], ..], "bos": ID or null, "eos": [ID, ..]

Checked with AutoTokenizer and AutoModelForCausalLM: all of that, logits within |ours - theirs| <= 1e-4 * (1 + |theirs|).

Exit code: 0 all agree, 1 something differs, 77 torch or transformers missing
           (77 is the "skipped" code of automake-style test runners).
Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0
"""

import inspect
import json
import pathlib
import sys

TOLERANCE = 1e-4


class Mismatch(Exception):
    """The folder and transformers disagree."""


def same(what, ours, theirs):
    if ours != theirs:
        raise Mismatch(f"{what}: {ours!r}, in transformers {theirs!r}")


def check_tokenizer(tokenizer, check):
    for name, id in check["special"].items():
        same(name, id, getattr(tokenizer, f"{name}_id"))
    same("context", check["context"], tokenizer.model_max_length)
    for case in check["texts"]:
        text = case["text"]
        same(f"ids of {text!r}", case["ids"], tokenizer.encode(text))
        same(f"bare ids of {text!r}", case["bare_ids"], tokenizer.encode(text, add_special_tokens=False))
        same(f"{text!r} decoded", case["shown"], tokenizer.decode(case["ids"]))
        same(f"{text!r} decoded", case["hidden"], tokenizer.decode(case["ids"], skip_special_tokens=True))
    if not check["chats"]:
        same("chat template", None, tokenizer.chat_template)
    for case in check["chats"]:
        messages, prompt = case["messages"], case["add_generation_prompt"]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)
        same(f"chat {messages}", case["text"], text)
        spoken = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_assistant_tokens_mask=True)
        same(f"ids of chat {messages}", case["ids"], spoken["input_ids"])
        same(f"what the assistant says in {messages}", case["assistant"], spoken["assistant_masks"])
    if "sanitize_control_tokens" not in inspect.signature(tokenizer.apply_chat_template).parameters:
        return  # an older version
    for case in check["forged"]:
        chat = tokenizer.apply_chat_template(case["messages"], add_generation_prompt=True, sanitize_control_tokens=True)
        same(f"ids of forged chat {case['messages']}", case["ids"], chat["input_ids"])


def check_model(model_dir, check):
    model, info = AutoModelForCausalLM.from_pretrained(
        model_dir, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        same(kind, [], sorted(map(str, info.get(kind) or [])))
    config = model.generation_config
    eos = config.eos_token_id
    same("bos_token_id", check["bos"], config.bos_token_id)
    same("eos_token_id", check["eos"], [] if eos is None else eos if isinstance(eos, list) else [eos])
    with torch.no_grad():
        theirs = model.eval()(input_ids=torch.tensor([check["input_ids"]])).logits[0].double()
    ours = torch.tensor(check["logits"], dtype=torch.float64)
    same("shape of the logits", list(ours.shape), list(theirs.shape))
    difference = (ours - theirs).abs()
    if not (difference <= TOLERANCE * (1 + theirs.abs())).all():  # not: so that NaN is a difference
        raise Mismatch(f"logits differ by up to {difference.max():.3g}")
    return difference.max().item()


def main(model_dir, check_path):
    try:
        check = json.loads(pathlib.Path(check_path).read_text(encoding="utf-8"))
        check_tokenizer(AutoTokenizer.from_pretrained(model_dir, local_files_only=True), check)
        largest = check_model(model_dir, check)
    except Exception as error:  # any failure to load is a verdict too
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        print("FAIL:", kind + " ".join(str(error).split()))
        return 1
    print(
        f"OK: {len(check['texts'])} texts, {len(check['chats'])} chats, {len(check['input_ids'])} positions, "
        f"largest logit difference {largest:.2g}"
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except (ImportError, OSError) as error:  # OSError: a shared library of torch
        print(f"SKIP: torch and transformers are needed ({error})")
        sys.exit(77)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))

"""Checks exported Llama, Mistral, Qwen2 and Qwen3 folders against Hugging Face transformers.

Makes:     nothing on disk; prints a line for each folder.
Usage:     python check_modern_folder.py MODEL_DIR...

MODEL_DIR holds config.json, generation_config.json, model.safetensors and, besides, check.json:
    {"class": "..", "eos_token_id": .., "dtype": "float32" or "bfloat16",
     "input_ids": [..], "logits": [[..], ..]}, as computed by the exporter in that type.

Checked: AutoModelForCausalLM makes a model of that class, with no missing,
unexpected or mismatched key, and finds the token that ends a text. The logits
of `input_ids` in f32 agree within |ours - theirs| <= 1e-4 * (1 + |theirs|).
In bf16 every step rounds to 8 bits and in another order, so the logits of both
are off from those in f32: ours by no more than 1.5 times what theirs are, in
the mean over all of them. (torch adds a bias before it rounds a product, and we
after: one rounding more. A tensor out of place would be off by 100 times that.)

Exit code: 0 all agree, 1 something differs, 77 torch or transformers missing
           (77 is the "skipped" code of automake-style test runners).
Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0
"""

import json
import pathlib
import sys

TOLERANCE = 1e-4


class Mismatch(Exception):
    """The folder and transformers disagree."""


def answer(folder, check, dtype):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # so that they are reported in `info`
        output_loading_info=True,
        dtype=dtype,
        attn_implementation="eager",
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            raise Mismatch(f"{kind}: {sorted(map(str, info[kind]))}")
    found = type(model).__name__, model.generation_config.eos_token_id
    if found != (check["class"], check["eos_token_id"]):
        raise Mismatch(f"class and end of text are {found}")
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([check["input_ids"]])).logits[0].double()


def check(folder):
    check = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    theirs = answer(folder, check, torch.float32)
    ours = torch.tensor(check["logits"], dtype=torch.float64)
    if ours.shape != theirs.shape:
        raise Mismatch(f"logits have shape {list(ours.shape)}, not {list(theirs.shape)}")
    difference = (ours - theirs).abs()
    if check["dtype"] == "bfloat16":
        mean = difference.mean().item()
        their_mean = (answer(folder, check, torch.bfloat16) - theirs).abs().mean().item()
        verdict = f"in bf16 logits are off by {mean:.2g}, those of transformers by {their_mean:.2g}"
        if not mean <= 1.5 * their_mean:
            raise Mismatch(verdict)
        return verdict
    agree = difference <= TOLERANCE * (1 + theirs.abs())  # False for NaN
    if not agree.all():
        row, column = (~agree).nonzero()[0].tolist()
        raise Mismatch(
            f"{(~agree).sum().item()} of {agree.numel()} logits differ, the first at position "
            f"{row}, token {column}: {ours[row, column]:.6g}, not {theirs[row, column]:.6g}"
        )
    return f"logits up to {theirs.abs().max():.2g} differ by at most {difference.max():.2g}"


def main(folders):
    code = 0
    for folder in map(pathlib.Path, folders):
        try:
            print(f"OK: {folder.name}: {check(folder)}")
        except Exception as error:  # any failure to load is a verdict too
            kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
            print(f"FAIL: {folder.name}: {kind}" + " ".join(str(error).split()))
            code = 1
    return code


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM
    except (ImportError, OSError) as error:  # OSError: a shared library of torch
        print(f"SKIP: torch and transformers are needed ({error})")
        sys.exit(77)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sys.exit(main(sys.argv[1:]))

"""Checks an exported GPT-2 folder against Hugging Face transformers.

Makes:     nothing on disk; prints a one-line verdict.
Usage:     python check_gpt2_folder.py MODEL_DIR CHECK_JSON

MODEL_DIR holds config.json, model.safetensors and tokenizer.json.
CHECK_JSON holds {"input_ids": [..], "logits": [[..], ..],
                  "text": "..", "text_ids": [..]}, as computed by the exporter.

Checked: the weights load into GPT2LMHeadModel with no missing, unexpected or
mismatched key; the logits of `input_ids` agree within
|ours - theirs| <= 1e-4 * (1 + |theirs|); the tokenizer encodes `text` to
`text_ids` and decodes them back to `text`.

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


def check_logits(model_dir, check):
    model, info = GPT2LMHeadModel.from_pretrained(
        model_dir,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # so that they are reported in `info`
        output_loading_info=True,
        dtype=torch.float32,
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            raise Mismatch(f"{kind}: {sorted(map(str, info[kind]))}")

    with torch.no_grad():
        theirs = model.eval()(input_ids=torch.tensor([check["input_ids"]])).logits[0].double()
    ours = torch.tensor(check["logits"], dtype=torch.float64)
    if ours.shape != theirs.shape:
        raise Mismatch(f"logits have shape {list(ours.shape)}, not {list(theirs.shape)}")
    difference = (ours - theirs).abs()
    agree = difference <= TOLERANCE * (1 + theirs.abs())  # False for NaN
    if not agree.all():
        row, column = (~agree).nonzero()[0].tolist()
        raise Mismatch(
            f"{(~agree).sum().item()} of {agree.numel()} logits differ, the first at position "
            f"{row}, token {column}: {ours[row, column]:.6g}, not {theirs[row, column]:.6g}"
        )
    return difference.max().item()


def check_tokenizer(model_dir, check):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model_dir / "tokenizer.json"))
    ids = tokenizer.encode(check["text"])
    if ids != check["text_ids"]:
        raise Mismatch(f"the text encodes to {ids}, not {check['text_ids']}")
    text = tokenizer.decode(check["text_ids"], clean_up_tokenization_spaces=False)
    if text != check["text"]:
        raise Mismatch(f"the ids decode to {text!r}, not {check['text']!r}")


def main(model_dir, check_path):
    try:
        check = json.loads(pathlib.Path(check_path).read_text(encoding="utf-8"))
        largest = check_logits(model_dir, check)
        check_tokenizer(model_dir, check)
    except Exception as error:  # any failure to load is a verdict too
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        print("FAIL:", kind + " ".join(str(error).split()))
        return 1
    print(
        f"OK: {len(check['input_ids'])} positions, largest logit difference {largest:.2g}; "
        f"tokenizer agrees on {len(check['text_ids'])} tokens"
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        import torch
        import transformers
        from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
    except (ImportError, OSError) as error:  # OSError: a shared library of torch
        print(f"SKIP: torch and transformers are needed ({error})")
        sys.exit(77)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))

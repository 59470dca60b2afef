"""Checks that what we computed is what Hugging Face transformers computes, for the check_*.py scripts beside this file.
They import it before torch and transformers, so that it can say where these are missing.

Prints:    OK or FAIL for a folder, and why; SKIP without torch or transformers.
Exit code: 0 all agree, 1 something differs, 77 skipped (as in automake-style test runners).
Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0
"""

import json
import sys

try:
    import torch
    import transformers
except (ImportError, OSError) as error:  # OSError: a shared library of torch
    print(f"SKIP: torch and transformers are needed ({error})")
    sys.exit(77)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TOLERANCE = 1e-4


class Mismatch(Exception):
    """The folder and transformers disagree."""


def same(what, ours, theirs):
    if ours != theirs:
        raise Mismatch(f"{what}: {ours!r}, in transformers {theirs!r}")


def open_model(kind, folder, **options):
    """The folder's model; no key of its weights is missing, unexpected or of another shape."""
    model, info = kind.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # so that they are reported in `info`
        output_loading_info=True,
        **options,
    )
    for wrong in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        same(wrong, [], sorted(map(str, info.get(wrong) or [])))
    return model.eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


def differences(ours, theirs):
    ours = torch.tensor(ours, dtype=torch.float64)
    same("shape of the logits", list(ours.shape), list(theirs.shape))
    return (ours - theirs).abs()


def largest_difference(ours, theirs):
    """Of logits; none is above 1e-4 * (1 + |theirs|)."""
    difference = differences(ours, theirs)
    agree = difference <= TOLERANCE * (1 + theirs.abs())  # False for NaN
    if not agree.all():
        row, column = (~agree).nonzero()[0].tolist()
        raise Mismatch(
            f"{(~agree).sum().item()} of {agree.numel()} logits differ, the first at position "
            f"{row}, token {column}: {ours[row][column]:.6g}, not {theirs[row, column]:.6g}"
        )
    return difference.max().item()


def judge(folder, check_path, compare):
    """Prints what `compare` finds between the folder and our answers in JSON; gives the exit code."""
    try:
        found = compare(folder, json.loads(check_path.read_text(encoding="utf-8")))
    except Exception as error:  # any failure to load is a verdict too
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        print(f"FAIL: {folder.name}: {kind}" + " ".join(str(error).split()))
        return 1
    print(f"OK: {folder.name}: {found}")
    return 0

"""Comparison with Hugging Face transformers, for the check_*.py scripts.

Import it before torch and transformers: it reports when they are missing.

Prints:    OK or FAIL for a folder, with the reason; SKIP without torch or transformers.
Exit code: 0 all agree, 1 something differs, 77 skipped (as in automake-style test runners).
Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0
"""

import json
import sys

try:
    import torch
    import transformers
except (ImportError, OSError) as error:  # OSError: a shared library is missing
    print(f"SKIP: torch and transformers are needed ({error})")
    sys.exit(77)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TOLERANCE = 1e-4


class Mismatch(Exception):
    """The folder and transformers disagree."""


def same(name, ours, theirs):
    if ours != theirs:
        raise Mismatch(f"{name}: {ours!r}, in transformers {theirs!r}")


def open_model(model_class, folder, **options):
    """Opens the model; fails if a weight is missing, unexpected or has the wrong shape."""
    model, info = model_class.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # reports them in `info`
        output_loading_info=True,
        **options,
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        same(problem, [], sorted(map(str, info.get(problem) or [])))
    return model.eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


def differences(ours, theirs):
    ours = torch.tensor(ours, dtype=torch.float64)
    same("shape of the logits", list(ours.shape), list(theirs.shape))
    return (ours - theirs).abs()


def largest_difference(ours, theirs):
    """Largest difference of the logits. Fails if one exceeds 1e-4 * (1 + |theirs|)."""
    difference = differences(ours, theirs)
    agree = difference <= TOLERANCE * (1 + theirs.abs())  # False for NaN
    if not agree.all():
        row, column = (~agree).nonzero()[0].tolist()
        raise Mismatch(
            f"{(~agree).sum().item()} of {agree.numel()} logits differ, the first at position "
            f"{row}, token {column}: {ours[row][column]:.6g}, "
            f"in transformers {theirs[row, column]:.6g}"
        )
    return difference.max().item()


def run_check(folder, check_path, compare):
    """Runs `compare` on the folder and the values in the JSON file; prints the result.

    Returns the exit code.
    """
    try:
        summary = compare(folder, json.loads(check_path.read_text(encoding="utf-8")))
    except Exception as error:  # a failure to load is a FAIL too
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        print(f"FAIL: {folder.name}: {kind}" + " ".join(str(error).split()))
        return 1
    print(f"OK: {folder.name}: {summary}")
    return 0

"""Checks an exported adapter against peft.

Makes:     nothing on disk; prints a line (see verdict.py).
Usage:     python check_adapter.py BASE_MODEL_DIR ADAPTER_DIR

ADAPTER_DIR holds adapter_config.json, adapter_model.safetensors and, besides, check.json:
    {"input_ids": [..], "logits": [[..], ..]}, as computed by the exporter with the adapter.

Checked: peft.PeftModel opens it on the base model without a missing or unexpected tensor, and the logits agree. Exits with 77
where torch, transformers or peft is missing.
"""

import json
import pathlib
import sys
import warnings

try:
    import torch
    import transformers
    from peft import PeftModel
except ImportError as error:
    print(error)
    sys.exit(77)


def main(base, adapter):
    check = json.loads((pathlib.Path(adapter) / "check.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft only warns of missing tensors
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(model, adapter).eval()
    theirs = model(input_ids=torch.tensor([check["input_ids"]])).logits[0]
    ours = torch.tensor(check["logits"])
    off = (theirs - ours).abs().max().item()
    scale = theirs.abs().max().item()
    plain = model.disable_adapter()
    with plain:
        without = model(input_ids=torch.tensor([check["input_ids"]])).logits[0]
    moved = (theirs - without).abs().max().item()
    if not off <= 1e-4 * (1 + scale):
        sys.exit(f"logits differ by {off}")
    if not moved > 0.01:
        sys.exit(f"the adapter changes nothing: {moved}")
    print(f"peft opens it: logits agree to {off:.2g}, the adapter moves them by {moved:.2g}")


main(*sys.argv[1:])

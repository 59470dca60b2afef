"""Checks an exported adapter against peft.

Writes:    no files; prints one line.
Usage:     python check_adapter.py BASE_MODEL_DIR ADAPTER_DIR

ADAPTER_DIR holds adapter_config.json, adapter_model.safetensors and check.json:
    {"input_ids": [..], "logits": [[..], ..]}, as computed by the exporter with the adapter.

Checks that peft.PeftModel opens the adapter on the base model without missing or unexpected
tensors, and that the logits agree.
Exit code: 0 they agree, 1 they differ, 77 torch, transformers or peft is missing.
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
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    with warnings.catch_warnings():
        # peft only warns about missing tensors.
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(model, adapter).eval()
    input_ids = torch.tensor([check["input_ids"]])
    theirs = model(input_ids=input_ids).logits[0]
    ours = torch.tensor(check["logits"])
    difference = (theirs - ours).abs().max().item()
    scale = theirs.abs().max().item()
    with model.disable_adapter():
        base_logits = model(input_ids=input_ids).logits[0]
    effect = (theirs - base_logits).abs().max().item()
    if not difference <= 1e-4 * (1 + scale):
        sys.exit(f"logits differ by {difference}")
    if not effect > 0.01:
        sys.exit(f"the adapter has no effect: it changes logits by at most {effect}")
    print(f"OK: logits agree to {difference:.2g}; the adapter changes them by up to {effect:.2g}")


main(*sys.argv[1:])

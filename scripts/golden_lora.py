"""Writes the golden files of LoRA and of the masked loss, with transformers and peft.

Writes:    crates/part_6_sft/tests/golden/lora/: adapter_config.json, adapter_model.safetensors,
           golden.json
Usage:     python golden_lora.py       (torch, transformers, peft)

The base model is the small random Llama that golden_modern.py writes for part 3. Its adapters, of
rank 3 on q_proj, v_proj and down_proj, have random matrices A and B. Two examples of different
length, right-padded and with the labels of the prompts masked, give the loss without and with
adapters, and the gradient norms of the adapters.
"""

import json
import pathlib
import shutil

import peft
import torch
import transformers

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
OUT = CRATES / "part_6_sft" / "tests" / "golden" / "lora"
EXAMPLES = [([5, 9, 2, 30, 7, 11, 3], 4), ([8, 1, 40, 22], 2)]  # ids and prompt length


def batch():
    longest = max(len(ids) for ids, _ in EXAMPLES)
    rows = [ids + [0] * (longest - len(ids)) for ids, _ in EXAMPLES]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in EXAMPLES]
    labels = [
        [-100] * prompt_len + ids[prompt_len:] + [-100] * (longest - len(ids))
        for ids, prompt_len in EXAMPLES
    ]
    return {
        "input_ids": torch.tensor(rows),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def main():
    torch.manual_seed(6)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        CRATES / "part_3_modern" / "tests" / "golden" / "llama",
        dtype=torch.float32,
        attn_implementation="eager",
    )
    base_loss = base(**batch()).loss.item()
    config = peft.LoraConfig(
        r=3,
        lora_alpha=6,
        lora_dropout=0.0,
        target_modules=["q_proj", "v_proj", "down_proj"],
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    loss = model(**batch()).loss
    loss.backward()
    prefix = "base_model.model."
    grads = {
        name.removeprefix(prefix).replace(".default", ""): parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    logits = model(input_ids=torch.tensor([EXAMPLES[0][0]])).logits[0]
    if OUT.exists():
        shutil.rmtree(OUT)
    model.save_pretrained(OUT)
    (OUT / "README.md").unlink(missing_ok=True)
    saved = json.loads((OUT / "adapter_config.json").read_text())
    saved["base_model_name_or_path"] = "llama"
    (OUT / "adapter_config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    golden = {
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "examples": [{"ids": ids, "given": prompt_len} for ids, prompt_len in EXAMPLES],
        "base_loss": base_loss,
        "loss": loss.item(),
        "grad_norms": grads,
        "logits": [[float(f"{x:.7g}") for x in row] for row in logits.tolist()],
    }
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


main()

"""Writes the golden files of LoRA, rsLoRA, DoRA and the masked loss, with transformers and peft.

Writes:    crates/part_6_sft/tests/golden/{lora,rslora,dora}/: adapter_config.json,
           adapter_model.safetensors, golden.json
Usage:     python golden_lora.py       (torch, transformers, peft)

The base model is the small random Llama that golden_modern.py writes for part 3. Its adapters, of
rank 3 on q_proj, v_proj and down_proj, have random matrices A and B, those of DoRA also random
magnitudes; those of rsLoRA have other ranks and alphas in some layers. Two examples of different
length, right-padded and with the labels of the prompts masked, give the loss without and with
adapters, the gradient norms of the adapters, and the gradients of the magnitudes.
"""

import json
import pathlib
import shutil

import peft
import torch
import transformers

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
OUT = CRATES / "part_6_sft" / "tests" / "golden"
SETTINGS = {
    "lora": {},
    "rslora": {
        "use_rslora": True,
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {r"layers\.1\.(mlp|self_attn)\..*_proj": 9},
    },
    "dora": {"use_dora": True},
}
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


def write(name, settings):
    torch.manual_seed(6)
    out = OUT / name
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
        **settings,
    )
    model = peft.get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
            elif "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    loss = model(**batch()).loss
    loss.backward()
    prefix = "base_model.model."
    grads = {
        name.removeprefix(prefix).replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    magnitude = ".lora_magnitude_vector"
    grads = {name.replace(magnitude + ".weight", magnitude): grad for name, grad in grads.items()}
    logits = model(input_ids=torch.tensor([EXAMPLES[0][0]])).logits[0]
    if out.exists():
        shutil.rmtree(out)
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    saved = json.loads((out / "adapter_config.json").read_text())
    saved["base_model_name_or_path"] = "llama"
    saved["target_modules"].sort()  # peft writes a set
    (out / "adapter_config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    golden = {
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "examples": [{"ids": ids, "given": prompt_len} for ids, prompt_len in EXAMPLES],
        "base_loss": base_loss,
        "loss": loss.item(),
        "grad_norms": {name: grad.norm().item() for name, grad in grads.items()},
        "magnitude_grads": {
            name: grad.tolist() for name, grad in grads.items() if name.endswith(magnitude)
        },
        "logits": [[float(f"{x:.7g}") for x in row] for row in logits.tolist()],
    }
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


for name, settings in SETTINGS.items():
    write(name, settings)

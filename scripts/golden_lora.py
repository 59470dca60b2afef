"""Writes the golden files of LoRA, rsLoRA, DoRA and the masked loss, with transformers and peft.

Writes:    crates/part_6_sft/tests/golden/{lora,rslora,dora,mixtral,qwen3_moe}/:
           adapter_config.json, adapter_model.safetensors, golden.json
Usage:     python golden_lora.py       (torch, transformers, peft)

The base model is the small random Llama that golden_modern.py writes for part 3. Its adapters, of
rank 3 on q_proj, v_proj and down_proj, have random matrices A and B, those of DoRA also random
magnitudes; those of rsLoRA have other ranks and alphas in some layers. Two examples of different
length, right-padded and with the labels of the prompts masked, give the loss without and with
adapters, the gradient norms of the adapters, and the gradients of the magnitudes.

The adapters of part 3's small mixtures are those of fused experts: of all linear layers, router
included, where peft doubles the rank of gate and up projection, and of the experts alone.
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
MIXTURES = {
    "mixtral": {"target_modules": "all-linear"},
    "qwen3_moe": {
        "target_modules": ["q_proj"],
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    },
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


def open_base(name):
    return transformers.AutoModelForCausalLM.from_pretrained(
        CRATES / "part_3_modern" / "tests" / "golden" / name,
        dtype=torch.float32,
        attn_implementation="eager",
    )


def randomize(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
            elif "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))


def save(model, base, out):
    if out.exists():
        shutil.rmtree(out)
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    saved = json.loads((out / "adapter_config.json").read_text())
    saved["base_model_name_or_path"] = base
    for targets in ["target_modules", "target_parameters"]:
        if saved[targets]:
            saved[targets].sort()  # peft writes a set
    (out / "adapter_config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")


def rounded(rows):
    return [[float(f"{x:.7g}") for x in row] for row in rows.tolist()]


def write_mixture(name, settings):
    torch.manual_seed(6)
    config = peft.LoraConfig(r=2, lora_alpha=6, task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(open_base(name), config)
    randomize(model)
    save(model, name, OUT / name)
    ids = EXAMPLES[0][0]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    golden = {"peft": peft.__version__, "ids": ids, "logits": rounded(logits)}
    (OUT / name / "golden.json").write_text(json.dumps(golden) + "\n")


def write(name, settings):
    torch.manual_seed(6)
    out = OUT / name
    base = open_base("llama")
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
    randomize(model)
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
    save(model, "llama", out)
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
        "logits": rounded(logits),
    }
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


for name, settings in SETTINGS.items():
    write(name, settings)
for name, settings in MIXTURES.items():
    write_mixture(name, settings)

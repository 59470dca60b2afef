"""Takes each model family through the programs, and compares with transformers and peft.

Writes:    small random checkpoints and runs, in a temporary folder; prints a Markdown table, a row
           for each family.
Usage:     cargo build -p part_3 -p part_6
           python scripts/check_families.py [FAMILY...]      (torch, transformers, peft)

The columns, each with the largest difference of a token's log-probability from transformers:
    score        `part_3 score` of a checkpoint of transformers, as safetensors
    .bin         the same checkpoint as a pytorch_model.bin in float16
    loss         `part_6 train --steps 20`: the training loss of the first and of the last step
    saved        the model of that run, opened by transformers
    to peft      `part_6 train --lora-rank 2 --steps 20`: the adapter, opened by peft
    from peft    an adapter of peft, opened by `part_3 score`
Exit code: 0 if all differences are below 1e-3, else 1.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from golden_model import randomize

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TEXT = "Mira saw a red bird. Where do you go? she asked, and it flew over the wide green hill."
TOLERANCE = 1e-3
N_BYTES = 256
SIZES = dict(
    vocab_size=N_BYTES + 2,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=128,
    bos_token_id=N_BYTES,
    eos_token_id=N_BYTES + 1,
)
LLAMA = dict(SIZES, intermediate_size=48, num_key_value_heads=2, pad_token_id=None)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    short_factor=[1.0, 1.1, 1.2, 1.4],
    long_factor=[1.5, 3.0, 4.0, 8.0],
    original_max_position_embeddings=32,
)
OPT = dict(SIZES, ffn_dim=48, pad_token_id=None)
EXPERTS = dict(LLAMA, num_experts_per_tok=2)


def families():
    t = transformers
    return {
        "Llama": t.LlamaConfig(**LLAMA),
        "Mistral": t.MistralConfig(**LLAMA, sliding_window=16),
        "Qwen2": t.Qwen2Config(**LLAMA, tie_word_embeddings=True),
        "Qwen3": t.Qwen3Config(**LLAMA, head_dim=16),
        "SmolLM3": t.SmolLM3Config(**LLAMA, no_rope_layer_interval=2),
        "Phi-3 (longrope)": t.Phi3Config(
            **LLAMA, rope_parameters=LONGROPE, original_max_position_embeddings=32
        ),
        "Gemma": t.GemmaConfig(**LLAMA, head_dim=16),
        "Gemma 2": t.Gemma2Config(
            **LLAMA,
            head_dim=16,
            query_pre_attn_scalar=24,
            sliding_window=16,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=5.0,
        ),
        "Gemma 3 (text)": t.Gemma3TextConfig(
            **LLAMA,
            head_dim=16,
            query_pre_attn_scalar=24,
            sliding_window=16,
            sliding_window_pattern=2,
        ),
        "GPT-2": t.GPT2Config(
            vocab_size=N_BYTES + 2,
            n_positions=128,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=N_BYTES,
            eos_token_id=N_BYTES + 1,
        ),
        "OPT (pre-norm)": t.OPTConfig(**OPT),
        "OPT (as 350m: post-norm, projected)": t.OPTConfig(
            **OPT, do_layer_norm_before=False, word_embed_proj_dim=16
        ),
        "GPT-NeoX": t.GPTNeoXConfig(
            **SIZES,
            intermediate_size=48,
            rope_parameters=dict(
                rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25
            ),
        ),
        "Mixtral": t.MixtralConfig(**EXPERTS, num_local_experts=4),
        "Qwen3-MoE": t.Qwen3MoeConfig(
            **EXPERTS, num_experts=4, moe_intermediate_size=24, head_dim=16
        ),
    }


def save_tokenizer(folder):
    """A token for each byte, and two special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)


def run(program, *arguments):
    command = [REPOSITORY / "target" / "debug" / program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{program} {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def log_probs(model, ids):
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([ids])).logits[0].double()
    next_ids = torch.tensor(ids[1:]).unsqueeze(1)
    return logits[:-1].log_softmax(-1).gather(1, next_ids).squeeze(1)


def open_base(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def difference(model, folder, text, *options):
    """Largest difference between the log-probabilities of `model` and of `part_3 score`."""
    ours = json.loads(
        run("part_3", "score", "--model", folder, "--text-file", text, "--json", *options)
    )
    theirs = log_probs(model, ours["token_ids"])
    return (torch.tensor(ours["logprobs"], dtype=torch.float64) - theirs).abs().max().item()


def train(folder, data, out, *options):
    """Trains for 20 steps; the first and the last training loss."""
    run(
        "part_6", "train", "--model", folder, "--data", data, "--template", "plain",
        "--steps", 20, "--batch-size", 4, "--lr", 2e-3, "--out", out, *options,
    )  # fmt: skip
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row and row.get("step")]
    return losses[0], losses[-1]


def check(config, root):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, 0.1)
    folder, text, data = root / "base", root / "text.txt", root / "rows.jsonl"
    model.save_pretrained(folder)
    save_tokenizer(folder)
    text.write_text(TEXT)
    data.write_text(
        "".join(
            json.dumps({"prompt": f"{a} + {b} =", "completion": f" {a + b}"}) + "\n"
            for a in range(8)
            for b in range(8)
        )
    )
    cells = {"score": difference(model, folder, text)}

    as_bin = root / "bin"
    save_tokenizer(as_bin)
    (as_bin / "config.json").write_text((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    halves = {name: tensor.half() for name, tensor in state.items()}
    torch.save(halves, as_bin / "pytorch_model.bin")
    rounded = open_base(folder)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.half().float()
    cells[".bin"] = difference(rounded, as_bin, text)

    first, last = train(folder, data, root / "full")
    cells["loss"] = f"{first:.2f} → {last:.2f}"
    trained = root / "full" / "final"
    trained = trained if trained.exists() else root / "full" / "model"
    cells["saved"] = difference(open_base(trained), trained, text)

    train(folder, data, root / "lora", "--lora-rank", 2)
    adapter = root / "lora" / "final"
    adapter = adapter if adapter.exists() else root / "lora" / "adapter"
    cells["to peft"] = difference(
        peft.PeftModel.from_pretrained(open_base(folder), adapter), adapter, text
    )

    lora = peft.LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    theirs = peft.get_peft_model(open_base(folder), lora)
    theirs.save_pretrained(root / "peft")
    cells["from peft"] = difference(theirs, root / "peft", text)
    return cells


def main(names):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    columns = ["score", ".bin", "loss", "saved", "to peft", "from peft"]
    print("| family | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    failed = False
    for name, config in families().items():
        if names and not any(part.lower() in name.lower() for part in names):
            continue
        with tempfile.TemporaryDirectory() as root:
            cells = check(config, pathlib.Path(root))
        numbers = [value for value in cells.values() if isinstance(value, float)]
        failed |= not all(number < TOLERANCE for number in numbers)
        texts = [f"{cells[c]:.0e}" if isinstance(cells[c], float) else cells[c] for c in columns]
        print(f"| {name} | " + " | ".join(texts) + " |", flush=True)
    sys.exit(failed)


main(sys.argv[1:])

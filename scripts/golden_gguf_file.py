"""The tokenizer of small GGUF files, and their logits, for the other golden_gguf_*.py scripts."""

import json
from pathlib import Path

import torch
import transformers

from golden_model import rounded

GOLDEN = Path(__file__).parents[1] / "crates/part_3_modern/tests/golden"
FOLDER = GOLDEN / "gguf"
TOKENS = [
    "<unk>",
    "<s>",
    "</s>",
    "▁",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"▁{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
TOKENS += ["ab", "cd", "▁ab", "▁cd", "abcd", "▁abcd", "ee", "▁ee"]


def permute(rows, heads):
    """Moves RoPE pairs from halves to neighbors: `LlamaModel.permute` of convert_hf_to_gguf.py."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def add_tokenizer(writer):
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * 3 + [-float(i) for i in range(len(TOKENS) - 3)])
    writer.add_token_types([2, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_logits(name, model, length=40):
    torch.manual_seed(1)
    ids = torch.randint(model.config.vocab_size, (1, length))
    with torch.no_grad():
        logits = rounded(model.eval()(ids).logits[0], 6)
    golden = {
        "transformers": transformers.__version__,
        "input_ids": ids[0].tolist(),
        "logits": logits,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(golden))
    return ids

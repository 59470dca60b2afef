"""Writes small models as GGUF files, as llama.cpp's converter does.

Writes:    crates/part_3_modern/tests/golden/gguf/

    pip install torch transformers accelerate gguf==0.19.0
    python scripts/golden_gguf_models.py

llama, qwen2 and qwen3 hold the tensors of the folders of scripts/golden_modern.py, whose
golden.json has the logits.
llama_3 has biases and, like Llama 3.1's file, the tensor `rope_freqs`: a factor for the frequency
of each pair, in place of the four parameters from which it is computed. Its logits are those of
the original model.
k_quants is quantized like a Q4_K_M file: Q4_K and Q6_K where rows have 256 columns, older formats
elsewhere. Its blocks are random, and its logits are those of transformers on the dequantized file.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from transformers import AutoModelForCausalLM, LlamaConfig

from golden_model import randomize, rounded

GOLDEN = Path(__file__).parents[1] / "crates/part_3_modern/tests/golden"
FOLDER = GOLDEN / "gguf"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOKENS = [
    "<unk>",
    "<s>",
    "</s>",
    "▁",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"▁{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
TOKENS += ["ab", "cd", "▁ab", "▁cd", "abcd", "▁abcd", "ee", "▁ee"]


def gguf_name(name):
    module, kind = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        layer, part = module.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{NAMES[part]}.{kind}"
    return f"{NAMES[module]}.{kind}"


def permute(rows, heads):
    """Moves RoPE pairs from halves to neighbors: `LlamaModel.permute` of convert_hf_to_gguf.py."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def new_writer(name, family, config):
    writer = GGUFWriter(FOLDER / f"{name}.gguf", family)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if head_dim * config.num_attention_heads != config.hidden_size or family == "qwen3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if family == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * 3 + [-float(i) for i in range(len(TOKENS) - 3)])
    writer.add_token_types([2, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_f32(file_name, family, model):
    config = model.config
    writer = new_writer(file_name, family, config)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            is_query = "q_proj" in name
            heads = config.num_attention_heads if is_query else config.num_key_value_heads
            values = permute(values, heads)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(values))
    rope = config.rope_parameters
    if rope["rope_type"] == "llama3":
        # `LlamaModel.generate_extra_tensors` of convert_hf_to_gguf.py
        factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
        context_len, factors = rope["original_max_position_embeddings"], []
        for i in range(0, config.head_dim, 2):
            wavelength = 2 * math.pi * rope["rope_theta"] ** (i / config.head_dim)
            if wavelength < context_len / high:
                factors.append(1.0)
            elif wavelength > context_len / low:
                factors.append(factor)
            else:
                smooth = (context_len / wavelength - low) / (high - low)
                factors.append(1 / ((1 - smooth) / factor + smooth))
        print(file_name, factors)
        writer.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    finish(writer)


def write_logits(name, model):
    torch.manual_seed(1)
    ids = torch.randint(model.config.vocab_size, (1, 40))
    with torch.no_grad():
        logits = rounded(model.eval()(ids).logits[0], 6)
    golden = {
        "transformers": transformers.__version__,
        "input_ids": ids[0].tolist(),
        "logits": logits,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(golden))


def blocks(rng, kind, rows, columns):
    """Random blocks of values with a magnitude of about 0.07."""
    block, size = GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)

    def set_scale(offset, mean):
        values = mean * rng.uniform(0.8, 1.2, (len(data), 1))
        data[:, offset : offset + 2] = values.astype(np.float16).view(np.uint8)

    match kind.name:
        case "Q4_0":
            set_scale(0, 0.015)
        case "Q4_1":
            set_scale(0, 0.015)
            set_scale(2, -0.11)
        case "Q8_0":
            set_scale(0, 0.001)
        case "Q4_K":  # the minimum of a group, also 6 bits, is on average half of its range
            set_scale(0, 3e-4)
            set_scale(2, 2.2e-3)
        case "Q6_K":
            data[:, 192:208] = rng.integers(-32, 32, (len(data), 16)).astype(np.int8).view(np.uint8)
            set_scale(208, 2e-4)
    return data.reshape(rows, -1)


def write_blocks(name):
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=256,
        intermediate_size=32,
        num_hidden_layers=2,
        head_dim=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    writer = new_writer(name, "llama", config)
    rng = np.random.default_rng(0)

    def add(name, kind, rows, columns):
        kind = GGMLQuantizationType[kind]
        writer.add_tensor(f"{name}.weight", blocks(rng, kind, rows, columns), raw_dtype=kind)

    def add_norm(name):
        writer.add_tensor(f"{name}.weight", rng.uniform(0.5, 1.5, 256).astype(np.float32))

    add("token_embd", "Q4_K", 64, 256)
    for layer in ("blk.0.", "blk.1."):
        add_norm(layer + "attn_norm")
        add(layer + "attn_q", "Q4_K", 32, 256)
        add(layer + "attn_k", "Q4_K", 16, 256)
        add(layer + "attn_v", "Q6_K", 16, 256)
        add(layer + "attn_output", "Q4_0", 256, 32)
        add_norm(layer + "ffn_norm")
        add(layer + "ffn_gate", "Q4_K", 32, 256)
        add(layer + "ffn_up", "Q6_K", 32, 256)
        add(layer + "ffn_down", "Q8_0" if layer == "blk.0." else "Q4_1", 256, 32)
    add_norm("output_norm")
    add("output", "Q6_K", 64, 256)
    finish(writer)
    model = AutoModelForCausalLM.from_pretrained(
        FOLDER, gguf_file=f"{name}.gguf", dtype=torch.float32
    )
    assert model.config.head_dim == 8
    write_logits(name, model)


FOLDER.mkdir(exist_ok=True)
assert len(TOKENS) == 64
for family in ("llama", "qwen2", "qwen3"):
    write_f32(
        family, family, AutoModelForCausalLM.from_pretrained(GOLDEN / family, dtype=torch.float32)
    )

torch.manual_seed(0)
llama_3 = LlamaConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=131072,
    head_dim=12,
    attention_bias=True,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    rope_parameters=dict(
        rope_type="llama3",
        rope_theta=200000.0,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    ),
)
model = AutoModelForCausalLM.from_config(llama_3, dtype=torch.float32)
randomize(model, 0.3)
write_f32("llama_3", "llama", model)
write_logits("llama_3", model)
write_blocks("k_quants")

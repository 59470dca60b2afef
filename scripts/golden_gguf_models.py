"""Writes small models as GGUF files, as llama.cpp's converter does.

Writes:    crates/part_3_modern/tests/golden/gguf/

    pip install torch transformers accelerate gguf==0.19.0
    python scripts/golden_gguf_models.py

llama, qwen2, qwen3 and gemma hold the tensors of the folders of scripts/golden_modern.py, whose
golden.json has the logits. The logits of the other files are in a .json beside them.
llama_3 has biases and, like Llama 3.1's file, the tensor `rope_freqs`: a factor for the frequency
of each pair, in place of the four parameters from which it is computed.
smollm3, gemma2 and gemma3 have what llama.cpp does not read from the metadata: layers without RoPE,
layers with full attention beside a window, and the RoPE base of the latter.
gemma3_q8_0 is a Gemma 3 whose matrices are quantized and whose metadata have the last two.
k_quants is quantized like a Q4_K_M file: Q4_K and Q6_K where rows have 256 columns, older formats
elsewhere. Its blocks are random, and its logits are those of transformers on the dequantized file.

scripts/golden_gguf_fused.py writes the files of families with fused matrices or experts.

The names and the metadata of a file follow conversion/llama.py and conversion/gemma.py of
llama.cpp.
"""

import math

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, RopeScalingType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    SmolLM3Config,
)

from golden_gguf_file import (
    FOLDER,
    GOLDEN,
    TOKENS,
    add_tokenizer,
    finish,
    permute,
    write_logits,
)
from golden_model import randomize

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
# Names that differ in Gemma 2 and 3.
SANDWICH_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
# The converter writes the `▁▁` of the published tokenizer as two spaces.
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "  "]
GEMMA_TOKENS += TOKENS[3:51] + TOKENS[-8:]
GEMMA_TYPES = [3, 3, 3, 2, 3, 3, 4, 4] + [1] * 56
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    r"{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim }}"
    r"{{ '<end_of_turn>\n' }}{% endfor %}"
    r"{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def gguf_name(name, family):
    names = NAMES | SANDWICH_NAMES if family in ("gemma2", "gemma3") else NAMES
    module, kind = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        layer, part = module.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{names[part]}.{kind}"
    return f"{names[module]}.{kind}"


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
    if family not in ("gemma", "gemma2"):  # theirs is always 10,000
        rope = config.rope_parameters.get("full_attention", config.rope_parameters)
        writer.add_rope_freq_base(rope["rope_theta"])
    always = family.startswith("gemma") or family == "qwen3"
    if head_dim * config.num_attention_heads != config.hidden_size or always:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if family in ("llama", "smollm3"):
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config.vocab_size)
    if family.startswith("gemma"):
        writer.add_tokenizer_model("llama")
        add_gemma_metadata(writer, family, config)
        return writer
    add_tokenizer(writer)
    return writer


def add_gemma_metadata(writer, family, config):
    """Metadata that only Gemma's files have, and its tokenizer."""
    if family != "gemma":
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if family != "gemma" and config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "gemma3":
        if config.layer_types[1] == "full_attention":  # read, but not written by llama.cpp
            writer.add_sliding_window_pattern(2)
        rope = config.rope_parameters
        if rope["full_attention"]["rope_type"] == "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["full_attention"]["factor"])
        if rope["sliding_attention"]["rope_theta"] != 10000.0:  # older converters never write it
            writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    writer.add_token_list(GEMMA_TOKENS)
    writer.add_token_scores([-1000.0] * 8 + [-float(i) for i in range(56)])
    writer.add_token_types(GEMMA_TYPES)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if family != "gemma":
        writer.add_chat_template(GEMMA_TEMPLATE)


def write_model(file_name, family, model, quantization=None):
    """Writes the tensors as f32, or the matrices quantized, with the model's rounded to it."""
    config = model.config
    writer = new_writer(file_name, family, config)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if quantization and tensor.dim() == 2:
            rows = quantize(tensor.numpy(), quantization)
            tensor.copy_(torch.from_numpy(dequantize(rows, quantization)))
            writer.add_tensor(gguf_name(name, family), rows, raw_dtype=quantization)
            continue
        values = tensor.numpy()
        if family in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
            is_query = "q_proj" in name
            heads = config.num_attention_heads if is_query else config.num_key_value_heads
            values = permute(values, heads)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            values = values + np.float32(1)
        writer.add_tensor(gguf_name(name, family), np.ascontiguousarray(values))
    rope = config.rope_parameters
    if rope.get("rope_type") == "llama3":
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
assert len(TOKENS) == len(GEMMA_TOKENS) == 64
for family in ("llama", "qwen2", "qwen3", "gemma"):
    write_model(
        family, family, AutoModelForCausalLM.from_pretrained(GOLDEN / family, dtype=torch.float32)
    )

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
tiny = dict(
    vocab_size=64,
    hidden_size=8,
    intermediate_size=16,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    head_dim=6,
    bos_token_id=2,
    eos_token_id=1,
    pad_token_id=None,
)
smollm3 = SmolLM3Config(
    **tiny | dict(hidden_size=16, head_dim=4, bos_token_id=1, eos_token_id=2),
    num_hidden_layers=5,
    rope_parameters=dict(rope_type="default", rope_theta=1000.0),
)
# llama.cpp has no metadata for `query_pre_attn_scalar`, which is the head dimension in most models.
gemma2 = Gemma2Config(
    **tiny,
    num_hidden_layers=4,
    query_pre_attn_scalar=6,
    sliding_window=5,
    attn_logit_softcapping=5.0,
    final_logit_softcapping=5.0,
)


def gemma3(sizes, local_base):
    sizes = tiny | sizes
    return Gemma3TextConfig(
        **sizes,
        query_pre_attn_scalar=sizes["head_dim"],
        sliding_window=5,
        final_logit_softcapping=8.0,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=4.0),
            sliding_attention=dict(rope_type="default", rope_theta=local_base),
        ),
    )


blocks_of_32 = dict(
    hidden_size=32,
    head_dim=16,
    intermediate_size=32,
    num_hidden_layers=2,
    sliding_window_pattern=2,
)
q8_0 = GGMLQuantizationType.Q8_0
for name, family, config, length, quantization in [
    ("llama_3", "llama", llama_3, 40, None),
    ("smollm3", "smollm3", smollm3, 24, None),
    ("gemma2", "gemma2", gemma2, 24, None),
    ("gemma3", "gemma3", gemma3(dict(num_hidden_layers=7), 10000.0), 24, None),
    ("gemma3_q8_0", "gemma3", gemma3(blocks_of_32, 50.0), 24, q8_0),
]:
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, 0.3)
    write_model(name, family, model, quantization)
    write_logits(name, model, length)
write_blocks("k_quants")

"""Writes GGUF files of small models with fused matrices or experts, as llama.cpp's converter does.

Writes:    crates/part_3_modern/tests/golden/gguf/, beside the files of golden_gguf_models.py

    pip install torch transformers accelerate safetensors gguf==0.19.0
    python scripts/golden_gguf_fused.py

phi3, gpt2, gpt_neox and mixtral hold the tensors of the folders of scripts/golden_modern.py, whose
golden.json has the logits.
gpt_neox_q5_1 and qwen3_moe_q5_0 have quantized matrices; the logits of transformers, on the rounded
weights, are in a .json beside them. The first is a GPT-NeoX without parallel residuals; the second
divides the weights of its experts by their sum, as llama.cpp does whatever the model does.

The names and the metadata of a file follow phi.py, gpt2.py, gpt_neox.py, llama.py and qwen.py in
conversion/ of llama.cpp. For the limits of the test, the script prints how far the logits are from
those of a model that rounds the inputs of these matrices to 8 bits, 32 with a scale.
"""

import math
import re
import tempfile
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoXConfig, Qwen3MoeConfig

from golden_gguf_file import FOLDER, GOLDEN, add_tokenizer, finish, permute, write_logits
from golden_model import randomize

ARCHITECTURES = {
    "phi3": "phi3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "mixtral": "llama",
    "qwen3_moe": "qwen3moe",
}
NAMES = {
    # Llama's names
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp",
    # GPT-2's
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    # GPT-NeoX's
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
EXPERT = re.compile(r"(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)$")
EXPERT_NAMES = {
    "w1": "ffn_gate_exps",
    "w2": "ffn_down_exps",
    "w3": "ffn_up_exps",
    "gate_proj": "ffn_gate_exps",
    "down_proj": "ffn_down_exps",
    "up_proj": "ffn_up_exps",
}


def new_writer(name, family, config):
    writer = GGUFWriter(FOLDER / f"{name}.gguf", ARCHITECTURES[family])
    n_embd, n_head = config.hidden_size, config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or n_embd // n_head
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(n_embd)
    writer.add_head_count(n_head)
    if family in ("gpt2", "gpt_neox"):
        eps = config.layer_norm_epsilon if family == "gpt2" else config.layer_norm_eps
        writer.add_layer_norm_eps(eps)
        writer.add_feed_forward_length(
            4 * n_embd if family == "gpt2" else config.intermediate_size
        )
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family != "gpt2":  # of GPT-NeoX, llama.cpp reads the base, but its converter leaves it out
        rope = config.rope_parameters
        writer.add_rope_freq_base(rope["rope_theta"])
        if family != "qwen3_moe":
            rotated = int(rope.get("partial_rotary_factor", 1.0) * head_dim)
            writer.add_rope_dimension_count(rotated)
    if family == "gpt_neox":
        writer.add_parallel_residual(config.use_parallel_residual)
    if family == "mixtral":
        writer.add_vocab_size(config.vocab_size)
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if family == "qwen3_moe":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if family == "phi3":
        original = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        writer.add_sliding_window(config.sliding_window or 0)
        for kind in ("long", "short"):
            factors = np.array(rope[f"{kind}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{kind}.weight", factors)
    add_tokenizer(writer)
    return writer


def in_file_order(name, tensor, config):
    """The tensor in the shape and row order of llama.cpp."""
    if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return tensor.T
    if config.model_type == "mixtral" and ("q_proj" in name or "k_proj" in name):
        is_query = "q_proj" in name
        heads = config.num_attention_heads if is_query else config.num_key_value_heads
        return permute(tensor, heads)
    if "query_key_value" in name:
        # `GPTNeoXModel.modify_tensors`: by head, then by part, becomes by part, then by head
        n_head = config.num_attention_heads
        parts = tensor.reshape(n_head, 3, len(tensor) // n_head // 3, *tensor.shape[1:])
        return parts.swapaxes(0, 1).reshape(tensor.shape)
    return tensor


def write_file(file_name, family, config, tensors, quantization=None):
    """Writes the tensors as f32, or the matrices but those of routers and positions quantized."""
    writer = new_writer(file_name, family, config)
    stacks = defaultdict(dict)

    def add(name, values):
        values = np.ascontiguousarray(values)
        if quantization and values.ndim > 1 and "ffn_gate_inp" not in name:
            writer.add_tensor(name, quantize(values, quantization), raw_dtype=quantization)
        else:
            writer.add_tensor(name, values)

    for name, tensor in tensors.items():
        module, kind = name.rsplit(".", 1)
        block = re.match(r"(?:model|transformer|gpt_neox)\.(?:layers|h)\.(\d+)\.", module)
        prefix, part = "", module
        if block:
            prefix, part = f"blk.{block[1]}.", module[block.end() :]
        if expert := EXPERT.match(part):
            stacks[f"{prefix}{EXPERT_NAMES[expert[2]]}.{kind}"][int(expert[1])] = tensor
        else:
            add(f"{prefix}{NAMES[part]}.{kind}", in_file_order(name, tensor, config))
    for name, stack in stacks.items():
        add(name, np.stack([stack[i] for i in range(len(stack))]))
    finish(writer)


def to_8_bits(x):
    """Rounds each 32 numbers to multiples of their largest / 127."""
    blocks = x.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    return ((blocks / scale).round() * scale).reshape(x.shape)


def rounding_error(model, ids):
    """Root mean square difference of the logits if the inputs of quantized matrices are rounded."""
    linear = F.linear

    def rounded_linear(x, weight, bias=None):
        is_router = weight.shape[0] % 32 != 0
        return linear(x if is_router else to_8_bits(x), weight, bias)

    with torch.no_grad():
        expected = model(ids).logits
        F.linear = rounded_linear
        try:
            logits = model(ids).logits
        finally:
            F.linear = linear
    return (logits - expected).square().mean().sqrt().item()


def write_quantized(file_name, family, config, quantization, length, seed=0):
    torch.manual_seed(seed)
    config._attn_implementation = config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, 0.3)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = f"{folder}/model.safetensors"
        tensors = load_file(path)
        write_file(file_name, family, config, tensors, quantization)
        for name, tensor in tensors.items():
            if tensor.ndim == 2 and not name.endswith("mlp.gate.weight"):
                tensors[name] = dequantize(quantize(tensor, quantization), quantization)
        save_file(tensors, path, {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
        )
    ids = write_logits(file_name, model, length)
    print(file_name, "8-bit activations:", rounding_error(model, ids))
    return model, ids


for family in ("phi3", "gpt2", "gpt_neox", "mixtral"):
    folder = GOLDEN / family
    config = AutoConfig.from_pretrained(folder)
    write_file(family, family, config, load_file(folder / "model.safetensors"))

sizes = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)
gpt_neox = GPTNeoXConfig(
    **sizes,
    use_parallel_residual=False,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25),
)
write_quantized("gpt_neox_q5_1", "gpt_neox", gpt_neox, GGMLQuantizationType.Q5_1, length=24)
qwen3_moe = Qwen3MoeConfig(
    **sizes,
    num_key_value_heads=1,
    head_dim=32,
    num_experts=3,
    num_experts_per_tok=2,
    moe_intermediate_size=32,
    norm_topk_prob=True,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0),
)
# With 17 tokens and more for each expert, its product with blocks does not round the activations.
# With this seed, no two experts are so close to each other that rounding exchanges them.
model, ids = write_quantized(
    "qwen3_moe_q5_0", "qwen3_moe", qwen3_moe, GGMLQuantizationType.Q5_0, length=60, seed=29
)
with torch.no_grad():
    routers = model(ids, output_router_logits=True).router_logits
for logits in routers:
    print("tokens per expert:", logits.topk(2).indices.flatten().bincount().tolist())
    best = logits.sort(descending=True).values
    print("smallest lead of a selected expert:", (best[:, 1] - best[:, 2]).min().item())

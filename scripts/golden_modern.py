"""Writes part 3's golden models: a small random model of transformers per family, and its logits.

Usage:     python scripts/golden_modern.py crates/part_3_modern/tests/golden [FAMILY...]
"""

import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

from golden_model import randomize, write_golden

sizes = dict(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)
llama3 = dict(
    rope_type="llama3",
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
# The first text is longer than the original context, the second is not.
longrope = dict(
    rope_type="longrope",
    rope_theta=500.0,
    short_factor=[1.0, 1.1],
    long_factor=[1.5, 3.0],
    original_max_position_embeddings=16,
)
experts = dict(sizes, num_experts_per_tok=2)
# A padding token would get no gradient.
squares = dict(bos_token_id=1, eos_token_id=2, pad_token_id=None, vocab_size=64)
families = {
    "llama": LlamaConfig(**sizes, tie_word_embeddings=True, rope_theta=10000.0),
    # Untied, sharded, with biases, an extended context and an explicit head width.
    "llama_3": LlamaConfig(
        **sizes,
        tie_word_embeddings=False,
        attention_bias=True,
        head_dim=6,
        rope_parameters=dict(rope_theta=500.0, **llama3),
    ),
    "qwen2": Qwen2Config(
        **sizes,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1000.0),
    ),
    "qwen3": Qwen3Config(
        **sizes,
        tie_word_embeddings=False,
        head_dim=8,
        rope_parameters=dict(rope_type="default", rope_theta=1000.0),
    ),
    "mistral": MistralConfig(**sizes, sliding_window=6),
    # With YaRN, and without RoPE in the second layer.
    "smollm3": SmolLM3Config(
        **sizes,
        no_rope_layer_interval=2,
        pad_token_id=0,
        rope_parameters=dict(
            rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16
        ),
    ),
    "phi3": Phi3Config(
        **sizes, rope_parameters=longrope, original_max_position_embeddings=16, pad_token_id=None
    ),
    "gemma": GemmaConfig(**sizes, head_dim=6, pad_token_id=None),
    # A layer with a window and one without; caps that are small enough to matter.
    "gemma2": Gemma2Config(
        **sizes,
        head_dim=6,
        pad_token_id=None,
        query_pre_attn_scalar=10,
        sliding_window=6,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=5.0,
    ),
    # With other frequencies in the layer with a window.
    "gemma3": Gemma3TextConfig(
        **sizes,
        head_dim=6,
        pad_token_id=None,
        query_pre_attn_scalar=10,
        sliding_window=6,
        sliding_window_pattern=2,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=4.0),
            sliding_attention=dict(rope_type="default", rope_theta=10.0),
        ),
    ),
    "gpt2": GPT2Config(**squares, n_positions=64, n_embd=16, n_layer=2, n_head=4),
    "opt": OPTConfig(
        **squares,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=24,
        max_position_embeddings=64,
    ),
    # As opt-350m: post-norm, and embeddings of fewer channels.
    "opt_350m": OPTConfig(
        **squares,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=24,
        max_position_embeddings=64,
        do_layer_norm_before=False,
        word_embed_proj_dim=8,
    ),
    "gpt_neox": GPTNeoXConfig(
        **squares,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=64,
        rope_parameters=dict(
            rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5
        ),
    ),
    "mixtral": MixtralConfig(**experts, num_local_experts=3),
    "qwen3_moe": Qwen3MoeConfig(**experts, num_experts=3, moe_intermediate_size=12, head_dim=8),
}
folder = Path(sys.argv[1])
only = sys.argv[2:]
for name, config in families.items():
    if only and name not in only:
        continue
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    randomize(model, 0.3)
    model.save_pretrained(folder / name, max_shard_size="10KB" if name == "llama_3" else "1GB")
    write_golden(folder / name / "golden.json", model, (40, 7), digits=6)

"""Writes part 3's golden models: a small random model of transformers per family, and its logits.

Usage:     python scripts/golden_modern.py crates/part_3_modern/tests/golden
"""

import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
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
}
folder = Path(sys.argv[1])
for name, config in families.items():
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    randomize(model, 0.3)
    model.save_pretrained(folder / name, max_shard_size="10KB" if name == "llama_3" else "1GB")
    write_golden(folder / name / "golden.json", model, (40, 7), digits=6)

"""Writes the golden RoPE frequencies: transformers' for each kind of scaling and length of text.

    python scripts/golden_rope.py crates/model_io/tests/golden/rope.json

Each case is what a `config.json` has beside `sizes`, the length of a text, and the frequencies
(D/2, f32) and the attention factor. Made with transformers 5.23.0.
"""

import json
import sys
from pathlib import Path

import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SIZES = dict(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    head_dim=32,
    max_position_embeddings=4096,
)
YARN = dict(rope_type="yarn", factor=4.0)
LLAMA_3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
CHANGES = [
    {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    {"rope_scaling": {"type": "linear", "factor": 2.5}, "rope_theta": 5e5},
    {"rope_scaling": {"type": "dynamic", "factor": 4.0}},
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}},
    {"rope_scaling": {**YARN, "original_max_position_embeddings": 1024}, "rope_theta": 1e6},
    {"rope_scaling": {"type": "yarn", "factor": 4.0}},  # original length: the context
    {"rope_parameters": {**YARN, "rope_theta": 5e5, "original_max_position_embeddings": 512}},
    {"rope_scaling": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0}},
    {"rope_scaling": {**YARN, "beta_fast": None, "attention_factor": 1.25}},
    {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}},
    {"rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 0}},
    {"rope_scaling": {**YARN, "factor": 0.5}},
    {"rope_scaling": {**YARN, "original_max_position_embeddings": 8}},
    {"rope_scaling": {**YARN, "original_max_position_embeddings": 4}},
    {"rope_scaling": {**LLAMA_3, "original_max_position_embeddings": 512}, "rope_theta": 5e5},
]

cases = []
for change in CHANGES:
    config = LlamaConfig(**SIZES, **json.loads(json.dumps(change)))
    compute = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]]
    is_dynamic = config.rope_parameters["rope_type"] == "dynamic"
    for text_len in [100, 4096, 10000] if is_dynamic else [10000]:
        inv_freq, attention_factor = compute(config, "cpu", seq_len=text_len)
        case = {"config": change, "text_len": text_len, "inv_freq": inv_freq.tolist()}
        cases.append({**case, "attention_factor": attention_factor})
lines = ",\n".join(json.dumps(case) for case in cases)
header = f'"transformers": "{transformers.__version__}", "sizes": {json.dumps(SIZES)}'
Path(sys.argv[1]).write_text(f'{{{header}, "cases": [\n{lines}\n]}}\n')

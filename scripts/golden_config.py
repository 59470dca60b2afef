"""Writes part 3's golden configs: how transformers reads `config.json` files with unusual keys.

    python scripts/golden_config.py crates/model_io/tests/golden/configs.json

Each case is a `config.json` (to be merged with `sizes`) with missing, null or odd keys, and the
resulting properties of the model, or an error if transformers rejects it. Windows are listed per
layer. Made with transformers 5.23.0.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
SIZES = dict(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=32,
    pad_token_id=0,  # SmolLM3's default is larger than the vocabulary
)
LLAMA_3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0)
CHANGES = [
    {},
    *(
        {key: None}
        for key in [
            "head_dim",
            "num_key_value_heads",
            "sliding_window",
            "layer_types",
            "rope_scaling",
        ]
    ),
    {"head_dim": 6},
    {"num_key_value_heads": 4},
    {"num_key_value_heads": 3},
    {"sliding_window": 6},
    {"use_sliding_window": True},
    {"use_sliding_window": True, "max_window_layers": 0},
    {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 6},
    {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": None},
    {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 6},
    {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 6},
    {"sliding_window": 6, "layer_types": ["full_attention", "full_attention"]},
    {
        "sliding_window": 6,
        "layer_types": ["full_attention", "full_attention"],
        "use_sliding_window": True,
        "max_window_layers": 0,
    },
    {
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "sliding_attention"],
        "use_sliding_window": True,
    },
    {
        "sliding_window": 6,
        "layer_types": ["full_attention", "sliding_attention"],
        "use_sliding_window": True,
    },
    {"attention_bias": True},
    {"tie_word_embeddings": True},
    {"rms_norm_eps": 1e-5},
    {"max_position_embeddings": 512},
    {"rope_theta": 500.0},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 600.0}, "rope_theta": 500.0},
    {"rope_parameters": {"rope_theta": 600.0}},
    {"rope_scaling": {"type": "default"}, "rope_theta": 500.0},
    {
        "rope_scaling": {"rope_type": "llama3", **LLAMA_3, "original_max_position_embeddings": 16},
        "rope_theta": 500.0,
    },
    {"rope_scaling": LLAMA_3, "max_position_embeddings": 512},
    {
        "rope_scaling": {**LLAMA_3, "original_max_position_embeddings": 16},
        "rope_parameters": {"rope_type": "default", "rope_theta": 600.0},
    },
    {"rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 600.0}},
    {"rope_parameters": {"rope_type": "llama3", "factor": 4.0}},
]


def model_properties(config: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        theirs = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(theirs)
    attention, layers = model.model.layers[0].self_attn, model.config.num_hidden_layers
    if config["model_type"] == "llama":
        windows = [None] * layers
    elif config["model_type"] == "mistral":
        windows = [theirs.sliding_window] * layers
    else:
        windows = [layer.self_attn.sliding_window for layer in model.model.layers]
        sliding = [kind == "sliding_attention" for kind in theirs.layer_types]
        if any(sliding) and theirs.sliding_window is None:
            raise ValueError("a sliding-window layer without a window size")
    head_dim = attention.head_dim
    queries, keys = (
        attention.q_proj.weight.shape[0] // head_dim,
        attention.k_proj.weight.shape[0] // head_dim,
    )
    if queries % keys != 0:
        raise ValueError("the number of query heads is not a multiple of the number of key heads")
    return {
        "head_dim": head_dim,
        "n_kv_head": keys,
        "windows": windows,
        "context": theirs.max_position_embeddings,
        "qkv_bias": attention.q_proj.bias is not None,
        "o_bias": attention.o_proj.bias is not None,
        "qk_norm": hasattr(attention, "q_norm"),
        "eps": model.model.norm.variance_epsilon,
        "tied": bool(theirs.tie_word_embeddings),
        "rope": theirs.rope_parameters,
    }


cases = []
for family in ["llama", "mistral", "qwen2", "qwen3", "smollm3"]:
    for change in CHANGES:
        case = {"config": {"model_type": family, **change}}
        try:
            case["found"] = model_properties({**SIZES, **case["config"]})
        except (ValueError, KeyError) as error:
            case["error"] = " ".join(str(error).split())[:200]
        except (TypeError, StrictDataclassFieldValidationError):
            continue  # this version of transformers fails on this null
        cases.append(case)
lines = ",\n".join(json.dumps(case) for case in cases)
header = f'"transformers": "{transformers.__version__}", "sizes": {json.dumps(SIZES)}'
Path(sys.argv[1]).write_text(f'{{{header}, "cases": [\n{lines}\n]}}\n')

"""Writes model_io's golden folders whose chat markers stand outside tokenizer.json, and token ids.

    python scripts/golden_added_tokens.py crates/model_io/tests/golden/added_tokens.json
"""

import json
import sys
import tempfile
from pathlib import Path

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

TEXTS = [
    "<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\n",
    "a <think> b <tool_call> c",
    "<s>a</s> <pad> <mask> <image>",
    "HI <Upper> x",
]

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
base = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(letters)}, merges=[]))
base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
base.decoder = decoders.ByteLevel()
base.add_tokens([AddedToken("</s>", special=True), AddedToken("<think>", normalized=False)])

n = base.get_vocab_size()
flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}


def token(content: str, special: bool, **changes: bool) -> dict:
    return {"content": content, **flags, "special": special, **changes}


CASES = {
    "added_tokens_decoder": {
        "tokenizer_config.json": {
            "eos_token": "<|im_end|>",
            "added_tokens_decoder": {
                str(n): token("<|im_start|>", True),
                str(n + 1): token("<|im_end|>", True, lstrip=True),
                str(n + 2): token("<tool_call>", False, rstrip=True),
            },
        }
    },
    "flags of added_tokens_decoder replace those of tokenizer.json": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                str(n - 2): token("</s>", True),
                str(n - 1): token("<think>", True, lstrip=True, rstrip=True),
            }
        }
    },
    "ids that tokenizer.json would not give": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                str(n + 40): token("<|im_end|>", True),
                str(n + 7): token("<|im_start|>", True),
            }
        }
    },
    "lists of further special tokens": {
        "tokenizer_config.json": {
            "bos_token": "<s>",
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        }
    },
    "extra special tokens with names": {
        "tokenizer_config.json": {
            "eos_token": "</s>",
            "extra_special_tokens": {"image_token": "<image>", "turn_token": "<|im_start|>"},
            "mask_token": {"__type": "AddedToken", **token("<mask>", True, lstrip=True)},
        }
    },
    "special_tokens_map.json": {
        "tokenizer_config.json": {"eos_token": "</s>"},
        "special_tokens_map.json": {
            "eos_token": {"content": "<|im_end|>", **flags},
            "pad_token": "<pad>",
            "additional_special_tokens": ["<|im_start|>"],
        },
    },
    "special_tokens_map.json is ignored beside added_tokens_decoder": {
        "tokenizer_config.json": {"added_tokens_decoder": {str(n): token("<|im_start|>", True)}},
        "special_tokens_map.json": {"eos_token": "<|im_end|>"},
    },
    "added_tokens.json": {
        "tokenizer_config.json": {"eos_token": "<|im_end|>"},
        "added_tokens.json": {
            "<tool_call>": n + 2,
            "<|im_end|>": n + 1,
            "<|im_start|>": n,
            "<think>": n - 1,
        },
    },
    "tokens that are not special": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                str(n): token("<Upper>", False, normalized=True),
                str(n + 1): token("<|im_end|>", False),
            }
        }
    },
}

golden = {
    "transformers": transformers.__version__,
    "tokenizer.json": json.loads(base.to_str()),
    "texts": TEXTS,
    "cases": [],
}
for name, files in CASES.items():
    with tempfile.TemporaryDirectory() as folder:
        base.save(f"{folder}/tokenizer.json")
        for file, content in files.items():
            Path(folder, file).write_text(json.dumps(content))
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    added = tokenizer.added_tokens_decoder
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    golden["cases"].append(
        {
            "name": name,
            "files": files,
            "ids": encoded,
            "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded],
            "special": sorted(id for id, token in added.items() if token.special),
            "eos": tokenizer.eos_token_id,
        }
    )
Path(sys.argv[1]).write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")

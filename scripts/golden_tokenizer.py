"""Writes part 3's golden tokenizers: the (shortened) tokenizer of a GGUF file, and token ids.

    python scripts/golden_tokenizer.py SmolLM2-135M-Instruct.Q4_1.gguf \\
        crates/model_io/tests/golden/tokenizers.json

The byte-level tokenizers have the first merges of the given model; the sentencepiece tokenizer is
trained here.
"""

import json
import sys
from pathlib import Path

import transformers
from gguf import GGUFReader
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.integrations.gguf import convert_gguf_tokenizer

TEXTS = [
    "",
    "Hello, world!",
    "  two spaces, 3.14159 and 2024-05-17, x1y22z333",
    "tabs\tand\n\nnewlines \r\n  end  ",
    "नमस्ते दुनिया, यह १२३ है।",
    "café naïve e\u0301 ﬁ ½ ²",
    "emoji 😀👩‍👩‍👧 and 🇮🇳",
    'fn main() {\n    println!("{}", a[0] += 1);\n}',
    "<|im_start|>user\nwhat is <|im_end|> ?<|im_end|>\n<|im_start|>assistant\n",
    "<s>a</s> b <think> c",
    "don't WE'LL they're 'tis",
    "中文字符 and 日本語",
    "the end of the thing, and the other one of the children that she said they were there",
]

reader = GGUFReader(sys.argv[1])
field = lambda name: reader.fields[f"tokenizer.ggml.{name}"].contents()
merges = field("merges")[:300]
letters = list(bytes_to_unicode().values())
tokens = (
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"]
    + letters
    + ["".join(m.split(" ")) for m in merges]
)
tokens = list(dict.fromkeys(tokens))
byte_level = {
    "model": "gpt2",
    "tokens": tokens,
    "merges": merges,
    "token_type": [3, 3, 3, 4] + [1] * (len(tokens) - 4),
    "bos": 1,
    "eos": 2,
}

training = Tokenizer(models.BPE())
training.pre_tokenizer = pre_tokenizers.Metaspace()
lines = Path("data/tiny.txt").read_text().split("\n")[:400]
training.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=260, show_progress=False))
pieces = sorted(training.get_vocab(), key=training.get_vocab().get)
multi = [piece for piece in pieces if len(piece) > 1]
single = [piece for piece in pieces if len(piece) == 1]
tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + multi + single
sentencepiece = {
    "model": "llama",
    "tokens": tokens,
    # Some scores are equal, as in real files. Those of control tokens and bytes are 0.
    "scores": [0.0] * 259
    + [-float(i // 2) for i in range(len(multi))]
    + [-float(1000 + i) for i in range(len(single))],
    "token_type": [2, 3, 3] + [6] * 256 + [1] * (len(multi) + len(single)),
    "bos": 1,
    "eos": 2,
}


def reference(parts: dict) -> Tokenizer:
    names = {"model": "tokenizer_type", "pre": "pre_tokenizer_type"}
    tokenizer, _ = convert_gguf_tokenizer(
        "llama", {names.get(name, name): value for name, value in parts.items()}
    )
    # Corrections where transformers differs from the published tokenizer.json or from llama.cpp.
    if parts.get("pre") == "smollm":  # digits are split
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    if parts["model"] == "llama":  # a space is prepended even to a text that starts with one
        spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Sequence(spaces), None
    if parts.get("pre") == "qwen2":  # Unicode normalization form NFC
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def encode_texts(parts: dict) -> list:
    tokenizer = reference(parts)
    result = []
    for text in TEXTS:
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        as_text = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        result.append({"text": text, "ids": ids, "as_text": as_text, "decoded": decoded})
    return result


golden = {
    "transformers": transformers.__version__,
    "byte_level": byte_level,
    "sentencepiece": sentencepiece,
    "cases": [],
}
for pre in ["default", "gpt-2", "smollm", "qwen2", "llama-bpe"]:
    golden["cases"].append(
        {"parts": "byte_level", "pre": pre, "answers": encode_texts({**byte_level, "pre": pre})}
    )
golden["cases"].append(
    {"parts": "sentencepiece", "pre": None, "answers": encode_texts(sentencepiece)}
)
Path(sys.argv[2]).write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")

"""Writes part 4's golden token ids: those of GPT-2's tokenizer in transformers for a few texts.

    python scripts/golden_gpt2_tokens.py gpt2-encoder.json gpt2-merges.txt \\
        crates/part_4_scaling/tests/golden/gpt2_tokens.json

Made with: tokenizers 0.23.3, transformers 5.23.0
"""

import json
import sys
from pathlib import Path

from transformers import GPT2Tokenizer

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two spaces, 3.14159 and 2024-05-17, x1y22z333",
    "tabs\tand\n\nnewlines \r\n  end  ",
    "नमस्ते दुनिया, यह १२३ है।",
    "café naïve e\u0301 ﬁ ½ ² Ⅷ",
    "emoji 😀👩‍👩‍👧 and 🇮🇳",
    'fn main() {\n    println!("{}", a[0] += 1);\n}',
    "don't WE'LL they're 'tis ''' I've'd",
    "中文字符 and 日本語\u3000全角\u00a0nbsp\u2003em\u0085next\u200bzero",
    "SolidGoldMagikarp aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ================================",
    "antidisestablishmentarianism, Supercalifragilisticexpialidocious",
    "a<|endoftext|>b <|endoftext|>",
]

encoder, merges, out = sys.argv[1:]
merges = [tuple(line.split()) for line in Path(merges).read_text().split("\n")[1:] if line]
tokenizer = GPT2Tokenizer(vocab=json.loads(Path(encoder).read_text()), merges=merges)
cases = [{"text": text, "ids": tokenizer.encode(text)} for text in TEXTS]
assert cases[2]["ids"] == [15496, 11, 995, 0], cases[2]
Path(out).write_text(json.dumps({"cases": cases}, ensure_ascii=False, indent=1) + "\n")

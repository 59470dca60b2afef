"""Perplexity of a GGUF model in transformers, on the first 280 tokens of a story.

    pip install torch transformers gguf accelerate
    python scripts/reference_perplexity.py MODEL.gguf STORIES.txt

The story is the first one in STORIES.txt (separated by <|endoftext|>, stripped) with more than
1,150 bytes. transformers dequantizes the file, so this is the model in f32 arithmetic. The results
are in crates/part_3_modern/tests/perplexity.rs, with the sum of the token ids, which verifies that
both sides use the same tokens.

Made with: torch 2.15.0, transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0
"""

import math
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 280

path, stories = Path(sys.argv[1]), Path(sys.argv[2])
# The file is an excerpt, so its last bytes may be an incomplete character.
stories = stories.read_bytes().decode("utf-8", errors="ignore").split("<|endoftext|>")
story = next(story.strip() for story in stories if len(story.strip().encode()) > 1150)
file = {"gguf_file": path.name, "local_files_only": True}
tokenizer = AutoTokenizer.from_pretrained(path.parent, **file)
model = AutoModelForCausalLM.from_pretrained(path.parent, **file, dtype=torch.float32).eval()
ids = torch.tensor([tokenizer(story).input_ids[:TOKENS]])
assert ids.shape[1] == TOKENS
with torch.no_grad():
    perplexity = math.exp(model(ids, labels=ids).loss.item())
print(f"perplexity {perplexity:.5f} over {TOKENS} tokens whose sum is {ids.sum().item()}")

"""What transformers makes of a GGUF model: the perplexity of the first 280 tokens of a story.

    pip install torch transformers gguf accelerate
    python scripts/reference_perplexity.py MODEL.gguf STORIES.txt

The story is the first of STORIES.txt (separated by <|endoftext|>, blanks around it removed) with over 1,150 bytes.
transformers takes the blocks of the file apart, so this is the model in f32 arithmetic. The numbers stand in
crates/part_3_modern/tests/perplexity.rs, with the tokens' sum, which shows whether both read the same tokens.

Made with: torch 2.15.0, transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0
"""

import math
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 280

path, stories = Path(sys.argv[1]), Path(sys.argv[2])
# Cut from a longer file, so that its last bytes may be half a character.
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

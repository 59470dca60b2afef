"""Writes part 2's golden model: a random GPT-2 of transformers and its logits.

Usage:     python scripts/golden_gpt2.py crates/part_2_tiny_gpt/tests/golden/gpt2
"""

import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from golden_model import randomize, write_golden

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=256,
    n_positions=24,
    n_embd=16,
    n_layer=2,
    n_head=2,
    bos_token_id=None,
    eos_token_id=None,
)
model = GPT2LMHeadModel(config).eval()
randomize(model, 0.2)
folder = Path(sys.argv[1])
model.save_pretrained(folder)
write_golden(folder / "golden.json", model, (24, 7), digits=7)

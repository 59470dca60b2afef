"""Writes part 2's golden model: a random GPT-2 of transformers, and what it answers.

    python scripts/golden_gpt2.py crates/part_2_tiny_gpt/tests/golden/gpt2

Every parameter, biases and norms too, gets a value that matters, so that a swapped or transposed tensor shows.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(vocab_size=256, n_positions=24, n_embd=16, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None)
model = GPT2LMHeadModel(config).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        around = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
        parameter.copy_(around + 0.2 * torch.randn_like(parameter))

folder = Path(sys.argv[1])
model.save_pretrained(folder)
sequences = [torch.randint(256, (1, length)) for length in (24, 7)]
answers = [model(ids).logits[0] for ids in sequences]
loss = model(sequences[0], labels=sequences[0]).loss
loss.backward()
golden = {
    "transformers": transformers.__version__,
    "sequences": [
        {"input_ids": ids[0].tolist(), "logits": [[float(f"{x:.7g}") for x in row] for row in logits.tolist()]}
        for ids, logits in zip(sequences, answers)
    ],
    "loss": loss.item(),
    "grad_norms": {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()},
}
(folder / "golden.json").write_text(json.dumps(golden))

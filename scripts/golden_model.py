"""Random models of transformers and their golden values, for the other golden_*.py scripts."""

import json

import torch
import transformers


def randomize(model, std):
    """Sets all parameters to sizable values, so that a swapped tensor changes the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # GPT-2 names its norms `ln_`.
            is_scale = "norm" in name or (".ln_" in name and name.endswith("weight"))
            parameter.copy_((1.0 if is_scale else 0.0) + std * torch.randn_like(parameter))


def rounded(logits, digits):
    return [[float(f"{x:.{digits}g}") for x in row] for row in logits.tolist()]


def write_golden(path, model, lengths, digits):
    """Writes random sequences with logits; of the first also the loss and the gradient norms."""
    sequences = [torch.randint(model.config.vocab_size, (1, length)) for length in lengths]
    all_logits = [model(ids).logits[0] for ids in sequences]
    loss = model(sequences[0], labels=sequences[0]).loss
    loss.backward()
    golden = {
        "transformers": transformers.__version__,
        "sequences": [
            {"input_ids": ids[0].tolist(), "logits": rounded(logits, digits)}
            for ids, logits in zip(sequences, all_logits)
        ],
        "loss": loss.item(),
        "grad_norms": {
            name: parameter.grad.norm().item() for name, parameter in model.named_parameters()
        },
    }
    path.write_text(json.dumps(golden))

"""Random models of transformers as golden files, and what they answer, for the golden_*.py scripts beside this file."""

import json

import torch
import transformers


def randomize(model, spread):
    """Gives every parameter, biases and norms too, a value that matters, so that a swapped or transposed tensor shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = "norm" in name or (".ln_" in name and name.endswith("weight"))  # the latter is GPT-2's name
            parameter.copy_((1.0 if scale else 0.0) + spread * torch.randn_like(parameter))


def rounded(logits, digits):
    return [[float(f"{x:.{digits}g}") for x in row] for row in logits.tolist()]


def write_answers(path, model, lengths, digits):
    """Random sequences of these lengths and their logits; the loss of the first, and the norms of its gradients."""
    sequences = [torch.randint(model.config.vocab_size, (1, length)) for length in lengths]
    answers = [model(ids).logits[0] for ids in sequences]
    loss = model(sequences[0], labels=sequences[0]).loss
    loss.backward()
    golden = {
        "transformers": transformers.__version__,
        "sequences": [
            {"input_ids": ids[0].tolist(), "logits": rounded(logits, digits)} for ids, logits in zip(sequences, answers)
        ],
        "loss": loss.item(),
        "grad_norms": {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()},
    }
    path.write_text(json.dumps(golden))

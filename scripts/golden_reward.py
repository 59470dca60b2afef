"""Writes the golden files of the reward model and its losses, with transformers and PyTorch.

Writes:    crates/part_7_reward/tests/golden/llama/* and golden.json
Usage:     python golden_reward.py       (torch, transformers)

The reward model is the small random Llama that golden_modern.py writes for part 3, opened as
LlamaForSequenceClassification with one label; the score head and pad_token_id are new. Two pairs of
texts of different length, right-padded, give rewards and both losses with the centering term. For
each parameter's gradient, the file holds the norm and, as a checksum of signs and positions, the
sum weighted by cos(0), cos(1), cos(2), ..
"""

import json
import pathlib
import shutil

import torch
import transformers
from torch.nn.functional import margin_ranking_loss, softplus

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
OUT = CRATES / "part_7_reward" / "tests" / "golden"
PAD, MARGIN, CENTERING = 3, 1.0, 0.1
CHOSEN = [[5, 9, 2, 30, 7, 11, 4], [8, 1, 40, 22]]
REJECTED = [[5, 9, 2, 30, 18], [8, 1, 40, 33, 21, 6]]


def main():
    torch.manual_seed(7)
    model = transformers.LlamaForSequenceClassification.from_pretrained(
        CRATES / "part_3_modern" / "tests" / "golden" / "llama",
        num_labels=1,
        pad_token_id=PAD,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    with torch.no_grad():
        model.score.weight.copy_(torch.randn_like(model.score.weight))
    if (OUT / "llama").exists():
        shutil.rmtree(OUT / "llama")
    model.save_pretrained(OUT / "llama")

    texts = CHOSEN + REJECTED
    longest = max(map(len, texts))
    ids = torch.tensor([text + [PAD] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])

    def rewards():
        return model(input_ids=ids, attention_mask=mask).logits[:, 0]

    def with_gradients(loss_fn):
        model.zero_grad()
        chosen, rejected = rewards().chunk(2)
        loss = loss_fn(chosen, rejected) + CENTERING * (chosen + rejected).square().mean()
        loss.backward()
        grads = {
            name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None
        }
        return {
            "loss": loss.item(),
            "grads": {name: checksum(grad) for name, grad in grads.items()},
        }

    def checksum(grad):
        positions = torch.arange(grad.numel(), dtype=grad.dtype)
        return {"norm": grad.norm().item(), "shadow": (grad * positions.cos()).sum().item()}

    def margin(chosen, rejected):
        return margin_ranking_loss(chosen, rejected, torch.ones_like(chosen), margin=MARGIN)

    def on_rewards(loss_fn):
        chosen = torch.tensor([2.25, 3.0, 0.0, 1e4, -1e4], requires_grad=True)
        rejected = torch.tensor([1.0, 1.5, 0.0, -1e4, 1e4], requires_grad=True)
        loss = loss_fn(chosen, rejected)
        loss.backward()
        return {
            "loss": loss.item(),
            "chosen": chosen.grad.tolist(),
            "rejected": rejected.grad.tolist(),
        }

    def bradley_terry(chosen, rejected):
        return softplus(rejected - chosen).mean()

    golden = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "margin": MARGIN,
        "centring": CENTERING,
        "scores": rewards().tolist(),
        "bradley_terry": with_gradients(bradley_terry),
        "margin_ranking": with_gradients(margin),
        "on_scores": {
            "bradley_terry": on_rewards(bradley_terry),
            "margin_ranking": on_rewards(margin),
        },
    }
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


main()

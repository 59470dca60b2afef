"""Makes the golden files of the reward model and its losses, with transformers and PyTorch.

Makes:     crates/part_7_reward/tests/golden/llama/* and golden.json
Usage:     python golden_reward.py       (torch, transformers)

The reward model is the small random Llama that golden_modern.py made for part 3, opened as LlamaForSequenceClassification
with one label; of its own are a score head and a pad_token_id. Two pairs of texts of different length, padded on the right,
give scores, both losses with the centring term, and of each parameter's gradient the norm and the sum weighted by the cosines of
0, 1, 2, .., which signs and places change.
"""

import json
import pathlib
import shutil

import torch
import transformers
from torch.nn.functional import margin_ranking_loss, softplus

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
OUT = CRATES / "part_7_reward" / "tests" / "golden"
PAD, MARGIN, CENTRING = 3, 1.0, 0.1
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
    real = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])

    def scores():
        return model(input_ids=ids, attention_mask=real).logits[:, 0]

    def with_gradients(loss_of):
        model.zero_grad()
        chosen, rejected = scores().chunk(2)
        loss = loss_of(chosen, rejected) + CENTRING * (chosen + rejected).square().mean()
        loss.backward()
        grads = {name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None}
        return {"loss": loss.item(), "grads": {name: seen(grad) for name, grad in grads.items()}}

    def seen(grad):
        places = torch.arange(grad.numel(), dtype=grad.dtype)
        return {"norm": grad.norm().item(), "shadow": (grad * places.cos()).sum().item()}

    def margin(chosen, rejected):
        return margin_ranking_loss(chosen, rejected, torch.ones_like(chosen), margin=MARGIN)

    def on_scores(loss_of):
        chosen = torch.tensor([2.25, 3.0, 0.0, 1e4, -1e4], requires_grad=True)
        rejected = torch.tensor([1.0, 1.5, 0.0, -1e4, 1e4], requires_grad=True)
        loss = loss_of(chosen, rejected)
        loss.backward()
        return {"loss": loss.item(), "chosen": chosen.grad.tolist(), "rejected": rejected.grad.tolist()}

    def bradley_terry(chosen, rejected):
        return softplus(rejected - chosen).mean()

    golden = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "margin": MARGIN,
        "centring": CENTRING,
        "scores": scores().tolist(),
        "bradley_terry": with_gradients(bradley_terry),
        "margin_ranking": with_gradients(margin),
        "on_scores": {"bradley_terry": on_scores(bradley_terry), "margin_ranking": on_scores(margin)},
    }
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


main()

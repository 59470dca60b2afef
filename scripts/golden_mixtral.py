"""Writes part 5's golden files: a small random Mixtral, its logits, and losses of random routers.

    python scripts/golden_mixtral.py crates/part_5_moe/tests/golden

The model and the losses are those of transformers.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, MixtralConfig
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from transformers.models.switch_transformers.modeling_switch_transformers import router_z_loss_func

from golden_model import randomize, rounded


def golden_values(model, lengths):
    """Like golden_model.write_golden, with the gradient norms of each expert's matrices."""
    sequences = [torch.randint(model.config.vocab_size, (1, length)) for length in lengths]
    logits = [model(ids).logits[0] for ids in sequences]
    out = model(sequences[0], labels=sequences[0], output_router_logits=True)
    lm_loss = model(sequences[0], labels=sequences[0]).loss
    lm_loss.backward()
    norms = {}
    for name, parameter in model.named_parameters():
        name = name.replace(".mlp.", ".block_sparse_moe.")
        if name.endswith("experts.gate_up_proj"):
            for i, grad in enumerate(parameter.grad):
                gate, up = grad.chunk(2)
                norms[name.replace("gate_up_proj", f"{i}.w1.weight")] = gate.norm().item()
                norms[name.replace("gate_up_proj", f"{i}.w3.weight")] = up.norm().item()
        elif name.endswith("experts.down_proj"):
            for i, grad in enumerate(parameter.grad):
                norms[name.replace("down_proj", f"{i}.w2.weight")] = grad.norm().item()
        else:
            norms[name] = parameter.grad.norm().item()
    return {
        "transformers": transformers.__version__,
        "sequences": [
            {"input_ids": ids[0].tolist(), "logits": rounded(l, 6)}
            for ids, l in zip(sequences, logits)
        ],
        "loss": lm_loss.item(),
        "aux_loss_of_all_layers": out.aux_loss.item(),
        "router_logits": [rounded(layer, 6) for layer in out.router_logits],
        "grad_norms": norms,
    }


def losses():
    """Auxiliary losses of one layer. transformers divides the counts by N, not by N K."""
    cases = []
    for n, e, k, padded in [(32, 4, 1, 0), (40, 4, 2, 0), (24, 8, 3, 0), (30, 4, 2, 11)]:
        logits = 2 * torch.randn(n, e) + torch.randn(e)
        logits = torch.tensor(rounded(logits, 6)).requires_grad_()
        mask = torch.ones(1, n)
        if padded:
            mask[0, n - padded :] = 0
        aux = load_balancing_loss_func((logits,), e, k, mask if padded else None)
        aux.backward()
        z = router_z_loss_func(logits[None].detach()[:, : n - padded])
        cases.append(
            {
                "top_k": k,
                "logits": logits.tolist(),
                "real": [bool(x) for x in mask[0]],
                "load_balancing_loss_times_k": aux.item(),
                "gradient_times_k": rounded(logits.grad, 7),
                "router_z_loss": z.item(),
            }
        )
    return cases


folder = Path(sys.argv[1])
torch.manual_seed(0)
config = MixtralConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    num_local_experts=4,
    num_experts_per_tok=2,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
    rope_parameters=dict(rope_type="default", rope_theta=1000.0),
)
config._attn_implementation = "eager"
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
randomize(model, 0.3)
model.save_pretrained(folder / "mixtral")
(folder / "mixtral" / "golden.json").write_text(json.dumps(golden_values(model, (40, 7))))
(folder / "losses.json").write_text(json.dumps(losses()))

"""Numbers for part 8's tests: the objective of PPO by PyTorch, with autograd's gradients.

The formulas are TRL's and CleanRL's as their papers have them, written out here in a few lines of PyTorch in float64, on random
inputs with padding on the right. Run: python scripts/golden_ppo.py; writes crates/part_8_ppo/tests/golden/objective.json.
"""

import json
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(8)
R, T, V = 4, 6, 7
lengths = torch.tensor([6, 3, 1, 4])
cut = torch.tensor([True, False, False, True])
mask = (torch.arange(T)[None, :] < lengths[:, None]).double()

logits = (2 * torch.randn(R, T, V)).requires_grad_()
tokens = torch.randint(0, V, (R, T))
values = torch.randn(R, T).requires_grad_()
old_values = values.detach() + 0.3 * torch.randn(R, T)
bootstrap = torch.where(cut, torch.randn(R), torch.zeros(R))
scores = torch.randn(R)
gamma, lam, price, clip, value_clip, c_v, c_e = 0.97, 0.9, 0.05, 0.2, 0.2, 0.5, 0.01

log_all = torch.log_softmax(logits, -1)
log_probs = log_all.gather(-1, tokens[..., None])[..., 0]
old = log_probs.detach() + 0.2 * torch.randn(R, T)
reference = log_probs.detach() + 0.5 * torch.randn(R, T)


def mean(x):
    return (x * mask).sum() / mask.sum()


d = old - reference
estimates = {"k1": d, "abs-k1": d.abs(), "k2": d**2 / 2, "k3": torch.exp(-d) - 1 + d}
rewards = -price * estimates["k1"]
rewards[torch.arange(R), lengths - 1] += scores
rewards = rewards * mask

advantages = torch.zeros(R, T)
for r in range(R):
    carry, following = 0.0, bootstrap[r]
    for t in reversed(range(int(lengths[r]))):
        delta = rewards[r, t] + gamma * following - old_values[r, t]
        carry = delta + gamma * lam * carry
        advantages[r, t], following = carry, old_values[r, t]
returns = (advantages + old_values) * mask
center = mean(advantages)
variance = mean((advantages - center) ** 2)
whitened = (advantages - center) * torch.rsqrt(variance + 1e-8) * mask

ratio = torch.exp(log_probs - old)
surrogate = torch.max(-whitened * ratio, -whitened * torch.clamp(ratio, 1 - clip, 1 + clip))
clipped = torch.clamp(values, old_values - value_clip, old_values + value_clip)
value = 0.5 * torch.max((values - returns) ** 2, (clipped - returns) ** 2)
entropy = -(log_all.exp() * log_all).sum(-1)
loss = mean(surrogate) + c_v * mean(value) - c_e * mean(entropy)
loss.backward()


def listed(x):
    return x.detach().tolist()


golden = {
    "lengths": listed(lengths), "logits": listed(logits), "tokens": listed(tokens), "values": listed(values),
    "old_values": listed(old_values), "bootstrap": listed(bootstrap), "scores": listed(scores), "old": listed(old),
    "reference": listed(reference), "rewards": listed(rewards), "advantages": listed(advantages),
    "returns": listed(returns), "whitened": listed(whitened), "estimates": {k: listed(mean(v)) for k, v in estimates.items()},
    "policy_loss": listed(mean(surrogate)), "value_loss": listed(mean(value)), "entropy": listed(mean(entropy)),
    "clip_fraction": listed(mean(((ratio - 1).abs() > clip).double())), "loss": listed(loss),
    "logits_grad": listed(logits.grad), "values_grad": listed(values.grad),
}
path = Path(__file__).parent.parent / "crates/part_8_ppo/tests/golden/objective.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(golden) + "\n")

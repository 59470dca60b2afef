"""Writes the golden values of part 8's tests: PPO's objective in PyTorch, with its gradients.

Writes:    crates/part_8_ppo/tests/golden/objective.json
Usage:     python scripts/golden_ppo.py       (torch)

The formulas are those of TRL, CleanRL and their papers, in float64, on random inputs with right
padding.
"""

import json
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(8)
R, T, V = 4, 6, 7
lengths = torch.tensor([6, 3, 1, 4])
truncated = torch.tensor([True, False, False, True])
mask = (torch.arange(T)[None, :] < lengths[:, None]).double()

logits = (2 * torch.randn(R, T, V)).requires_grad_()
tokens = torch.randint(0, V, (R, T))
values = torch.randn(R, T).requires_grad_()
old_values = values.detach() + 0.3 * torch.randn(R, T)
bootstrap = torch.where(truncated, torch.randn(R), torch.zeros(R))
rewards_at_end = torch.randn(R)
gamma, gae_lambda, kl_coef = 0.97, 0.9, 0.05
clip_range, value_clip_range, value_coef, entropy_coef = 0.2, 0.2, 0.5, 0.01

log_all = torch.log_softmax(logits, -1)
log_probs = log_all.gather(-1, tokens[..., None])[..., 0]
old = log_probs.detach() + 0.2 * torch.randn(R, T)
reference = log_probs.detach() + 0.5 * torch.randn(R, T)


def mean(x):
    return (x * mask).sum() / mask.sum()


log_ratio = reference - old
estimates = {
    "k1": -log_ratio,
    "abs-k1": log_ratio.abs(),
    "k2": log_ratio**2 / 2,
    "k3": torch.exp(log_ratio) - 1 - log_ratio,
}
rewards = -kl_coef * estimates["k1"]
rewards[torch.arange(R), lengths - 1] += rewards_at_end
rewards = rewards * mask

advantages = torch.zeros(R, T)
for r in range(R):
    advantage, next_value = 0.0, bootstrap[r]
    for t in reversed(range(int(lengths[r]))):
        delta = rewards[r, t] + gamma * next_value - old_values[r, t]
        advantage = delta + gamma * gae_lambda * advantage
        advantages[r, t], next_value = advantage, old_values[r, t]
returns = (advantages + old_values) * mask
center = mean(advantages)
variance = mean((advantages - center) ** 2)
whitened = (advantages - center) * torch.rsqrt(variance + 1e-8) * mask

ratio = torch.exp(log_probs - old)
clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
surrogate = torch.max(-whitened * ratio, -whitened * clipped_ratio)
clipped = torch.clamp(values, old_values - value_clip_range, old_values + value_clip_range)
value_loss = 0.5 * torch.max((values - returns) ** 2, (clipped - returns) ** 2)
entropy = -(log_all.exp() * log_all).sum(-1)
loss = mean(surrogate) + value_coef * mean(value_loss) - entropy_coef * mean(entropy)
loss.backward()


def to_list(x):
    return x.detach().tolist()


golden = {
    "lengths": to_list(lengths),
    "logits": to_list(logits),
    "tokens": to_list(tokens),
    "values": to_list(values),
    "old_values": to_list(old_values),
    "bootstrap": to_list(bootstrap),
    "scores": to_list(rewards_at_end),
    "old": to_list(old),
    "reference": to_list(reference),
    "rewards": to_list(rewards),
    "advantages": to_list(advantages),
    "returns": to_list(returns),
    "whitened": to_list(whitened),
    "estimates": {k: to_list(mean(v)) for k, v in estimates.items()},
    "policy_loss": to_list(mean(surrogate)),
    "value_loss": to_list(mean(value_loss)),
    "entropy": to_list(mean(entropy)),
    "clip_fraction": to_list(mean(((ratio - 1).abs() > clip_range).double())),
    "loss": to_list(loss),
    "logits_grad": to_list(logits.grad),
    "values_grad": to_list(values.grad),
}
path = Path(__file__).parent.parent / "crates/part_8_ppo/tests/golden/objective.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(golden) + "\n")

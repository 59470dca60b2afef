"""Writes the golden values of GRPO's advantages and losses, by TRL's formulas in PyTorch.

Writes:    crates/part_9_grpo/tests/golden/grpo.json
Usage:     python golden_grpo.py       (torch)

The formulas are those of trl.GRPOTrainer._compute_loss and _generate_and_score_completions, on
padded tensors with a completion mask; our code works on the tokens without padding. All values are
f64. The completions in "truncated" have an empty mask, as with mask_truncated_completions: the
token mean excludes them, the means over sequences and over the constant count them.
"""

import json
import pathlib

import torch

OUT = (
    pathlib.Path(__file__).resolve().parent.parent
    / "crates"
    / "part_9_grpo"
    / "tests"
    / "golden"
    / "grpo.json"
)
LENGTHS = [3, 1, 5, 2, 4, 4]  # two groups of three
MAX_NEW_TOKENS = 6
REWARDS = [1.0, 0.0, 0.25, 2.8, 0.8, 0.2]
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
KL_COEF = 0.3
IMPORTANCE_SAMPLING_CAP = 1.05


def kl_estimate(name, new, reference, old):
    log_ratio = reference - new
    k3 = torch.exp(log_ratio) - log_ratio - 1
    return {"k2": 0.5 * log_ratio**2, "k3": k3, "k3-weighted": torch.exp(new - old) * k3}[name]


def aggregate(name, per_token, mask):
    if name == "sequence":  # loss_type="grpo"
        return ((per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if name == "token":  # "dapo"; "bnpo" where there is one micro-batch
        return (per_token * mask).sum() / mask.sum().clamp(min=1.0)
    return (per_token * mask).sum() / (per_token.size(0) * MAX_NEW_TOKENS)  # "dr_grpo"


def main():
    torch.manual_seed(9)
    b, t = len(LENGTHS), max(LENGTHS)
    mask = (torch.arange(t)[None] < torch.tensor(LENGTHS)[:, None]).double()
    values = -2 * torch.rand(b, t, dtype=torch.float64)
    old = values + 0.5 * torch.randn(b, t, dtype=torch.float64)  # far enough for clipping
    behavior = old + 0.1 * torch.randn(b, t, dtype=torch.float64)
    reference = values + 0.3 * torch.randn(b, t, dtype=torch.float64)
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(-1, 3)
    mean, std = rewards.mean(1, keepdim=True), rewards.std(1, keepdim=True)
    others = (rewards.sum(1, keepdim=True) - rewards) / 2
    advantages = {
        "group-std": (rewards - mean) / (std + 1e-4),
        "group-std-population": (rewards - mean)
        / (rewards.std(1, keepdim=True, unbiased=False) + 1e-4),
        "group-mean": rewards - mean,
        "group-mean-batch-std": (rewards - mean) / ((rewards - mean).std() + 1e-4),
        "leave-one-out": rewards - others,
        "batch-mean": rewards - rewards.mean(),
    }
    advantages = {name: value.flatten() for name, value in advantages.items()}
    a = advantages["group-std"].unsqueeze(1)

    cases = []
    for aggregation in ["sequence", "token", "constant"]:
        for kl in [None, "k2", "k3", "k3-weighted"]:
            for cap in [None, IMPORTANCE_SAMPLING_CAP]:
                for truncated in [[], [2, 3]]:
                    new = values.clone().requires_grad_()
                    base = behavior if cap is None else old
                    ratio = torch.exp(new - base)
                    clipped = torch.clamp(ratio, 1 - CLIP_LOW, 1 + CLIP_HIGH)
                    per_token = -torch.min(ratio * a, clipped * a)
                    if cap is not None:
                        per_token = per_token * torch.clamp(torch.exp(old - behavior), max=cap)
                    if kl is not None:
                        per_token = per_token + KL_COEF * kl_estimate(kl, new, reference, base)
                    in_loss = torch.ones(b, dtype=torch.float64)
                    in_loss[truncated] = 0
                    loss = aggregate(aggregation, per_token, mask * in_loss.unsqueeze(1))
                    loss.backward()
                    case = {
                        "aggregation": aggregation,
                        "kl": kl,
                        "cap": cap,
                        "truncated": truncated,
                    }
                    gradient = new.grad[mask.bool()].tolist()
                    cases.append({**case, "loss": loss.item(), "gradient": gradient})

    def tokens(x):
        return x[mask.bool()].tolist()

    golden = {
        "lengths": LENGTHS,
        "budget": MAX_NEW_TOKENS,
        "rewards": REWARDS,
        "group_size": 3,
        "epsilon": 1e-4,
        "clip": [CLIP_LOW, CLIP_HIGH],
        "beta": KL_COEF,
        "advantages": {name: value.tolist() for name, value in advantages.items()},
        "new": tokens(values),
        "old": tokens(old),
        "behaviour": tokens(behavior),
        "reference": tokens(reference),
        "cases": cases,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden))


if __name__ == "__main__":
    main()

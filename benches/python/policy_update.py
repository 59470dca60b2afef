"""Time of a GRPO update in eager PyTorch, as in TRL: each row is a prompt and a completion."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from models import Llama, decay_groups
from timing import median_time

CLIP_RANGE, KL_COEF, MAX_GRAD_NORM = 0.2, 0.03, 1.0


def policy_update(vocab, n_layer, n_head, n_embd, n_ff, prompts, samples, prompt, new, seconds=2.0):
    """{"work":"policy_update","vocab":1024,"n_layer":2,"n_head":4,"n_embd":128,"n_ff":344,
    "prompts":32,"samples":16,"prompt":14,"new":4,"seconds":2.0}

    `samples` is the group size; `prompt` and `new` are the tokens per prompt and per completion.
    """
    torch.manual_seed(0)
    model = Llama(vocab=vocab, n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_ff=n_ff)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-4, betas=(0.9, 0.95), fused=True)
    prompt_ids = torch.randint(vocab, (prompts, prompt)).repeat_interleave(samples, dim=0)
    rows = torch.cat((prompt_ids, torch.randint(vocab, (prompts * samples, new))), dim=1)  # (B, T)
    advantages = (torch.arange(len(rows)) % 2 * 2.0 - 1).unsqueeze(1)  # (B, 1)

    def log_probs():
        """Log-probabilities of the completion tokens, (B, new); only their logits are computed."""
        hidden = model.model(rows[:, :-1])[:, -new:]  # (B, new, C)
        logits = F.linear(hidden, model.model.embed_tokens.weight)  # (B, new, V)
        return torch.gather(logits.log_softmax(-1), 2, rows[:, -new:, None]).squeeze(-1)

    with torch.no_grad():
        old_log_probs = ref_log_probs = log_probs()

    def update():
        new_log_probs = log_probs()
        ratio = (new_log_probs - old_log_probs).exp()
        clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
        surrogate = torch.minimum(ratio * advantages, clipped * advantages)
        log_ratio = ref_log_probs - new_log_probs
        kl = log_ratio.exp() - log_ratio - 1  # k3
        loss = (KL_COEF * kl - surrogate).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()

    return median_time(update, seconds)

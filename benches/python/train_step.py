"""Time and memory of a training step in PyTorch, on random tokens."""

import ctypes
import gc
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from models import Gpt2, Llama, decay_groups

LEARNING_RATE = 1e-3
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0
# At ten million parameters and 2 CPU threads several times faster than the default update.
FUSED = True
UNTIMED_STEPS = 2  # the first steps allocate the gradients and the optimizer state
MIN_STEPS = 3
TINY = {
    "model": "gpt2", "vocab": 2, "n_layer": 1, "n_head": 1, "n_embd": 2, "block_size": 2,
    "batch_size": 1,
}  # fmt: skip

# As it is; compiled; and each with bf16 products where autocast has them.
MODES = ("eager", "compile", "bf16", "bf16-compile")
mode = "eager"  # of this process
device = torch.device("cpu")

# The latest configuration only, so that the peak memory is that of one model.
training_cache = {}


class Training:
    def __init__(self, config):
        release_memory()
        self.rss_before = memory("VmRSS")
        torch.manual_seed(0)
        self.model = make_model(config).to(device)
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.model, WEIGHT_DECAY), lr=LEARNING_RATE, betas=BETAS, fused=FUSED
        )
        self.vocab = config["vocab"]
        self.shape = (config["batch_size"], config["block_size"])  # (B, T)
        self.loss = torch.compile(self.loss) if mode.endswith("compile") else self.loss
        for _ in range(UNTIMED_STEPS):
            self.step()

    def loss(self, inputs, targets):
        """Mean loss of the targets, (B * T), after the inputs, (B, T)."""
        with torch.autocast(device.type, torch.bfloat16, enabled=mode.startswith("bf16")):
            logits = self.model(inputs)  # (B, T, V)
        return F.cross_entropy(logits.float().view(-1, self.vocab), targets)

    def step(self):
        """One step on a new batch.

        Returns the loss and the seconds of the step, its forward and its backward pass. A GPU
        computes while the next pass has begun, so there the step alone is measured.
        """
        b, t = self.shape
        tokens = torch.randint(self.vocab, (b, t + 1), device=device)
        inputs, targets = tokens[:, :-1], tokens[:, 1:].reshape(-1)  # (B, T), (B * T)

        started = time.perf_counter()
        loss = self.loss(inputs, targets)
        forward = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        backward_started = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        stopped = time.perf_counter()
        return loss.item(), (stopped - started, forward - started, backward - backward_started)


def make_model(config):
    sizes = {name: config[name] for name in ("vocab", "n_layer", "n_head", "n_embd")}
    if config["model"] == "llama":
        return Llama(**sizes, n_ff=config["n_ff"])
    if config["model"] == "gpt2":
        return Gpt2(**sizes, block_size=config["block_size"])
    raise ValueError(f"unknown model {config['model']!r}; choose from llama, gpt2")


def get_training(config):
    """Model and optimizer of `config`, reused if the last request had the same config."""
    key = tuple(sorted(config.items()))
    if key not in training_cache:
        if not training_cache:
            # Makes PyTorch load its code, over 100 MB that would count as memory of the model.
            Training(TINY)
        training_cache.clear()
        training_cache[key] = Training(config)
    return training_cache[key]


def train_step(seconds=2.0, **config):
    """{"work":"train_step","model":"llama","vocab":256,"n_layer":6,"n_head":6,"n_embd":384,
    "n_ff":1024,"block_size":256,"batch_size":8,"seconds":2.0}

    `n_ff` is for llama only. `peak_bytes` is the growth of the memory since before the model was
    built, or null if the system does not allow a reset of the peak. It is most accurate for the
    first request of a process.
    """
    training = get_training(config)
    peak_is_fresh = reset_peak()
    steps, stop = [], time.perf_counter() + seconds
    while len(steps) < MIN_STEPS or time.perf_counter() < stop:
        loss, times = training.step()
        steps.append(times)
    step, forward, backward = (statistics.median(column) for column in zip(*steps))
    return {
        "seconds": step,
        "steps": len(steps),
        "forward": forward,
        "backward": backward,
        "loss": loss,
        "peak_bytes": memory("VmHWM") - training.rss_before if peak_is_fresh else None,
    }


def release_memory():
    """Returns freed memory to the system; the C library would keep it resident."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def memory(field):
    """Memory of this process in bytes: VmRSS is the resident size, VmHWM its peak."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024  # the file counts in KiB
    raise OSError(f"/proc/self/status has no {field}")


def reset_peak():
    """Resets VmHWM to the current resident size; false if the system does not allow it."""
    try:
        with open("/proc/self/clear_refs", "w") as clear_refs:
            clear_refs.write("5")
        return True
    except OSError:
        return False

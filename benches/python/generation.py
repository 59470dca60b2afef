"""Prefill and decoding with the model in a .gguf file: f32 in transformers, quantized in llama.cpp.

Both decode greedily, ignore stop tokens and record the time of each token.
"""

import contextlib
import os
import time

import torch

CONTEXT_LEN = 1024
model_cache = {}  # the latest model only, to save memory


def generate(model, weights, prompt, new, time, seconds=2.0):
    """{"work":"generate","model":"/models/a.gguf","weights":"quantized","prompt":64,"new":128,
    "time":"decode","seconds":2.0}

    `time` is "prefill", the time to the first new token, or "decode", that of all further tokens.
    """
    generator = open_generator(model, weights)
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(generator.vocab, (prompt,), generator=rng).tolist()
    phase = {"prefill": lambda t: t[1] - t[0], "decode": lambda t: t[-1] - t[1]}[time]
    return median_phase(lambda: phase(generator.token_times(ids, new)), seconds)


def median_phase(call, seconds):
    """Median of the times that `call` returns in `seconds`, after one untimed call."""
    call()
    times, stop = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < stop:
        times.append(call())
    return {"seconds": sorted(times)[len(times) // 2], "calls": len(times)}


def open_generator(model, weights):
    if (model, weights) not in model_cache:
        model_cache.clear()
        backend = {"f32": Transformers, "quantized": LlamaCpp}[weights]
        model_cache[model, weights] = backend(model)
    return model_cache[model, weights]


class Transformers:
    def __init__(self, path):
        os.environ["TQDM_DISABLE"] = "1"  # no progress bars in the output of the comparison
        from transformers import AutoModelForCausalLM

        folder, file = os.path.split(path)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32
        ).eval()
        self.vocab = self.model.config.vocab_size

    def token_times(self, ids, new):
        """Time of the start and of each of `new` tokens."""
        times = []

        def record_time(input_ids, scores):
            times.append(time.perf_counter())
            return scores

        started = time.perf_counter()
        with torch.inference_mode():
            self.model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                do_sample=False, max_new_tokens=new, min_new_tokens=new, pad_token_id=0,
                logits_processor=[record_time],
            )  # fmt: skip
        return [started, *times]


class LlamaCpp:
    def __init__(self, path):
        from llama_cpp import Llama

        with open(os.devnull, "w") as devnull, contextlib.redirect_stderr(devnull):
            threads = torch.get_num_threads()
            self.model = Llama(
                path, n_ctx=CONTEXT_LEN, n_batch=512, n_threads=threads, n_threads_batch=threads,
                verbose=False,
            )  # fmt: skip
        self.vocab = self.model.n_vocab()

    def token_times(self, ids, new):
        """Time of the start and of each of `new` tokens."""
        import numpy as np
        from llama_cpp import llama_get_logits_ith

        self.model.reset()
        times = [time.perf_counter()]
        self.model.eval(ids)
        for _ in range(new):
            logits = llama_get_logits_ith(self.model.ctx, -1)
            logits = np.ctypeslib.as_array(logits, shape=(self.vocab,))
            token = int(logits.argmax())
            times.append(time.perf_counter())
            if len(times) <= new:
                self.model.eval([token])
        return times

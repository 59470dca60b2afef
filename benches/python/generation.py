"""Reading a prompt and writing on with the model in a .gguf file: f32 in transformers, quantized in llama.cpp.

Both write what they find likeliest, however the text ends, and note the time at each token.
"""

import contextlib
import os
import time

import torch

CONTEXT = 1024
kept = {}  # only the latest model


def generate(model, weights, prompt, new, time, seconds=2.0):
    """{"work":"generate","model":"/models/a.gguf","weights":"quantized","prompt":64,"new":128,"time":"decode"}

    `time` is "prefill", from the prompt to the first new token, or "decode", of all new tokens after it.
    """
    writer = writer_of(model, weights)
    ids = torch.randint(writer.vocab, (prompt,), generator=torch.Generator().manual_seed(0)).tolist()
    phase = {"prefill": lambda at: at[1] - at[0], "decode": lambda at: at[-1] - at[1]}[time]
    return median_phase(lambda: phase(writer.write(ids, new)), seconds)


def median_phase(call, seconds):
    """The median of the times that `call` gives, the first left out, over calls until `seconds` have passed."""
    call()
    times, stop = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < stop:
        times.append(call())
    return {"seconds": sorted(times)[len(times) // 2], "calls": len(times)}


def writer_of(model, weights):
    if (model, weights) not in kept:
        kept.clear()
        kept[model, weights] = {"f32": Transformers, "quantized": LlamaCpp}[weights](model)
    return kept[model, weights]


class Transformers:
    def __init__(self, path):
        os.environ["TQDM_DISABLE"] = "1"  # no progress bars between the rows
        from transformers import AutoModelForCausalLM

        folder, file = os.path.split(path)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
        self.vocab = self.model.config.vocab_size

    def write(self, ids, new):
        """When it began, and when each of `new` tokens was there."""
        times = []

        def note(input_ids, scores):
            times.append(time.perf_counter())
            return scores

        started = time.perf_counter()
        with torch.inference_mode():
            self.model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                max_new_tokens=new, min_new_tokens=new, pad_token_id=0, logits_processor=[note],
            )  # fmt: skip
        return [started, *times]


class LlamaCpp:
    def __init__(self, path):
        from llama_cpp import Llama

        with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
            threads = torch.get_num_threads()
            self.model = Llama(path, n_ctx=CONTEXT, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
        self.vocab = self.model.n_vocab()

    def write(self, ids, new):
        """When it began, and when each of `new` tokens was there."""
        import numpy as np
        from llama_cpp import llama_get_logits_ith

        self.model.reset()
        times = [time.perf_counter()]
        self.model.eval(ids)
        for _ in range(new):
            logits = np.ctypeslib.as_array(llama_get_logits_ith(self.model.ctx, -1), shape=(self.vocab,))
            token = int(logits.argmax())
            times.append(time.perf_counter())
            if len(times) <= new:
                self.model.eval([token])
        return times

"""Tables of the book's page "Beyond one machine": memory, communication and time at 1 B and 8 B
parameters, from formulas. Nothing is measured here.

Usage:     memory_plan.py              prints the tables as Markdown
           memory_plan.py --check PAGE compares them with those of the page
           memory_plan.py --write PAGE writes them into the page, below their markers
Exit code: 0 done, 1 a table of the page differs
"""

import math
import sys
from dataclasses import dataclass

CONTEXT = 2048  # tokens of a window
GB = 1e9

# Data sheet of the H200 (see the page).
PEAK = 989e12  # bf16 operations a second, without sparsity
MEMORY_BANDWIDTH = 4.8e12  # bytes a second
CARDS = {"24 GB": 24e9, "80 GB": 80e9, "141 GB": 141e9}

# Assumptions.
UTILIZATION = 0.4  # of the peak, in training and in the forward passes of RLHF
BANDWIDTH_SHARE = 0.6  # of the memory bandwidth, in generation
USABLE = 0.9  # of a card's memory; the rest is for temporaries and fragments
LATENCY = 50e-6  # seconds of a message over 10 GbE
LIVE_BLOCKS = 4  # with checkpointing: a block, its gradients, copies (3.8 measured: `checked`)
LINKS = {"1 GB/s": 1e9, "12.5": 12.5e9, "25": 25e9, "50": 50e9, "450": 450e9}
SPEED = UTILIZATION * PEAK

# This repository: part_3_modern/src/chunked_logits.rs, tensor_core/src/moments.rs.
CHUNK_LOGITS, MIN_CHUNK_ROWS = 1 << 24, 256
MOMENTS_8BIT = 2 * (256 + 4) / 256  # bytes of both moments: 256 codes and an f32 per block


@dataclass
class Model:
    name: str
    c: int  # channels
    layers: int
    h: int  # query heads
    kv: int  # key-value heads
    d: int  # channels of a head
    f: int  # width of the feed-forward layer
    v: int  # vocabulary
    tied: bool

    def layer(self):
        """Weights of a block: q and o, k and v, SwiGLU, two norms."""
        attention = 2 * self.c * self.h * self.d + 2 * self.c * self.kv * self.d
        return attention + 3 * self.c * self.f + 2 * self.c

    def table(self):
        return self.v * self.c

    def n(self):
        tables = self.table() * (1 if self.tied else 2)
        return tables + self.layers * self.layer() + self.c

    def saved(self):
        """Numbers that the fused operations of tensor_core keep, per token and block."""
        heads = self.h * self.d
        row_numbers = 2 + self.h  # a scale of each norm; attention's log-sums
        return 6 * self.c + 2 * heads + 2 * self.kv * self.d + 3 * self.f + row_numbers

    def activations(self, size, checkpointing):
        """Bytes of a window's activations with numbers of `size` bytes."""
        block = self.saved() * CONTEXT * size
        if not checkpointing:
            return self.layers * block
        return self.layers * self.c * CONTEXT * size + LIVE_BLOCKS * block

    def chunk_rows(self):
        return min(CONTEXT, max(CHUNK_LOGITS // self.v, MIN_CHUNK_ROWS))

    def logits(self, rows, size):
        """Bytes of the logits of `rows` tokens and of their gradient, in f32 and, if the model
        computes with numbers of `size` 2, in these, too."""
        return rows * self.v * 2 * (4 + (size if size < 4 else 0))

    def cache(self):
        """Bytes of the keys and values of a token, in bf16."""
        return 2 * self.layers * self.kv * self.d * 2


MODELS = [
    Model("1 B", 2048, 16, 32, 8, 64, 8192, 128256, True),
    Model("8 B", 4096, 32, 32, 8, 128, 14336, 128256, False),
]


@dataclass
class Format:
    name: str
    weights: float  # bytes per parameter that a forward pass reads
    grads: float
    states: float  # optimizer: moments, and the f32 weights where the others are bf16
    size: int  # bytes of an activation

    def total(self):
        return self.weights + self.grads + self.states


F32 = Format("f32", 4, 4, 8, 4)
MIXED = Format("mixed", 2, 2, 4 + 8, 2)
FORMATS = [
    F32,
    Format("f32, 8-bit moments", 4, 4, MOMENTS_8BIT, 4),
    MIXED,
    Format("mixed, 8-bit moments", 2, 2, 4 + MOMENTS_8BIT, 2),
]


def per_rank(model, fmt, stage, n):
    """Bytes on one of n ranks at stage 0 to 3 of ZeRO, and their parts."""
    parameters = model.n()
    states = parameters * fmt.states / (n if stage >= 1 else 1)
    grads = parameters * fmt.grads / (n if stage >= 2 else 1)
    weights = parameters * fmt.weights / (n if stage >= 3 else 1)
    # What stands whole for a moment: the gradient of the largest unit before it is scattered, and
    # two neighbouring units that were gathered, one in use and one on its way.
    buffers = 0
    if n > 1 and stage >= 2:
        buffers += model.table() * fmt.grads
    if n > 1 and stage >= 3:
        buffers += (model.table() + model.layer()) * fmt.weights
    activations = model.activations(fmt.size, True)
    activations += model.logits(model.chunk_rows(), fmt.size)
    return weights + grads + states + buffers + activations


def smallest(model, fmt, stage, card):
    """Smallest number of ranks, a power of two up to 4,096, at which a rank fits."""
    for n in [2**i for i in range(13)]:
        if per_rank(model, fmt, stage, n) <= USABLE * card:
            return n
    return None


def ring(n, size):
    """Bytes that a rank sends in an all-reduce of `size` bytes."""
    return 2 * (n - 1) / n * size


def first_rank(n, size):
    """Bytes over the link of the first rank, which gathers, adds, and broadcasts by a tree."""
    return ((n - 1) + math.ceil(math.log2(n))) * size


def reductions(model, n):
    """Bytes of a step over the busiest link, by method."""
    weights = 2 * model.n()
    return [
        ("all-reduce, or ZeRO-1, -2", ring(n, weights)),
        ("ZeRO-3", 1.5 * ring(n, weights)),
        ("f32 all-reduce", ring(n, 2 * weights)),
        ("through the first rank, f32", first_rank(n, 2 * weights)),
    ]


def compute(model, tokens):
    return 6 * model.n() * tokens / SPEED


def gb(size):
    size /= GB
    return f"{size:.2f}" if size < 10 else f"{size:.1f}" if size < 100 else f"{size:,.0f}"


def time(seconds):
    if seconds < 1:
        ms = seconds * 1000
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def in_days(days):
    return f"{days:.0f}" if days > 10 else f"{days:.1f}"


def percent(share):
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1g} %"


def power(number):
    digits, exponent = f"{number:.1e}".split("e")
    return rf"${digits} \cdot 10^{{{int(exponent)}}}$"


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell != "" else " " for cell in line) + "|"
                     for line in lines)


def shapes():
    head = ["", "C", "layers", "H", "KV", "D", "F", "V", "weights of a block", "weights N"]
    rows = [
        [m.name, f"{m.c:,}", m.layers, m.h, m.kv, m.d, f"{m.f:,}", f"{m.v:,}", f"{m.layer():,}",
         f"{m.n():,}"]
        for m in MODELS
    ]
    return markdown(head, rows)


def duration():
    head = ["20 tokens per weight", "tokens", "operations", "1 rank", "8 ranks", "64 ranks"]
    rows = []
    for m in MODELS:
        days = compute(m, 20 * m.n()) / 86400
        counts = [power(20 * m.n()), power(6 * m.n() * 20 * m.n())]
        rows.append([m.name, *counts, *(f"{in_days(days / n)} days" for n in [1, 8, 64])])
    return markdown(head, rows)


def states():
    head = ["bytes per weight", "f32 weight", "bf16 weight", "gradient", "moments", "reduction",
            "sum", *(f"{m.name}, GB" for m in MODELS)]
    rows = []
    cases = [(fmt.name, 4, 2 if fmt.size == 2 else 0, fmt.grads,
              fmt.states - (4 if fmt.size == 2 else 0), 0) for fmt in FORMATS]
    cases.append(("this repository, bf16", 4, 2, 4, 8, 0))
    cases.append(("this repository, f32, several ranks", 4, 0, 4, 8, 4))
    for name, *parts in cases:
        total = sum(parts)
        cells = [f"{part:.3g}" if part else "" for part in parts]
        rows.append([name, *cells, f"{total:.4g}", *(gb(total * m.n()) for m in MODELS)])
    return markdown(head, rows)


def activations():
    head = ["", *(f"{m.name}, {t}" for m in MODELS for t in ["f32", "bf16"])]
    kinds = [(m, size) for m in MODELS for size in [4, 2]]
    rows = [
        ["numbers per token and block", *(f"{m.saved():,}" for m, _ in kinds)],
        ["a block, GB", *(gb(m.saved() * CONTEXT * s) for m, s in kinds)],
        ["all blocks, GB", *(gb(m.activations(s, False)) for m, s in kinds)],
        ["with checkpointing, GB", *(gb(m.activations(s, True)) for m, s in kinds)],
        ["all logits and gradient, GB", *(gb(m.logits(CONTEXT, s)) for m, s in kinds)],
        [f"in chunks of {MODELS[0].chunk_rows()} tokens, GB",
         *(gb(m.logits(m.chunk_rows(), s)) for m, s in kinds)],
    ]
    return markdown(head, rows)


def checked():
    """The formula beside a measurement of the log: 8 blocks of width 64, 1,024 tokens, f32."""
    tokens, mb = 1024, 1e6
    model = Model("test", 64, 8, 4, 4, 16, 176, 256, True)
    block = model.saved() * tokens * 4 / mb
    inputs, logits = model.c * tokens * 4 * model.layers / mb, model.logits(tokens, 4) / mb
    head = ["8 blocks of width 64, 1,024 tokens, f32", "formula, MB", "measured, MB"]
    rows = [
        ["blocks", f"{model.layers * block:.1f}", ""],
        ["logits and gradient", f"{logits:.1f}", ""],
        ["both", f"{model.layers * block + logits:.1f}", "42.2"],
        ["inputs of the blocks", f"{inputs:.1f}", ""],
        ["a block", f"{block:.1f}", ""],
        ["with checkpointing: inputs and 4 blocks", f"{inputs + LIVE_BLOCKS * block:.1f}", "20.2"],
    ]
    return markdown(head, rows)


def ranks():
    cases = [(0, 1), *((stage, n) for stage in [1, 2, 3] for n in [8, 64])]
    head = ["GB per rank", "any, copies", *(f"ZeRO-{s}, {n}" for s, n in cases[1:])]
    rows = [
        [f"{m.name}, {fmt.name}", *(gb(per_rank(m, fmt, s, n)) for s, n in cases)]
        for m in MODELS
        for fmt in FORMATS
    ]
    return markdown(head, rows)


def fits():
    head = ["ranks needed", *(f"{c}: ZeRO-{s}" for c in CARDS for s in [1, 2, 3])]
    rows = []
    for m in MODELS:
        for fmt in FORMATS:
            cells = [smallest(m, fmt, s, card) for card in CARDS.values() for s in [1, 2, 3]]
            rows.append([f"{m.name}, {fmt.name}", *("never" if n is None else n for n in cells)])
    return markdown(head, rows)


def moved():
    head = ["", "ranks", "GB", *(name if "GB" in name else f"{name} GB/s" for name in LINKS)]
    rows = []
    for m in MODELS:
        for n in [8, 64]:
            for method, size in reductions(m, n):
                times = [time(size / bandwidth) for bandwidth in LINKS.values()]
                rows.append([f"{m.name}, {method}", n, gb(size), *times])
    return markdown(head, rows)


def reduction_factors():
    """A reduction through the first rank beside a ring, in units of the gradient's bytes."""
    head = ["ranks", "through the first rank", "ring", "ratio", "messages", "of the ring",
            "the ring pays from"]
    rows = []
    for n in [2, 4, 8, 64]:
        ours, best = first_rank(n, 1), ring(n, 1)
        messages, of_ring = first_rank(n, 1), 2 * (n - 1)
        least = LATENCY * (of_ring - messages) * LINKS["1 GB/s"] / (ours - best)
        kb = f"{least / 1000:.0f} kB" if least > 0 else "the first byte"
        rows.append([n, ours, f"{best:.2f}", f"{ours / best:.1f}", messages, of_ring, kb])
    return markdown(head, rows)


def efficiency():
    """Share of a step that computes, with 2,048 tokens a rank; the size of the model drops out."""
    model, head = MODELS[1], ["", "ranks"]
    head += [name if "GB" in name else f"{name} GB/s" for name in LINKS]
    rows = []
    for n in [8, 64]:
        for i, (method, size) in enumerate(reductions(model, n)):
            work = compute(model, CONTEXT)
            # The backward pass is two thirds of the work. ZeRO-3 also gathers in the forward pass.
            hidden = work if i == 1 else 2 / 3 * work
            for name, hides in [("", 0.0), (", hidden", hidden)]:
                if i == 3 and hides or i < 3 and n > 8:
                    continue  # ours begins after the backward pass; the others hardly change
                shares = []
                for bandwidth in LINKS.values():
                    exposed = max(0.0, size / bandwidth - hides)
                    shares.append(percent(work / (work + exposed)))
                rows.append([method + name, n, *shares])
    return markdown(head, rows)


def tokens():
    """Tokens per rank and step behind whose backward pass the reduction is hidden."""
    head = ["", "ranks", *(name if "GB" in name else f"{name} GB/s" for name in LINKS)]
    rows = []
    for name, size in [("bf16", 2), ("f32", 4)]:
        for n in [8, 64]:
            needed = [size / 2 * (n - 1) / n * SPEED / bandwidth for bandwidth in LINKS.values()]
            rows.append([f"{name} gradients", n, *(f"{math.ceil(t):,}" for t in needed)])
    return markdown(head, rows)


def tensor_parallel():
    links = ["450", "50", "25", "12.5"]
    head = ["", "ranks", "GB a step", "compute", *(f"{link} GB/s" for link in links)]
    head += [f"efficiency at {link}" for link in links]
    rows = []
    for m in MODELS:
        for n in [2, 8]:
            size = m.layers * 4 * ring(n, CONTEXT * m.c * 2)
            work = compute(m, CONTEXT) / n
            times = [size / LINKS[link] for link in links]
            shares = [percent(work / (work + t)) for t in times]
            rows.append([m.name, n, gb(size), time(work), *map(time, times), *shares])
    return markdown(head, rows)


def rlhf_memory():
    trained, frozen = MIXED.total(), MIXED.weights
    sets = [
        ("PPO: policy, critic, reference, reward model", 2 * trained + 2 * frozen),
        ("GRPO: policy, reference, reward model", trained + 2 * frozen),
        ("GRPO, reward by a rule", trained + frozen),
        ("GRPO, β = 0, reward by a rule", trained),
    ]
    head = ["", "bytes per weight", *(f"{m.name}, GB" for m in MODELS),
            *(f"{m.name} on 64 ranks, GB" for m in MODELS)]
    rows = [
        [name, f"{size:.0f}", *(gb(size * m.n()) for m in MODELS),
         *(gb(size * m.n() / 64) for m in MODELS)]
        for name, size in sets
    ]
    return markdown(head, rows)


PROMPT, COMPLETION = 512, 1536


def generation(model, batch):
    """Seconds to generate a batch: each token reads the weights once, and every row's cache."""
    length = PROMPT + COMPLETION / 2
    read = 2 * model.n() + batch * length * model.cache()
    step = max(read / (BANDWIDTH_SHARE * MEMORY_BANDWIDTH), 2 * model.n() * batch / SPEED)
    return COMPLETION * step


def rlhf_time():
    head = ["", "completions", "KV cache, GB", "generation", "GRPO: training", "generation's share",
            "PPO: training", "generation's share"]
    rows = []
    for m in MODELS:
        for batch in [1, 8, 64, 256]:
            cache = batch * (PROMPT + COMPLETION) * m.cache()
            seconds = generation(m, batch)
            row = [m.name, batch, gb(cache), time(seconds)]
            # 6 N D for each trained model, 2 N D for each forward pass besides: that of GRPO's
            # reference; those of PPO's reference, reward model and critic.
            for passes in [6 + 2, 6 + 6 + 2 + 2 + 2]:
                training = passes * m.n() * batch * (PROMPT + COMPLETION) / SPEED
                row += [time(training), percent(seconds / (seconds + training))]
            rows.append(row)
    return markdown(head, rows)


TABLES = [shapes, duration, states, activations, checked, ranks, fits, moved, reduction_factors,
          efficiency, tokens, tensor_parallel, rlhf_memory, rlhf_time]


def marker(table):
    return f"<!-- memory_plan.py: {table.__name__} -->"


def with_tables(page):
    """The page with each table below its marker, up to the next empty line."""
    for table in TABLES:
        before, found, after = page.partition(marker(table) + "\n\n")
        if not found:
            sys.exit(f"the page has no line {marker(table)} before an empty one")
        _, _, after = after.partition("\n\n")
        page = f"{before}{found}{table()}\n\n{after}"
    return page


def main():
    if len(sys.argv) == 3 and sys.argv[1] in ("--check", "--write"):
        try:
            with open(sys.argv[2], encoding="utf-8") as file:
                page = file.read()
        except OSError as error:
            sys.exit(f"{sys.argv[2]}: {error.strerror}")
        written = with_tables(page)
        if sys.argv[1] == "--write":
            with open(sys.argv[2], "w", encoding="utf-8") as file:
                file.write(written)
        elif written != page:
            sys.exit(f"{sys.argv[2]} has other tables: memory_plan.py --write {sys.argv[2]}")
    elif len(sys.argv) == 1:
        print("\n\n".join(f"{table.__name__}\n\n{table()}" for table in TABLES))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

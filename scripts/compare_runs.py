"""Compares two runs of the same part, folder by folder. Needs Python alone.

    python3 scripts/compare_runs.py close ONE OTHER   # losses to 1e-6, weights to 1e-5
    python3 scripts/compare_runs.py same ONE OTHER    # bytes of models and checkpoints
    python3 scripts/compare_runs.py times RUN         # where the time of its steps went

`close` is for runs whose sums are added in another order, as on another number of ranks: also the
steps of all rows, and the completions with their rewards, have to be equal. `same` is for one run
that is repeated: all that is written but times, the amount of memory and paths has to be equal. The
result is a line; the exit code is 1 if the runs differ.
"""

import json
import struct
import sys
from array import array
from pathlib import Path

LOSS_TOLERANCE = 1e-6
WEIGHT_TOLERANCE = 1e-5
# Keys of metrics.jsonl that no two runs share.
VARYING = {"mfu", "seconds"}
VARYING_ENDS = ("_s", "_mb", "_time_fraction")
# In these files are times, paths and hashes of them.
NOT_COMPARED = {"sums.json"}


class Differ(Exception):
    """The first difference of two runs."""


def metrics(run):
    """Rows of metrics.jsonl without what varies from run to run."""
    varies = lambda key: key in VARYING or key.endswith(VARYING_ENDS)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not varies(key)} for row in rows]


def completions(run):
    """Rows of completions.jsonl, none in a part that samples none."""
    path = run / "completions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def last_checkpoint(run):
    folders = [f for f in (run / "checkpoints").glob("step-*") if f.name[5:].isdigit()]
    if not folders:
        raise Differ(f"{run} has no checkpoint")
    return max(folders, key=lambda folder: int(folder.name[5:]))


def files(run):
    """Files of the models and of the newest checkpoint, by their path in the run folder."""
    folders = [last_checkpoint(run), *(run / name for name in ("model", "adapter", "final"))]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(run): path for path in found if path.name not in NOT_COMPARED}


def f32_tensors(path):
    """Tensors of a safetensors file that are f32, as arrays by name."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and tensor["dtype"] == "F32":
            start, end = tensor["data_offsets"]
            tensors[name] = array("f", data[8 + length + start : 8 + length + end])
            if sys.byteorder == "big":
                tensors[name].byteswap()
    return tensors


def same_keys(one, other, what):
    if set(one) != set(other):
        different = sorted(map(str, set(one) ^ set(other)))
        raise Differ(f"only one of the runs has the {what} {', '.join(different[:3])}")


def largest_difference(pairs):
    """Largest difference of pairs of numbers; NaN or none differ from a number without bound."""
    largest = 0.0
    for one, other in pairs:
        if one != other:
            are_numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
            difference = abs(one - other) if are_numbers else float("inf")
            largest = max(largest, difference if difference == difference else float("inf"))
    return largest


def losses(one, other):
    """Pairs of losses of the two runs."""
    # An alarm is raised at a threshold and quotes numbers, so its text may differ.
    one, other = ([row for row in metrics(run) if "alarm" not in row] for run in (one, other))
    if [row["step"] for row in one] != [row["step"] for row in other]:
        raise Differ("metrics.jsonl has rows of other steps")
    for row_of_one, row_of_other in zip(one, other):
        same_keys(row_of_one, row_of_other, "metric")
        for key in row_of_one:
            pair = row_of_one[key], row_of_other[key]
            # Of a policy that is still its reference all margins are 0: rounding decides which half
            # of the pairs counts as right.
            margin = abs(row_of_one.get("rewards/margins", 1))
            is_tied = key == "loss_accuracy" and margin < LOSS_TOLERANCE
            if "loss" in key and pair != (None, None) and not is_tied:
                yield pair


def same_completions(one, other):
    """Number of completions, whose texts and rewards have to be the same."""
    fields = ("step", "prompt", "completion", "reward")
    rows = lambda run: [[row.get(field) for field in fields] for row in completions(run)]
    one, other = rows(one), rows(other)
    if one != other:
        pairs = [i for i, (a, b) in enumerate(zip(one, other)) if a != b]
        line = pairs[0] + 1 if pairs else min(len(one), len(other)) + 1
        raise Differ(f"other completions from line {line} of completions.jsonl on")
    return len(one)


def close(one, other):
    pairs = list(losses(one, other))
    if not pairs:
        raise Differ("metrics.jsonl has no losses")
    n_completions = same_completions(one, other)
    of_run = lambda run: {name: path for name, path in files(run).items() if is_weights(path)}
    weights = [of_run(one), of_run(other)]
    same_keys(*weights, "file")
    if not weights[0]:
        raise Differ("there is no model")
    n_weights, of_weights = 0, 0.0
    for name, path in weights[0].items():
        tensors = [f32_tensors(path), f32_tensors(weights[1][name])]
        same_keys(*tensors, "tensor")
        for tensor, values in tensors[0].items():
            if len(values) != len(tensors[1][tensor]):
                raise Differ(f"{tensor} has another shape")
            n_weights += len(values)
            of_weights = max(of_weights, largest_difference(zip(values, tensors[1][tensor])))
    of_losses = largest_difference(pairs)
    text = f"{len(pairs)} losses differ by {of_losses:.1e}, {n_weights} weights by {of_weights:.1e}"
    if n_completions:
        text += f", {n_completions} completions are the same"
    if of_losses > LOSS_TOLERANCE or of_weights > WEIGHT_TOLERANCE:
        raise Differ(text)
    return text


def is_weights(path):
    return path.suffix == ".safetensors" and not path.name.startswith("optimizer")


def same(one, other):
    found = [files(run) for run in (one, other)]
    same_keys(*found, "file")
    for name, path in found[0].items():
        if path.read_bytes() != found[1][name].read_bytes():
            raise Differ(f"{name} differs")
    rows = [metrics(run) for run in (one, other)]
    for i, (row, other_row) in enumerate(zip(*rows)):
        if row != other_row:
            keys = [k for k in {**row, **other_row} if row.get(k) != other_row.get(k)]
            raise Differ(f"{', '.join(keys[:3])} in row {i + 1} of metrics.jsonl")
    if len(rows[0]) != len(rows[1]):
        raise Differ(f"metrics.jsonl has {len(rows[0])} and {len(rows[1])} rows")
    if completions(one) != completions(other):
        raise Differ("completions.jsonl differs")
    n_bytes = sum(path.stat().st_size for path in found[0].values())
    return f"{len(found[0])} files, {n_bytes / 1e6:.1f} MB, and {len(rows[0])} rows are the same"


def times(run):
    """Tokens per second, and what a step of several ranks spends on the others."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "step_time_s" in row]
    rows = rows[len(rows) // 5 :]  # without the first steps, in which memory is new
    if not rows:
        raise Differ(f"{run}: metrics.jsonl has no step_time_s")
    median = lambda key: sorted(row[key] for row in rows)[len(rows) // 2]
    tokens = (rows[-1]["tokens"] - rows[0]["tokens"]) / max(1, len(rows) - 1)
    step = median("step_time_s")
    text = f"{tokens / step:.0f} tokens/s"
    for key, name in (("wait_time_s", "waiting"), ("all_reduce_time_s", "reduction")):
        if all(key in row for row in rows):
            text += f", {name} {100 * median(key) / step:.1f} %"
    return text


def main():
    commands = {"close": close, "same": same, "times": times}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    try:
        print(commands[sys.argv[1]](*map(Path, sys.argv[2:])))
    except (Differ, OSError) as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()

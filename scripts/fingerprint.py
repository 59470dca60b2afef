"""Fingerprints of all computed values, to verify that a change of the code changes none of them.

Trains briefly with each part from 2 to 9 and runs `course --quick`, with one seed and one thread.
Prints a SHA-256 for each model file and for each series of numbers in the metrics, the evaluations
and the scoreboard. Times, speeds and memory use are left out.

    cargo build --workspace --bins --examples
    python3 scripts/fingerprint.py > before.txt        # about ten minutes on one core
    ... change the code, build again ...
    python3 scripts/fingerprint.py --against before.txt

The same machine, toolchain and thread count give the same list. `--against` compares the hashes
of each file or run and ignores the names of keys, so a renamed key does not count as a change.
Exit code: 0 nothing changed (or nothing to compare with), 1 a fingerprint changed or is gone.
Made with: Python 3.11.7, no packages.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMON = ["--seed", "1337", "--threads", "1"]
MEASURED = re.compile(
    r"(_s|_ms|seconds|time|elapsed|timestamp|mfu|memory_mb|gemm_share)$"
    r"|_per_s|share_|_time_fraction"
)

# These flags work in every version of the commands. OUT is replaced by the folder of all runs.
RUNS = {
    "part_2": ["train", "--data", "data/tiny_hi.txt", "--steps", "20", "--n-embd", "64",
               "--batch-size", "4"],
    "part_3": ["train", "--data", "data/tiny_hi.txt", "--steps", "20", "--n-embd", "64",
               "--batch-size", "4"],
    "part_4": ["train", "--data", "OUT/stories.txt", "--steps", "20", "--n-embd", "64", "--dropout",
               "0.1"],
    "part_5": ["train", "--data", "data/tiny.txt", "--steps", "6", "--n-layer", "2", "--n-embd",
               "64", "--batch-size", "4"],
    "part_6": ["train", "--base-steps", "40", "--steps", "20", "--examples", "2000"],
    "part_6_lora": ["train", "--model", "OUT/part_6/model", "--data", "everyday",
                    "--lora-rank", "4", "--lr", "5e-3", "--steps", "5", "--merge"],
    "part_7": ["train", "--model", "OUT/part_6", "--steps", "20", "--pairs", "1000"],
    "part_8": ["train", "--model", "OUT/part_6", "--steps", "3", "--examples", "1000"],
    "part_8_lora": ["train", "--model", "OUT/part_6", "--reward", "OUT/part_7", "--lora-rank", "4",
                    "--lr", "1e-3", "--steps", "2", "--examples", "1000"],
    "part_9": ["train", "--model", "OUT/part_6", "--steps", "3", "--warmup-steps", "1",
               "--eval-examples", "20"],
}
EVALUATIONS = {
    "part_2": ["eval", "--model", "OUT/part_2/model", "--data", "data/tiny_hi.txt", "--json"],
    "part_3": ["generate", "--model", "OUT/part_3/model", "--prompt", "एक",
               "--max-new-tokens", "40", "--temperature", "0.8", "--json"],
    "part_4": ["eval", "--model", "OUT/part_4", "--data", "OUT/stories.txt", "--json"],
    "part_6": ["eval", "--model", "OUT/part_6", "--json"],
    "part_7": ["eval", "--model", "OUT/part_7", "--json"],
    "part_8": ["eval", "--model", "OUT/part_8", "--reference", "OUT/part_6", "--json"],
    "part_9": ["eval", "--model", "OUT/part_9", "--eval-examples", "20", "--group-size", "4",
               "--k", "2", "--json"],
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()[:32]


def numbers(value, path=""):
    """Pairs (key, number) of a JSON value in order, without measured times and memory."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not MEASURED.search(key):
                yield from numbers(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, path)
    elif isinstance(value, (int, float, str)) or value is None:
        yield path, value


def series(rows):
    """Hash of the numbers of each key over all rows, without texts."""
    by_key = {}
    for row in rows:
        for key, number in numbers(row):
            if not isinstance(number, str) and key not in ("step", "n"):
                by_key.setdefault(key, []).append(number)
    return {key: sha256(json.dumps(values).encode()) for key, values in by_key.items()}


def run(program, arguments, out):
    command = [str(program)] + [a.replace("OUT", str(out)) for a in arguments]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr[-2000:]}")
    return result.stdout


def fingerprints(programs, out, course):
    text = (ROOT / "data/tiny.txt").read_text()
    (out / "stories.txt").write_text(re.sub(r"^$", "<|endoftext|>", text, flags=re.M))
    for name, arguments in RUNS.items():
        run(programs / name[:6], arguments + COMMON + ["--out", f"OUT/{name}"], out)
        yield from folder_fingerprints(out, out / name)
    for name, arguments in EVALUATIONS.items():
        last = run(programs / name, arguments + COMMON, out).strip().splitlines()[-1]
        for key, value in series([json.loads(last)]).items():
            yield value, f"{name} eval {key}"
    if course:
        run(programs / "examples/course", ["--quick", "--out", "OUT/course"] + COMMON, out)
        yield from folder_fingerprints(out, out / "course")


def folder_fingerprints(out, folder):
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(out)
        if file.suffix == ".safetensors":
            yield sha256(file.read_bytes()), str(path)
        elif file.name == "metrics.jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for key, value in series(rows).items():
                yield value, f"{path} {key}"
        elif file.name == "scoreboard.json":
            for key, value in series([json.loads(file.read_text())]).items():
                yield value, f"{path} {key}"


def compare(before, now):
    """Fingerprints of `before` that are missing from the same file or run in `now`."""
    known = {(line.split()[1], line.split()[0]) for line in now}
    return [line for line in before if (line.split()[1], line.split()[0]) not in known]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=pathlib.Path, help="list made before the change")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/debug",
                        help="folder of the built programs")
    parser.add_argument("--no-course", action="store_true", help="skip `course --quick`")
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as out:
        programs, course = options.programs.resolve(), not options.no_course
        for value, name in fingerprints(programs, pathlib.Path(out), course):
            lines.append(f"{value}  {name}")
            print(lines[-1], flush=True)
    if options.against:
        gone = compare(options.against.read_text().splitlines(), lines)
        lines = ["changed or gone:"] + gone if gone else ["nothing changed"]
        print(*lines, sep="\n", file=sys.stderr)
        sys.exit(1 if gone else 0)


if __name__ == "__main__":
    main()

"""Word problems of SVAMP and the short ones of GSM8K as rows {"question", "answer"}, for part 6 and
part 9:

    python3 scripts/word_problems.py svamp.json gsm8k-train.jsonl runs/word_problems

SVAMP's problems are variations of about a hundred: most have another with the same words and other
numbers. A split by rows would put one on each side, so related problems stay together. GSM8K's are
for training only, those of at most two steps.
"""

import argparse
import json
import random
import re
from pathlib import Path

N_TEST = 200
SEED = 1
# Share of common words from which on two problems are related.
RELATED = 0.5
# Longest question of GSM8K, in characters.
MAX_QUESTION = 200


def steps(equation):
    """Steps of "( ( 4.0 + 13.0 ) * 15.0 )": ["4 + 13 = 17", "17 * 15 = 255"]."""
    lines = []
    operation = re.compile(r"\( (\S+) ([-+*/]) (\S+) \)")
    while match := operation.search(equation):
        left, operator, right = match.groups()
        left, right = float(left), float(right)
        value = {"+": left + right, "-": left - right, "*": left * right}
        result = value[operator] if operator in value else left / right
        lines.append(f"{left:.10g} {operator} {right:.10g} = {result:.10g}")
        equation = equation[: match.start()] + str(result) + equation[match.end() :]
    return lines


def svamp_row(problem):
    question = f"{problem['Body'].rstrip('. ')}. {problem['Question']}"
    lines = steps(problem["Equation"]) + [f"#### {problem['Answer']:.10g}"]
    return {"question": " ".join(question.split()), "answer": "\n".join(lines)}


def gsm8k_row(problem):
    # "48/2 = <<48/2=24>>24 clips" holds the calculator's 48/2=24 beside the text.
    answer = re.sub(r"<<.*?>>", "", problem["answer"])
    return {"question": " ".join(problem["question"].split()), "answer": answer}


def families(questions):
    """Lists of related questions, by their indices."""
    words = [frozenset(re.findall(r"[a-z]+", question.lower())) for question in questions]
    family = list(range(len(words)))
    for i, a in enumerate(words):
        for j, b in enumerate(words[:i]):
            if family[i] != family[j] and len(a & b) >= RELATED * len(a | b):
                old, new = family[i], family[j]
                family = [new if other == old else other for other in family]
    members = {}
    for i, name in enumerate(family):
        members.setdefault(name, []).append(i)
    return list(members.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("svamp", type=Path, help="SVAMP.json")
    parser.add_argument("gsm8k", type=Path, help="GSM8K's train.jsonl")
    parser.add_argument("out", type=Path, help="folder for train.jsonl and test.jsonl")
    args = parser.parse_args()

    svamp = [svamp_row(problem) for problem in json.loads(args.svamp.read_text())]
    groups = families([row["question"] for row in svamp])
    random.Random(SEED).shuffle(groups)
    test, train = [], []
    for group in groups:
        fits = len(test) + len(group) <= N_TEST
        (test if fits else train).extend(svamp[i] for i in group)
    gsm8k = [json.loads(line) for line in args.gsm8k.read_text().splitlines()]
    gsm8k = [problem for problem in gsm8k if problem["answer"].count("<<") <= 2]
    short = [gsm8k_row(problem) for problem in gsm8k if len(problem["question"]) <= MAX_QUESTION]

    args.out.mkdir(parents=True, exist_ok=True)
    files = {"svamp": train, "train": train + short, "test": test}
    for name, rows in files.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (args.out / f"{name}.jsonl").write_text("".join(lines))
        print(f"{args.out / name}.jsonl: {len(rows)} problems")
    print(f"{len(groups)} families of SVAMP's problems")


if __name__ == "__main__":
    main()

"""Writes ROUGE-1, -2 and -L of pairs of texts by Google's rouge_score, without its stemmer.

Writes:    crates/part_6_sft/tests/golden/rouge.json
Usage:     python golden_rouge.py       (rouge-score)
"""

import json
import pathlib

from rouge_score import rouge_scorer

OUT = (
    pathlib.Path(__file__).resolve().parent.parent
    / "crates"
    / "part_6_sft"
    / "tests"
    / "golden"
    / "rouge.json"
)
PAIRS = [
    ("police kill the gunman", "police killed the gunman"),
    ("the gunman kill police", "police killed the gunman"),
    ("the cat sat on the mat", "on the mat sat the cat"),
    ("The cat, the cat: the CAT!", "the cat sat"),
    ("a a a b a a", "a a b b a"),
    ("Don't add the two well-known numbers", "do add two well known numbers, and don't stop"),
    ("one", "one"),
    ("one", "one two"),
    ("one two", "two one"),
    ("", "nothing is said"),
    ("no word in common", "entirely different text"),
    (
        "A list needs memory for each of its links, and an array needs none of them.",
        "An array needs no links, so it needs less memory than a list does for the same numbers.",
    ),
]


def main():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    cases = []
    for completion, expected in PAIRS:
        scores = scorer.score(expected, completion)
        values = {name: score.fmeasure for name, score in scores.items()}
        cases.append({"completion": completion, "expected": expected, **values})
    OUT.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()

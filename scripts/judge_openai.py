"""Reward program that asks a server which speaks the OpenAI chat protocol to score completions.

Usage:     part_9 train ... --reward-timeout 600 --reward-program \\
               "python3 scripts/judge_openai.py --url http://localhost:8080/v1 --model MODEL"

llama.cpp, vLLM and Ollama are such servers. The question is a file in which {prompt}, {completion}
and {answer} are replaced, by default that of --reward judge; the reward is the last "Score: N" of
the reply over 10, and 0, with a message, for a reply without one. The key of a server that needs
one is in the environment variable OPENAI_API_KEY.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import urllib.request

QUESTION = pathlib.Path(__file__).resolve().parent.parent / "crates/part_8_ppo/src/judge_prompt.txt"


def ask(args, question):
    body = {
        "model": args.model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 256,
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        args.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=args.timeout) as reply:
        return json.load(reply)["choices"][0]["message"]["content"] or ""


def score(reply):
    scores = re.findall(r"(?i)\bscore\b[\s:*=]*(-?[0-9]+(?:\.[0-9]+)?)", reply)
    if scores and 0 <= float(scores[-1]) <= 10:
        return float(scores[-1]) / 10
    print(f"judge_openai.py: no score in {reply!r}", file=sys.stderr)
    return 0.0


def fill(question, prompt, completion, answer):
    roles = len(prompt) > 1
    completion = completion[0]["content"]
    prompt = "\n".join(f"{m['role']}: {m['content']}" if roles else m["content"] for m in prompt)
    values = {"prompt": prompt, "completion": completion, "answer": answer or ""}
    return re.sub(r"\{(prompt|completion|answer)\}", lambda match: values[match[1]], question)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", type=pathlib.Path, default=QUESTION)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--parallel", type=int, default=8)
    args = parser.parse_args()
    question = args.prompt.read_text(encoding="utf-8")
    with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        for line in sys.stdin:
            batch = json.loads(line)
            rows = zip(batch["prompts"], batch["completions"], batch["answers"])
            questions = [fill(question, *row) for row in rows]
            replies = pool.map(lambda text: ask(args, text), questions)
            print(json.dumps([score(reply) for reply in replies]), flush=True)


main()

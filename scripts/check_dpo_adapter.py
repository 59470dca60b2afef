"""Scores an adapter of `part_10 train` with peft and TRL, to be held against `part_10 eval`.

Usage:     python check_dpo_adapter.py BASE ADAPTER PAIRS.jsonl BETA     (torch, peft, trl 1.16)

Prints the loss and the metrics of DPOTrainer.evaluate as JSON; those of

    part_10 eval --model RUN --data PAIRS.jsonl --beta BETA --json

have the same names without `eval_`. The prompts are rendered by the chat template and the
completions are texts, to which TRL appends EOS. For rows of messages TRL also counts what a
template renders after EOS, a line break, say.
"""

import json
import pathlib
import sys
import tempfile

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def main(base, adapter, pairs, beta):
    tokenizer = AutoTokenizer.from_pretrained(adapter)

    def model():
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def render(row):
        messages = row["prompt"]
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        prompt = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return {"prompt": prompt, "chosen": row["chosen"], "rejected": row["rejected"]}

    lines = pathlib.Path(pairs).read_text().splitlines()
    rows = Dataset.from_list([render(json.loads(line)) for line in lines])
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            # Without a reference of its own TRL would take the trained adapter as reference.
            model=PeftModel.from_pretrained(model(), adapter, is_trainable=True),
            ref_model=model(),
            args=DPOConfig(
                output_dir=folder,
                beta=float(beta),
                bf16=False,
                max_length=None,
                report_to=[],
                use_cpu=True,
            ),
            train_dataset=rows,
            eval_dataset=rows,
            processing_class=tokenizer,
        )
        print(json.dumps(trainer.evaluate()))


if __name__ == "__main__":
    main(*sys.argv[1:])

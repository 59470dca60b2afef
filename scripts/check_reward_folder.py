"""Checks that transformers opens a saved reward model and computes the same rewards.

Writes:    no files; prints one line.
Usage:     python check_reward_folder.py FOLDER SCORES_JSON       (torch, transformers)

SCORES_JSON holds the `texts`, our token `ids` of them and our rewards as `scores`. The tokenizer of
the folder encodes the texts as one padded batch.
Exit code: 0 all agree, 1 something differs, 77 torch or transformers is missing.
"""

import json
import pathlib
import sys

try:
    import torch
    import transformers
except ImportError as missing:
    print(missing)
    sys.exit(77)


def main():
    folder, check_path = map(pathlib.Path, sys.argv[1:])
    check = json.loads(check_path.read_text())
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    mismatches = {kind: keys for kind, keys in report.items() if keys}
    assert not mismatches, f"weights do not match the model: {mismatches}"
    assert model.config.num_labels == 1, model.config.num_labels
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id == model.config.pad_token_id, (
        tokenizer.pad_token_id,
        model.config.pad_token_id,
    )
    batch = tokenizer(check["texts"], padding=True, add_special_tokens=False, return_tensors="pt")
    rows = zip(batch["input_ids"], batch["attention_mask"])
    ids = [row[mask.bool()].tolist() for row, mask in rows]
    assert ids == check["ids"], (ids, check["ids"])
    assert len({len(row) for row in ids}) > 1, "the texts must differ in length, to test padding"
    with torch.no_grad():
        rewards = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits[:, 0]
    torch.testing.assert_close(
        rewards, torch.tensor(check["scores"], dtype=rewards.dtype), rtol=1e-4, atol=1e-4
    )
    print(f"{type(model).__name__} agrees on {len(rewards)} texts")


main()

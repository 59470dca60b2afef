"""Checks that transformers opens a saved reward model and scores texts as we do.

Usage:     python check_reward_folder.py FOLDER SCORES.json       (torch, transformers)

SCORES.json holds `texts` as they are written, our `ids` of them and our `scores`. The folder's own tokenizer makes one batch of the texts.
Exit code 77 where torch or transformers is missing.
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
    folder, said = map(pathlib.Path, sys.argv[1:])
    said = json.loads(said.read_text())
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    left = {key: names for key, names in report.items() if names}
    assert not left, f"keys that do not fit: {left}"
    assert model.config.num_labels == 1, model.config.num_labels
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id == model.config.pad_token_id, (tokenizer.pad_token_id, model.config.pad_token_id)
    batch = tokenizer(said["texts"], padding=True, add_special_tokens=False, return_tensors="pt")
    ids = [row[real.bool()].tolist() for row, real in zip(batch["input_ids"], batch["attention_mask"])]
    assert ids == said["ids"], (ids, said["ids"])
    assert len({len(row) for row in ids}) > 1, "texts of one length need no padding"
    with torch.no_grad():
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    torch.testing.assert_close(scores, torch.tensor(said["scores"], dtype=scores.dtype), rtol=1e-4, atol=1e-4)
    print(f"{type(model).__name__} agrees on {len(scores)} texts")


main()

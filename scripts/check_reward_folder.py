"""Checks that transformers opens a saved reward model and scores texts as we do.

Usage:     python check_reward_folder.py FOLDER SCORES.json       (torch, transformers)

SCORES.json holds `texts`, lists of ids, and our `scores`. They are padded with the folder's own pad_token_id, as one batch.
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
    pad = model.config.pad_token_id
    longest = max(map(len, said["texts"]))
    ids = torch.tensor([text + [pad] * (longest - len(text)) for text in said["texts"]])
    real = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in said["texts"]])
    with torch.no_grad():
        scores = model(input_ids=ids, attention_mask=real).logits[:, 0]
    torch.testing.assert_close(scores, torch.tensor(said["scores"], dtype=scores.dtype), rtol=1e-4, atol=1e-4)
    print(f"{type(model).__name__} agrees on {len(scores)} texts")


main()

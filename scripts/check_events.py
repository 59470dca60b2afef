"""Checks part 4's logs against the readers of TensorBoard and Weights & Biases.

Writes:    no files; prints one line.
Usage:     python check_events.py tensorboard|wandb FOLDER_OR_FILE CHECK_JSON

For tensorboard, a folder of event files, and the logged values:
    "scalars": {TAG: [[STEP, "VALUE"]]}, "histograms": {TAG: [STEP, MIN, MAX, COUNT, SUM]},
    "texts": {TAG: [[STEP, TEXT]]}, "images": {TAG: [STEP, WIDTH, HEIGHT, BYTES]},
    "hparams": {NAME: VALUE}
For wandb, a .wandb file, and the logged values:
    "project", "name", "config": {NAME: VALUE}, "history": [{NAME: VALUE, or "nan"}],
    "finished": BOOL

Exit code: 0 all agree, 1 something differs, 77 the package is missing.
Made with: Python 3.11.7, tensorboard 2.21.0, wandb 0.29.0 (the last with a reader in Python)
"""

import json
import pathlib
import sys


def check_tensorboard(folder, check):
    keep_all = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}
    events = EventAccumulator(folder, size_guidance=keep_all).Reload()
    tags = events.Tags()
    for kind in ["scalars", "histograms", "images"]:
        yield f"tags of {kind}", sorted(check[kind]), sorted(tags[kind])
    for tag, points in check["scalars"].items():
        # As text, so that NaN equals NaN.
        yield (
            tag,
            [(step, str(float(value))) for step, value in points],
            [(event.step, str(event.value)) for event in events.Scalars(tag)],
        )
    for tag, (step, *numbers) in check["histograms"].items():
        [event] = events.Histograms(tag)
        read = event.histogram_value
        read_numbers = [event.step, read.min, read.max, read.num, read.sum, sum(read.bucket)]
        yield tag, [step, *numbers, numbers[2]], read_numbers
        limits = list(read.bucket_limit)
        yield f"limits of {tag}", sorted(set(limits)), limits
    for tag, texts in check["texts"].items():
        yield (
            tag,
            texts,
            [
                [event.step, event.tensor_proto.string_val[0].decode()]
                for event in events.Tensors(tag)
            ],
        )
        yield f"plugin of {tag}", "text", events.SummaryMetadata(tag).plugin_data.plugin_name
    for tag, (step, width, height, png) in check["images"].items():
        [read] = events.Images(tag)
        read_image = (read.step, read.width, read.height, read.encoded_image_string)
        yield tag, (step, width, height, bytes(png)), read_image
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    hparams = {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}
    yield "hparams", check["hparams"], hparams


def check_wandb(file, check):
    store = DataStore()
    store.open_for_scan(file)
    records = []
    while (data := store.scan_data()) is not None:
        records.append(Record.FromString(data))
    yield "record numbers", list(range(1, len(records) + 1)), [record.num for record in records]
    of_kind = lambda kind: [getattr(record, kind) for record in records if record.HasField(kind)]
    # NaN as text, so that it equals itself.
    parse = lambda item: json.loads(item.value_json, parse_constant=str.lower)
    items = lambda row: {(item.key or "/".join(item.nested_key)): parse(item) for item in row}
    [run] = of_kind("run")
    yield "project and name", (check["project"], check["name"]), (run.project, run.display_name)
    yield "file", f"run-{run.run_id}.wandb", pathlib.Path(file).name
    yield "config", check["config"], items(run.config.update)
    history = [items(row.item) for row in of_kind("history")]
    yield (
        "summaries",
        [dict(row) for row in history],
        [items(row.update) for row in of_kind("summary")],
    )
    yield "steps", [row["_step"] for row in history], [row.step.num for row in of_kind("history")]
    started = run.start_time.seconds + run.start_time.nanos / 1e9
    for row in history:
        drift = row.pop("_timestamp") - started - row.pop("_runtime")
        yield "timestamp and runtime agree to a second", True, abs(drift) < 1
    yield "history", check["history"], history
    yield "exit codes", [0] * check["finished"], [end.exit_code for end in of_kind("exit")]


def main(tracker, logged, check_path):
    check = json.loads(pathlib.Path(check_path).read_text(encoding="utf-8"))
    compare = check_tensorboard if tracker == "tensorboard" else check_wandb
    comparisons = list(compare(logged, check))
    for name, ours, theirs in comparisons:
        if ours != theirs:
            print(f"FAIL: {name}: logged {ours!r}, read {theirs!r}")
            return 1
    print(f"OK: {tracker}, {len(comparisons)} comparisons")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("tensorboard", "wandb"):
        sys.exit(__doc__)
    try:
        if sys.argv[1] == "tensorboard":
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
            from tensorboard.plugins.hparams import metadata
        else:
            import wandb

            wandb._assert_is_internal_process = True  # the reader requires it
            from wandb.proto.wandb_internal_pb2 import Record
            from wandb.sdk.internal.datastore import DataStore
    except ImportError as error:
        print(f"SKIP: {error}")
        sys.exit(77)
    sys.exit(main(*sys.argv[1:]))

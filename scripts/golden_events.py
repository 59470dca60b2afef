"""Writes part 4's golden event file with TensorBoard's own messages and record writer.

    python scripts/golden_events.py crates/experiment/tests/golden/events.tfevents

Made with: tensorboard 2.21.0, numpy 2.4.6
"""

import sys

import numpy
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

HUGE = sys.float_info.max


def value(**fields):
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(**fields)])


def limits():
    """Bucket limits of tensorflow/core/lib/histogram/histogram.cc."""
    positive, limit = [], 1e-12
    while limit < 1e20:
        positive.append(limit)
        limit *= 1.1
    positive.append(HUGE)
    return [-limit for limit in reversed(positive)] + [0.0] + positive


def histogram(values):
    values = numpy.array(values, dtype=float)
    edges = limits()
    counts, _ = numpy.histogram(values, bins=edges)
    rows = []
    first, *_, last = counts.nonzero()[0]
    for limit, count in zip(edges[first + 1 : last + 2], counts[first : last + 1]):
        if rows and count == 0 and rows[-1][1] == 0:
            rows.pop()  # consecutive empty buckets are merged
        rows.append((limit, count))
    return summary_pb2.HistogramProto(
        min=values.min(),
        max=values.max(),
        num=len(values),
        sum=values.sum(),
        sum_squares=(values**2).sum(),
        bucket_limit=[limit for limit, _ in rows],
        bucket=[count for _, count in rows],
    )


def hparams(settings, start):
    session = plugin_data_pb2.SessionStartInfo(start_time_secs=start)
    for name, setting in settings.items():
        if isinstance(setting, bool):
            session.hparams[name].bool_value = setting
        elif isinstance(setting, str):
            session.hparams[name].string_value = setting
        else:
            session.hparams[name].number_value = setting
    content = plugin_data_pb2.HParamsPluginData(session_start_info=session)
    return value(
        tag=metadata.SESSION_START_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )


EVENTS = [
    {"file_version": "brain.Event:2"},
    {"step": 1, "summary": value(tag="loss", simple_value=0.25)},
    {"step": 300, "summary": value(tag="loss", simple_value=0)},
    {
        "step": 2,
        "summary": value(
            tag="gradients", histo=histogram([-2.5, -1.5, 0, 2**-10, 2**-10, 3, 2**70])
        ),
    },
    {"step": 3, "summary": text_pb("sample", "Once | upon\na time, नमस्ते")},
    {
        "step": 4,
        "summary": value(
            tag="picture",
            image=summary_pb2.Summary.Image(height=2, width=3, encoded_image_string=b"PNG"),
        ),
    },
    # One event each, because a protobuf map has no order.
    {"step": 5, "summary": hparams({"lr": 0.001}, 7.5)},
    {"step": 5, "summary": hparams({"model.n_layer": 2}, 7.5)},
    {"step": 5, "summary": hparams({"name": "tiny"}, 7.5)},
    {"step": 5, "summary": hparams({"seen": "[1,2]"}, 7.5)},
    {"step": 5, "summary": hparams({"tied": True}, 7.5)},
    {"step": 6, "session_log": event_pb2.SessionLog(status=event_pb2.SessionLog.START)},
]

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], "wb") as file:
        writer = RecordWriter(file)
        for second, event in enumerate(EVENTS):
            writer.write(event_pb2.Event(wall_time=1.5e9 + second, **event).SerializeToString())

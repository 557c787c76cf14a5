"""Writes events/scalars.tfevents: a few events, by TensorBoard's own writer and messages.

Needs the tensorboard package. crates/train/tests/events.rs lists the same events.
"""

import math
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

Event, SessionLog = event_pb2.Event, event_pb2.SessionLog


def scalars(**pairs):
    Value = summary_pb2.Summary.Value
    values = [Value(tag=tag.replace("__", "/"), simple_value=value) for tag, value in pairs.items()]
    return summary_pb2.Summary(value=values)


EVENTS = [
    Event(wall_time=1_700_000_000.0, file_version="brain.Event:2"),
    Event(wall_time=1_700_000_000.25, step=10, summary=scalars(step__train_loss=2.5, step__lr=0.01)),
    Event(wall_time=1_700_000_001.5, step=300, summary=scalars(train__loss=0.0, métrique=-1e-20)),
    Event(wall_time=1_700_000_002.0, step=301, session_log=SessionLog(status=SessionLog.START)),
    Event(wall_time=1_700_000_003.0, step=450_000, summary=scalars(odd=math.nan, high=math.inf)),
]

if __name__ == "__main__":
    path = Path(__file__).parent / "events" / "scalars.tfevents"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in EVENTS:
            writer.write(event.SerializeToString())
    print(f"{path}: {path.stat().st_size} bytes")

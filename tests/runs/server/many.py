"""A store with many runs, written by SQL in a moment."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np

from steepest.records.run import COLUMNS
from steepest.runs.store import Store
from steepest.runs.store.liveness import this_process

RULES = ("adam", "momentum", "gradient_descent", "adamw")
CHUNK = 250
MEASUREMENTS = 20


def fill(store: Store, runs: int, steps: int = 500, measurements_each: int = MEASUREMENTS) -> list[str]:
    """Adds runs that are over, oldest first, each with its own loss; returns their ids."""
    if not (store.folder / "runs.db").exists():
        store.begin("first", {"rule": "adam", "stages": [], "metric": "accuracy", "better": "higher"}, {}, 0).close(
            "done", 1.0
        )
    random = np.random.default_rng(0)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [f"digits-{i:04x}" for i in range(runs)]
    rows, chunks, measurements = [], [], []
    for i, run in enumerate(ids):
        config = {
            "task": "digits", "rule": RULES[i % 4], "stages": [{"rule": RULES[i % 4]}], "lr": 0.001 * (1 + i % 7),
            "schedule": "warmup(5%) >> cosine", "batch_size": (32, 64)[i % 2], "seed": i % 5, "steps": steps,
            "metric": "accuracy", "better": "higher", "weights": 26122, "validation_samples": 144,
        }  # fmt: skip
        started = (start + timedelta(minutes=i)).isoformat(timespec="milliseconds")
        status = "failed" if i % 50 == 7 else "done"
        rows.append((run, "digits", status, started, 1.5, i % 5, json.dumps(config), "{}", "", *this_process()))
        t = np.arange(1.0, steps + 1)
        loss = 2.3 * np.exp(-t / 150) * np.exp(0.1 * random.normal(size=steps))
        columns = {
            "t": t,
            "epoch": t / 25,
            "lr": np.full(steps, 0.001),
            "loss": loss,
            "grad_norm": loss,
            "update_norm": loss,
        }
        for t0 in range(0, steps, CHUNK):
            part = [columns[name][t0 : t0 + CHUNK].astype("<f8").tobytes() for name in COLUMNS]
            chunks.append((run, 0, t0 + 1, min(CHUNK, steps - t0), *part))
        for k in range(1, measurements_each + 1):
            at = k * steps // measurements_each
            shares = (round(144 * (1 - 0.9 * np.exp(-at / 100)) - i % 9) / 144, float(loss[at - 1]))
            names = ("accuracy", "loss")
            measurements += [(run, 0, at, at / 25, "validation", n, v) for n, v in zip(names, shares, strict=True)]
    with closing(sqlite3.connect(store.folder / "runs.db")) as database, database:
        for table, values in (("runs", rows), ("chunks", chunks), ("measurements", measurements)):
            database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(values[0]))})", values)
    return ids

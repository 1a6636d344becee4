"""The six steps that every candidate runs: plain functions, no orchestrator."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import time
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

WORK = Path(os.environ["BENCH_WORK"])


def load() -> pd.DataFrame:
    return pd.read_csv(WORK / "rows.csv")


def preprocess(rows: pd.DataFrame) -> dict[str, Any]:
    features, target = rows.drop(columns=["target", "row"]), rows["target"]
    train, test, train_target, test_target = train_test_split(features, target, test_size=0.25, random_state=0)
    scaler = StandardScaler().fit(train)
    return {
        "train": scaler.transform(train),
        "test": scaler.transform(test),
        "train_target": train_target.to_numpy(),
        "test_target": test_target.to_numpy(),
    }


def train(data: dict[str, Any]) -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(data["train"], data["train_target"])


def evaluate(model: LogisticRegression, data: dict[str, Any]) -> dict[str, float]:
    scores = model.predict_proba(data["test"])[:, 1]
    return {
        "accuracy": float(accuracy_score(data["test_target"], scores > 0.5)),
        "roc_auc": float(roc_auc_score(data["test_target"], scores)),
    }


def register(model: LogisticRegression, metrics: dict[str, float]) -> str:
    version = str(time.time_ns())
    store = WORK / "store"
    store.mkdir(exist_ok=True)
    (store / f"model-{version}.pkl").write_bytes(pickle.dumps(model))
    with sqlite3.connect(store / "registry.db") as database:
        database.execute("create table if not exists versions(version text, metrics text)")
        database.execute("insert into versions values(?, ?)", (version, json.dumps(metrics)))
    database.close()
    return version


def postprocess(version: str, metrics: dict[str, float]) -> int:
    (WORK / "store").mkdir(exist_ok=True)
    (WORK / "store" / "latest.json").write_text(json.dumps({"version": version, "metrics": metrics}))
    return 1

"""FastAPI by hand, as a careful person would write it."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(os.environ["BENCH_MODEL"] + "/model.joblib")
app = FastAPI()


class Customer(BaseModel):
    tenure: int
    senior_citizen: int
    monthly_charges: float
    total_charges: float
    gender: str
    partner: str
    multiple_lines: str
    internet_service: str
    online_security: str
    online_backup: str
    device_protection: str
    tech_support: str
    streaming_tv: str
    contract: str
    payment_method: str


class Body(BaseModel):
    instances: list[Customer]


@app.post("/predict")
def predict(body: Body) -> dict[str, list[list[float]]]:
    rows = pd.DataFrame([one.model_dump() for one in body.instances])
    return {"predictions": model.predict_proba(rows).tolist()}

"""Keep a note beside the model. A plain SageMaker processing script."""

import json
from pathlib import Path

import joblib

HERE = Path("/opt/ml/processing")
model = joblib.load(HERE / "input" / "model" / "model.joblib")
joblib.dump(model, HERE / "output" / "model" / "model.joblib")
(HERE / "output" / "model" / "note.json").write_text(json.dumps({"coefficients": model.coef_.shape[1]}))

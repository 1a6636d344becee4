"""Neural networks: PyTorch (TorchScript, torch.export) and Keras, float32 tables in, rows of numbers out."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

from modelyard.runtime.modelfiles import Format, find, homeless, is_pickle, unpickled
from modelyard.runtime.outputs import BadOutput, gives_probabilities
from modelyard.runtime.rows import Rows
from modelyard.runtime.script import CannotLoad

_TORCH = Format(("model.pt2", "model.pt", "model.pth"), (".pt2", ".pt", ".pth"), lambda start: start.startswith(b"PK\x03\x04"))


def load_torch(folder: Path) -> Any:
    """The module in model.pt2 (torch.export) or model.pt (TorchScript, or a whole module as torch.save writes it), else in the file
    that fits. Raises CannotLoad."""
    path, torch = find(folder, _TORCH, "file .pt2, .pt or .pth"), importlib.import_module("torch")
    if path.suffix == ".pt2":
        return torch.export.load(str(path)).module()
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as exc:
        module = _saved_whole(torch, path)
        if module is None:
            raise CannotLoad(
                f"{path.name} is no TorchScript module: where it is a state dict, define model_fn(model_dir) that builds the network and "
                "loads it; or save the network by torch.jit or torch.export"
            ) from exc
        return module.eval()


def _saved_whole(torch: Any, path: Path) -> Any:
    """The module that torch.save or pickle wrote with its class; None where the file holds something else."""
    try:
        found = torch.load(str(path), map_location="cpu", weights_only=False)
    except AttributeError as exc:
        raise homeless(exc) from exc
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        found = unpickled(path) if is_pickle(path) else None
    return found if isinstance(found, torch.nn.Module) else None


def load_keras(folder: Path) -> Any:
    """The model in a .keras or .h5 file, else a SavedModel's `serving_default`. Raises CannotLoad."""
    keras: Any = importlib.import_module("keras")
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".keras", ".h5", ".hdf5"))
    if len(files) == 1:
        return keras.models.load_model(str(files[0]), compile=False)
    saved = sorted(p.parent for p in folder.rglob("saved_model.pb"))  # SageMaker's layout puts it into 1/ or export/Servo/1/
    if files or not saved:
        raise CannotLoad(f"the model folder holds {len(files)} .keras or .h5 files and no SavedModel; leave one, or define model_fn")
    return keras.Sequential([keras.layers.TFSMLayer(str(saved[-1]), call_endpoint="serving_default")])


def table(rows: Rows) -> Any:
    """The rows as a 2-D float32 array. Raises BadOutput for text."""
    np: Any = importlib.import_module("numpy")
    for name, values in rows.columns.items():
        if any(isinstance(v, str) for v in values):
            raise BadOutput(f"column `{name}` is text, and the network takes numbers: encode it in `inference.pre`, or define predict_fn")
    return np.column_stack([np.array(values, dtype=np.float32) for values in rows.columns.values()])


def torch_predict(model: Any, rows: Rows, signature: dict[str, Any]) -> Any:
    """The network's answer for the rows. For a classifier it must be probabilities: logits are refused, not guessed at."""
    torch: Any = importlib.import_module("torch")
    with torch.no_grad():
        answer = model(torch.from_numpy(table(rows)))
    values = (answer[0] if isinstance(answer, (tuple, list)) else answer).detach().cpu().numpy()
    return _no_logits(values, signature)


def keras_predict(model: Any, rows: Rows, signature: dict[str, Any]) -> Any:
    """The network's answer for the rows; as with PyTorch, a classifier's must be probabilities."""
    np: Any = importlib.import_module("numpy")
    answer = model(table(rows), training=False)
    return _no_logits(np.asarray(next(iter(answer.values())) if isinstance(answer, dict) else answer), signature)


def _no_logits(values: Any, signature: dict[str, Any]) -> Any:
    if signature["problem_type"] == "multilabel_classification" or not gives_probabilities(signature) or values.dtype.kind != "f":
        return values
    off = (values < -1e-3) | (values > 1 + 1e-3)
    if values.ndim == 2 and values.shape[1] > 1:
        off = off.any(axis=1) | (abs(values.sum(axis=1) - 1) > 1e-2)
    if off.any():
        raise BadOutput("the network gives logits, not probabilities: end it in a softmax or sigmoid, or define predict_fn")
    return values

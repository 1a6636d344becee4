"""Models of many frameworks, each saved as its own users do, beside what the framework itself answers: run in an environment that has them.

    python made.py FOLDER NAME...

writes FOLDER/NAME/model/*, perhaps FOLDER/NAME/code/*, and FOLDER/NAME/made.json: framework, signature, columns, and `truth`, the outputs
that the runner must give.
"""

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 3))
Z = X[:, 0] + X[:, 1] * X[:, 2]
KIND = (Z > -0.5).astype(int) + (Z > 0.5)  # three classes
WORD = np.array(["low", "mid", "top"])[KIND]
NEW = RNG.normal(size=(40, 3))
NAMES = ["a", "b", "c"]


def signed(problem, classes=(), positive=None, kinds=("float",) * 3):
    columns = [{"name": n, "type": k, "nullable": True} for n, k in zip(NAMES, kinds, strict=True)]
    threshold = 0.5 if problem == "binary_classification" else None
    return {
        "problem_type": problem,
        "columns": columns,
        "classes": list(classes),
        "positive_class": positive,
        "decision_threshold": threshold,
    }


NUMBER, THREE = signed("regression"), signed("multiclass_classification", [0, 1, 2])
BINARY = signed("binary_classification", [0, 1], 1)


def told(framework, signature, truth, columns=None):
    truth = {name: np.asarray(values).tolist() for name, values in truth.items()}
    columns = columns or dict(zip(NAMES, NEW.T.tolist(), strict=True))
    return {"framework": framework, "signature": signature, "columns": columns, "truth": truth}


def table(scores, classes=(0, 1, 2)):
    return {f"probability_{c}": np.asarray(scores)[:, i] for i, c in enumerate(classes)}


def xgboost(folder, how):
    import xgboost as xgb

    if how == "wrapper":
        model = xgb.XGBClassifier(n_estimators=10, seed=1).fit(X, KIND)
        pickle.dump(model, (folder / "model.pkl").open("wb"))
        return told("xgboost", THREE, table(model.predict_proba(NEW)))
    if how == "columns":
        booster = xgb.train({"seed": 1}, xgb.DMatrix(X[:, [2, 0]], label=Z, feature_names=["c", "a"]), 10)
        booster.save_model(folder / "first.json")
        (folder / "metrics.json").write_text('{"rmse": 1}')
        return told("xgboost", NUMBER, {"prediction": booster.predict(xgb.DMatrix(NEW[:, [2, 0]], feature_names=["c", "a"]))})
    objective, signature = {
        "ubj": ("binary:logistic", BINARY), "json": ("multi:softprob", THREE), "softmax": ("multi:softmax", THREE),
        "pickled": ("reg:squarederror", NUMBER),
    }[how]  # fmt: skip
    label = {"ubj": Z > 0, "pickled": Z}.get(how, KIND)
    extra = {"num_class": 3} if objective.startswith("multi") else {}
    booster = xgb.train({"objective": objective, "seed": 1, **extra}, xgb.DMatrix(X, label=label), 10)
    answer = booster.predict(xgb.DMatrix(NEW))
    if how == "pickled":
        pickle.dump(booster, (folder / "xgboost-model").open("wb"))  # as SageMaker's built-in algorithm did
        return told("xgboost", NUMBER, {"prediction": answer})
    booster.save_model(folder / ("model.ubj" if how == "ubj" else "model.json"))
    if how == "softmax":
        return told("xgboost", THREE, {"prediction": answer.astype(int)})
    return told("xgboost", signature, {"probability_1": answer} if how == "ubj" else table(answer))


def lightgbm(folder, how):
    import joblib
    import lightgbm as lgb
    import pandas as pd

    options = {"verbose": -1, "seed": 1, "min_data_in_leaf": 5}
    if how == "wrapper":
        model = lgb.LGBMClassifier(n_estimators=10, **options).fit(X, WORD)
        joblib.dump(model, folder / "model.joblib")
        return told(
            "lightgbm", signed("multiclass_classification", ["low", "mid", "top"]), table(model.predict_proba(NEW), ["low", "mid", "top"])
        )
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": pd.Categorical(np.where(X[:, 2] > 0, "up", "down"))})
    booster = lgb.train({"objective": "regression", **options}, lgb.Dataset(frame, label=Z), 10)
    booster.save_model(folder / "model.txt")
    texts = np.where(NEW[:, 2] > 0, "up", "down")
    texts[:20] = "up"  # a batch in which the categories of training do not all appear
    new = pd.DataFrame({"a": NEW[:, 0], "b": NEW[:, 1], "c": pd.Categorical(texts, categories=["down", "up"])})
    columns = {"a": NEW[:, 0].tolist(), "b": NEW[:, 1].tolist(), "c": texts.tolist()}
    return told("lightgbm", signed("regression", kinds=("float", "float", "str")), {"prediction": booster.predict(new)}, columns)


def catboost(folder, how):
    import catboost as cb
    import pandas as pd

    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 0, "up", "down")})
    new = pd.DataFrame({"a": NEW[:, 0], "b": NEW[:, 1], "c": np.where(NEW[:, 2] > 0, "up", "down")})
    if how == "columns":
        model = cb.CatBoostRegressor(iterations=9, random_seed=1, verbose=False, allow_writing_files=False).fit(frame[["b", "a"]], Z)
        model.save_model(str(folder / "catboost-regressor-model.dump"))
        return told("catboost", NUMBER, {"prediction": model.predict(new[["b", "a"]])})
    model = cb.CatBoostClassifier(iterations=15, cat_features=["c"], random_seed=1, verbose=False, allow_writing_files=False).fit(
        frame, WORD
    )
    model.save_model(str(folder / "model.cbm"))
    signature = signed("multiclass_classification", ["low", "mid", "top"], kinds=("float", "float", "str"))
    truth = {"prediction": model.predict(new)[:, 0], **table(model.predict_proba(new), ["low", "mid", "top"])}
    return told("catboost", signature, truth, {name: new[name].tolist() for name in NAMES})


def mlflow(folder, how):
    import mlflow.lightgbm
    import mlflow.pyfunc
    import mlflow.sklearn
    import pandas as pd
    from sklearn.linear_model import LinearRegression, LogisticRegression

    frame, new = pd.DataFrame(X, columns=NAMES), pd.DataFrame(NEW, columns=NAMES)
    if how == "sklearn":
        model = LogisticRegression().fit(frame, WORD)
        mlflow.sklearn.save_model(model, folder / "model", pip_requirements=[], serialization_format="cloudpickle")
        return told(
            "mlflow", signed("multiclass_classification", ["low", "mid", "top"]), table(model.predict_proba(new), ["low", "mid", "top"])
        )
    if how == "regressor":
        model = LinearRegression().fit(frame, Z)
        mlflow.sklearn.save_model(model, folder, pip_requirements=[], serialization_format="cloudpickle")
        return told("mlflow", NUMBER, {"prediction": model.predict(new)})

    if how == "logged":  # by a script that leaves the model in its tracking store, and numbers the classes
        import lightgbm as lgb

        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        mlflow.set_tracking_uri(f"file://{folder}/mlruns")
        data = lgb.Dataset(frame[["c", "b", "a"]], label=KIND)
        booster = lgb.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "min_data_in_leaf": 5}, data, 5)
        with mlflow.start_run():
            mlflow.lightgbm.log_model(booster, name="model", pip_requirements=[])
        words = ["low", "mid", "top"]
        return told("mlflow", signed("multiclass_classification", words), table(booster.predict(new[["c", "b", "a"]]), words))

    class Doubled(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["a"] * 2

    mlflow.pyfunc.save_model(folder, python_model=Doubled(), pip_requirements=[])
    return told("mlflow", NUMBER, {"prediction": NEW[:, 0] * 2})


def sklearn(folder, how):
    import joblib
    from sklearn.ensemble import IsolationForest
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if how == "columns":
        import pandas as pd

        frame, new = pd.DataFrame(X, columns=NAMES), pd.DataFrame(NEW, columns=NAMES)
        model = DecisionTreeRegressor(max_depth=4).fit(frame[["c", "a"]], Z)
        joblib.dump(model, folder / "tree.sav")
        return told("sklearn", NUMBER, {"prediction": model.predict(new[["c", "a"]])})
    if how == "anomalies":
        model = IsolationForest(random_state=1).fit(X)
        truth = {"score": -model.score_samples(NEW), "prediction": np.where(model.predict(NEW) == -1, "odd", "ok")}
        signature = signed("anomaly_detection", ["ok", "odd"], "odd")
    else:
        model = MultiOutputClassifier(DecisionTreeClassifier(max_depth=3)).fit(X, np.column_stack([X[:, 0] > 0, Z > 0]).astype(int))
        scores = [part[:, 1] for part in model.predict_proba(NEW)]
        held = zip(*(s >= 0.5 for s in scores), strict=True)
        words = [";".join(n for n, yes in zip(("pos", "sum"), row, strict=True) if yes) for row in held]
        signature = {**signed("multilabel_classification", ["pos", "sum"]), "label_separator": ";", "decision_threshold": 0.5}
        truth = {"prediction": words, **{f"probability_{n}": s for n, s in zip(("pos", "sum"), scores, strict=True)}}
    joblib.dump(model, folder / "model.joblib")
    return told("sklearn", signature, truth)


NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    def forward(self, x):
        return torch.softmax(self.layers(x), dim=1)
"""


def pytorch(folder, how):
    import torch

    space = {}
    exec(NETWORK, space)  # noqa: S102  (our own text, which the model's script holds too)
    torch.manual_seed(1)
    net = space["Net"]().eval()
    new = torch.tensor(NEW, dtype=torch.float32)
    if how == "script":
        torch.jit.trace(net, new[:2]).save(folder / "model.pt")
    elif how == "export":
        rows = torch.export.Dim("rows")
        torch.export.save(torch.export.export(net, (new[:3],), dynamic_shapes=({0: rows},)), folder / "model.pt2")
    elif how == "whole":
        code = folder.parent / "code"
        code.mkdir()
        (code / "inference.py").write_text("print('no functions')")
        (code / "network_of_script.py").write_text(NETWORK)
        sys.path.insert(0, str(code))
        from network_of_script import Net

        whole = Net()
        whole.load_state_dict(net.state_dict())
        torch.save(whole, folder / "network.bin")
    elif how == "logits":
        torch.jit.trace(net.layers, new[:2]).save(folder / "model.pt")
    else:
        torch.save(net.state_dict(), folder / "model.pth")
        code = folder.parent / "code"
        code.mkdir()
        script = (
            "def model_fn(folder):\n    net = Net()\n    net.load_state_dict(torch.load(f'{folder}/model.pth'))\n    return net.eval()\n"
        )
        script += (
            "def input_fn(body, kind):\n    import io, numpy\n    return torch.from_numpy(numpy.load(io.BytesIO(body)).astype('float32'))\n"
        )
        (code / "inference.py").write_text(NETWORK + (script if how == "state" else ""))
    with torch.no_grad():
        return told("pytorch", THREE, table(net(new)))


def tensorflow(folder, how):
    import keras

    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3, activation="softmax")])
    if how == "saved":
        net.export(folder / "1", verbose=False)  # SageMaker's layout
    else:
        net.save(folder / f"model.{how}")
    return told("tensorflow", THREE, table(net.predict(NEW.astype("float32"), verbose=0)))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        framework, _, how = name.partition("-")
        place = Path(sys.argv[1]) / name
        (place / "model").mkdir(parents=True)
        (place / "made.json").write_text(json.dumps(globals()[framework](place / "model", how)))

"""The explain step over real runners, and explanations of a version's rows."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeRegressor

from modelyard.build import bundle
from modelyard.cli import explain as command
from modelyard.config.spec import Config
from modelyard.config.spec.quality import Explain
from modelyard.errors import BadInput, NotFound
from modelyard.events import VersionRegistered
from modelyard.feed import Feed
from modelyard.flows import batch, evaluation, explanation
from modelyard.home import Home
from modelyard.serve import explain as structural
from modelyard.serve.runner import predict
from modelyard.signature import Column, Signature
from modelyard.targets.fake import FakeTarget
from modelyard.workshop import Workshop
from tests.serve.world import World

NAMES = ("a", "b", "c")
BINARY = Signature(
    "binary_classification",
    tuple(Column(n, "float") for n in NAMES),
    classes=("no", "yes"),
    positive_class="yes",
    decision_threshold=0.5,
    target_col="label",
    id_col="id",
)
SCRIPT = "def predict_fn(x, model):\n    return model.predict_proba(x)\n"


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def rows(count: int, seed: int) -> pl.DataFrame:
    x = np.random.default_rng(seed).normal(size=(count, 3))
    label = np.where(x[:, 0] * (x[:, 1] > 0) > 0.1, "yes", "no")
    return pl.DataFrame({"id": [f"r{i}" for i in range(count)], **{n: x[:, j] for j, n in enumerate(NAMES)}, "label": label})


class Place:
    """A site as far as the step looks at it: a model at the end of training, its hold-out scored by the runner that serves."""

    def __init__(self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, signed: Signature = BINARY) -> None:
        self.folder, self.world, self.signed = tmp_path, world, signed
        training = rows(150, 1)
        target = training["label"].to_numpy() if signed.classes else training["a"].to_numpy()
        world.save("1", model.fit(training.select(NAMES).to_numpy(), target))
        world.runner("1", signed)
        world.ready("1")
        training.write_parquet(tmp_path / "train.parquet")
        (tmp_path / "signature.json").write_text(json.dumps(signed.to_dict()))
        test = rows(60, 2)
        answers = predict(world.socket("1"), test, signed)
        features = test.select(pl.col("id").alias("inference_id"), *(pl.col(n).alias(f"f.{n}") for n in NAMES), "label")
        pl.concat([features, answers], how="horizontal").write_parquet(tmp_path / "holdout.parquet")
        self.run = SimpleNamespace(feed=Feed(tmp_path / "feed"))
        monkeypatch.setattr(explanation, "running", self._running)
        monkeypatch.setattr(evaluation, "loadable", lambda *_: None)

    @contextmanager
    def _running(self, what: Any, log: Path) -> Iterator[Path]:
        yield self.world.socket("1")

    def part(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def explain(self, **asked: Any) -> tuple[dict[str, Any], pl.DataFrame]:
        self.config = SimpleNamespace(explain=Explain(**asked))
        outcome = explanation.explain(self, "", {})  # type: ignore[arg-type]
        assert json.loads(json.dumps(outcome.value)) == outcome.value
        document = json.loads((self.folder / "explanations.json").read_text())
        return document, pl.read_parquet(self.folder / "attributions.parquet")


def total(table: pl.DataFrame) -> np.ndarray:
    return table.select(f"f.{n}" for n in NAMES).to_numpy().sum(axis=1) + table["base"].to_numpy()


def test_a_forest_is_explained_exactly_by_its_runner(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(world, tmp_path, monkeypatch, RandomForestClassifier(10, random_state=0))
    monkeypatch.setattr("modelyard.serve.explain.CHUNK_ROWS", 13)  # parts have to come back in order
    document, table = place.explain(rows=40, background=20)
    assert (document["method"], document["output"], document["of"]) == ("tree", "probability", "probability_yes")
    assert (document["rows"], document["background_rows"]) == (40, 20) and document["additivity_error"] < 1e-9
    holdout = pl.read_parquet(tmp_path / "holdout.parquet")
    kept = holdout.filter(pl.col("inference_id").is_in(table["inference_id"].implode()))
    assert kept["inference_id"].to_list() == table["inference_id"].to_list()
    np.testing.assert_allclose(total(table), kept["y.probability_yes"].to_numpy(), atol=1e-9)
    background = pl.read_parquet(tmp_path / "background.parquet")
    usual = predict(world.socket("1"), background, BINARY)["y.probability_yes"].mean()
    assert document["base_value"] == pytest.approx(usual) and background.columns == list(NAMES)
    assert [row["feature"] for row in document["global"]][-1] == "c"
    assert [row["feature"] for row in document["partial_dependence"]] == [row["feature"] for row in document["global"]]

    assert explanation.by_label(place) == {"label0": {row["feature"]: row["mean_abs"] for row in document["global"]}}  # type: ignore[arg-type]

    again, same = place.explain(rows=40, background=20)
    assert again == document and same.equals(table)
    other, _ = place.explain(rows=40, background=20, seed=7, partial_dependence=False, **{"class": "no"})
    assert other["of"] == "probability_no" and other["base_value"] != document["base_value"] and other["partial_dependence"] == []


def test_what_no_structure_explains_is_asked_itself(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(world, tmp_path, monkeypatch, KNeighborsClassifier(5))
    found, table = place.explain(rows=20, background=10, top=2)
    assert (found["method"], found["output"]) == ("kernel", "probability")
    assert "KNeighborsClassifier is not a tree ensemble" in found["why"] and "all 8 coalitions" in found["why"]
    holdout = pl.read_parquet(tmp_path / "holdout.parquet").join(table.select("inference_id"), on="inference_id", how="semi")
    np.testing.assert_allclose(total(table), holdout["y.probability_yes"].to_numpy(), atol=1e-9)
    assert len(found["partial_dependence"]) == 2
    (line,) = [item["text"] for item in place.run.feed.items() if item["kind"] == "line"]
    assert line.endswith("whose structure is known here; the model itself is asked")
    orders, near = place.explain(rows=20, background=10, method="permutation")
    assert orders["method"] == "permutation" and "`permutation` is asked for" in orders["why"]
    assert np.corrcoef(near["f.a"].to_numpy(), table["f.a"].to_numpy())[0, 1] > 0.95
    with pytest.raises(BadInput, match=r"`explain\.method: tree` does not suit this model: KNeighborsClassifier") as told:
        place.explain(method="tree")
    assert "auto" in told.value.next


def test_a_script_that_changes_the_answers_is_not_taken_for_its_model(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(world, tmp_path, monkeypatch, RandomForestClassifier(10, random_state=0))
    world.runners["1"].stop()
    (world.home / "1" / "code" / "train.py").write_text("def predict_fn(x, model):\n    return model.predict_proba(x) / 2 + 0.25\n")
    world.runner("1", BINARY)
    world.ready("1")
    found, _ = place.explain(rows=5, background=5)
    assert found["method"] == "kernel" and "something comes after it" in found["why"]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"id": 0, "error": {"code": "bad_request", "what": "unknown op"}}, "the runner answers predictions only"),
        ({"id": 0, "declined": "it is a secret"}, "it is a secret"),
        ({"id": 0, "explained": {"base": 0}}, "not as the protocol has it"),
        (
            {"id": 0, "explained": {"attributions": [[1.0]], "base": 0, "output": "", "method": "", "why": "", "error": 0}},
            "not a value a row and column",
        ),
    ],
)
def test_a_runner_of_any_language_may_decline(home: Path, reply: dict[str, Any], why: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "s"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as peer:
                size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
                message = json.loads(peer.recv(size, socket.MSG_WAITALL))
                assert message["op"] == "explain" and message["background"] == {"rows": 1, "columns": {n: [0.5] for n in NAMES}}
                body = json.dumps(reply).encode()
                peer.sendall(len(body).to_bytes(4, "big") + body)

        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(answer)
            some, usual = (pl.DataFrame({n: [v] for n in NAMES}) for v in (1.0, 0.5))
            with pytest.raises(structural.Declined, match=why):
                structural.explain(home / "s", some, usual, BINARY, "probability_yes", "auto")
            told.result()


def test_which_output_is_explained() -> None:
    def of(problem_type: str, classes: tuple[Any, ...] = (), wanted: Any = None, **more: Any) -> str:
        signed = Signature(problem_type, (Column("a", "float"),), classes=classes, **more)  # type: ignore[arg-type]
        return explanation.explained_output(signed, wanted, pl.Series("count", ["x", "y", "y", "z", "z", None]))

    assert of("binary_classification", (0, 1), positive_class=1) == "probability_1"
    assert of("binary_classification", (0, 1), 0, positive_class=1) == "probability_0"
    assert of("multiclass_classification", ("x", "y", "z")) == "probability_y"
    assert of("multilabel_classification", ("p", "q"), "q") == "probability_q"
    assert of("multilabel_classification", ("p", "q")) == "probability_p"
    assert of("anomaly_detection", (0, 1)) == "score"
    assert of("regression") == of("ranking") == "prediction"
    with pytest.raises(BadInput, match="none of the classes"):
        of("multiclass_classification", ("x", "y", "z"), "w")
    with pytest.raises(BadInput, match="no probability of a class"):
        of("regression", wanted="w")


def test_a_class_that_the_data_lacks_is_told_before_training(tmp_path: Path) -> None:
    def at(wanted: Any, **more: Any) -> Any:
        source = {"source": {"using": "csv", "location": "data.csv"}, "target_col": "kind", "id_col": "id"}
        model = {"name": "m", "problem_type": "multiclass_classification"}
        train = {"framework": "sklearn", "entry_point": "t.py"}
        asked = {"version": 1, "model": model, "data": source, "train": train, "explain": {"class": wanted}, **more}
        return SimpleNamespace(config=Config.model_validate(asked), raw=lambda split: tmp_path / f"{split}.parquet")

    for split, kinds in (("train", "xyx"), ("validation", "xyz"), ("test", "xyy")):
        pl.DataFrame({"id": [f"{split}{i}" for i in range(3)], "a": [1.0, 2.0, 3.0], "kind": list(kinds)}).write_parquet(
            tmp_path / f"{split}.parquet"
        )
    assert explanation.verify(at("z")).value == "probability_z", "whichever split has it"
    with pytest.raises(BadInput, match="'w', which is none of the classes"):
        explanation.verify(at("w"))
    assert explanation.verify(at("w", preprocess={"entry_point": "p.py"})).value == "", "which may make other classes"


def test_a_versions_rows(world: World, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = Signature("regression", BINARY.columns, target_col="label", id_col="id")
    place = Place(world, tmp_path, monkeypatch, DecisionTreeRegressor(max_depth=4), signed)
    document, table = place.explain(rows=30, background=15)
    monkeypatch.setattr(explanation, "bundled", lambda shop, opened: None)
    shop = Workshop(Home(home), FakeTarget())
    for version, names in (("1", explanation.MADE), ("2", ())):
        work = tmp_path / f"sealed-{version}"
        work.mkdir()
        for name in ("signature.json", "holdout.parquet", *names):
            (work / name).write_bytes((tmp_path / name).read_bytes())
        sealed = bundle.seal(work, {"version": version}, home)
        facts = dict.fromkeys(("data_digest", "code_digest", "lock_digest", "config_digest"), "0")
        shop.record([VersionRegistered("demo", "build-1", version, sealed.digest, commit=None, dirty=False, metrics={}, gates=[], **facts)])

    overall = explanation.of_version(shop, "demo", "1")
    assert overall["global"] == document["global"] and overall["rows"] == []
    first = table.row(0, named=True)
    kept = explanation.of_version(shop, "demo", "1", first["inference_id"])
    (row,) = kept["rows"]
    assert {part["feature"]: part["attribution"] for part in row["attributions"]} == {n: first[f"f.{n}"] for n in NAMES}
    sizes = [abs(part["attribution"]) for part in row["attributions"]]
    assert sizes == sorted(sizes, reverse=True) and row["total"] == pytest.approx(total(table)[0]) == row["answer"]

    test = rows(60, 2).filter(pl.col("id").is_in(table["inference_id"].implode()))
    test.write_csv(tmp_path / "new.csv")
    again = explanation.of_version(shop, "demo", "1", file=tmp_path / "new.csv")
    assert again["method"] == "tree" and [r["inference_id"] for r in again["rows"]] == table["inference_id"].to_list()
    np.testing.assert_allclose([r["total"] for r in again["rows"]], total(table), atol=1e-9)
    np.testing.assert_allclose([r["answer"] for r in again["rows"]], total(table), atol=1e-9)
    assert {part["feature"]: part["attribution"] for part in again["rows"][0]["attributions"]} == pytest.approx(
        {n: first[f"f.{n}"] for n in NAMES}, abs=1e-9
    )
    with pytest.raises(NotFound, match="row nobody is not among"):
        explanation.of_version(shop, "demo", "1", "nobody")
    test.drop("b").write_csv(tmp_path / "short.csv")
    with pytest.raises(BadInput, match="no column `b`"):
        explanation.of_version(shop, "demo", "1", file=tmp_path / "short.csv")
    test.with_columns(b=pl.lit("high")).write_csv(tmp_path / "typed.csv")
    with pytest.raises(BadInput, match="`b` does not fit"):
        explanation.of_version(shop, "demo", "1", file=tmp_path / "typed.csv")
    with pytest.raises(NotFound, match="no explanations are kept with demo:2"):
        explanation.of_version(shop, "demo", None)
    stood_in = explanation.of_version(shop, "demo", None, file=tmp_path / "new.csv")
    assert "rows of the hold-out stand in" in stood_in["why"] and len(stood_in["rows"]) == 30
    shop.close()


def test_the_background_is_drawn_of_rows_that_are_not_held() -> None:
    table = rows(500, 3)
    for count in (40, 500, 900):
        assert explanation._drawn_of(table.lazy(), count, 7).equals(explanation._drawn(table, count, 7))


def test_a_csv_of_new_rows_has_texts_where_the_model_takes_texts(tmp_path: Path) -> None:
    """A postal code is no number: read as one, 01234 is the code of nobody."""
    (tmp_path / "new.csv").write_text("zip,a,id\n01234,1,007\n,2,8\nNA,nan,9\n")
    read = batch.read(tmp_path / "new.csv", ("zip", "id", "not there"))
    assert read.to_dict(as_series=False) == {"zip": ["01234", None, None], "a": [1, 2, None], "id": ["007", "8", "9"]}
    (tmp_path / "quoted.csv").write_text('"the ""zip"" code",a\n01234,1\n')
    assert batch.read(tmp_path / "quoted.csv", ('the "zip" code',)).to_dict(as_series=False) == {'the "zip" code': ["01234"], "a": [1]}
    typed = explanation.typed(read.select("zip", "a"), pl.DataFrame({"zip": ["x"], "a": [1.5]}), BINARY)
    assert typed["zip"].to_list() == ["01234", None, None] and typed["a"].dtype == pl.Float64


def test_bars_a_person_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [("delay", 35.0, 0.2), ("carrier", "UA", -0.1), ("gone", None, 0.0)]
    row = {
        "inference_id": "r7",
        "answer": 0.4,
        "total": 0.4,
        "attributions": [{"feature": f, "value": v, "attribution": a} for f, v, a in parts],
    }
    answer = {"model": "demo", "version": "3", "method": "tree", "why": "it is one", "of": "probability_late", "output": "probability"}
    told: list[dict[str, Any]] = []

    class Caller:
        def call(self, verb: str, **words: Any) -> dict[str, Any]:
            told.append({"verb": verb, **words})
            return {**answer, "base_value": 0.3, "rows": [row]}

    @contextmanager
    def asking() -> Iterator[Caller]:
        yield Caller()

    monkeypatch.setattr(command, "asking", asking)
    done = CliRunner().invoke(command.explain, ["demo:3", "--id", "r7"])
    assert told == [{"verb": "explain", "model": "demo", "version": "3", "id": "r7", "rows": None}]
    assert done.output.splitlines() == [
        "demo:3  probability of late",
        "  tree: it is one",
        "",
        "  r7  probability of late: 0.4  (on average 0.3)",
        f"  delay = 35      {'':20}│{'█' * 20} +0.2",
        f"  carrier = UA    {'█' * 10:>20}│{'':20} -0.1",
        f"  gone = missing  {'':20}│{'':20} +0",
    ]
    inside = command.bars({**row, "total": -0.41}, {**answer, "output": "log-odds", "base_value": -0.85})
    assert click.unstyle(inside[0]) == "  r7  probability of late: 0.4  (log-odds -0.41, on average -0.85)"
    assert json.loads(CliRunner().invoke(command.explain, ["demo", "--json"]).output)["rows"] == [row]

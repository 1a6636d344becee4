from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelyard.serve import routes
from modelyard.targets.tables import sleeps, table

from .scripts import constant, endpoint


def test_all_that_a_spec_says_is_in_the_table(home: Path) -> None:
    versions = {v: constant(home, v) for v in "123"}
    spec = endpoint({"3": 0, "2": 10, "1": 90}, versions, extras=("gender",), example={"x": 1.0})
    shadow, challenger, champion = spec.variants
    spec = replace(
        spec,
        variants=(replace(shadow, shadow=True), replace(challenger, plan=home / "plan.json"), replace(champion, workers=0)),
        limits=routes.Limits(max_batch=7),
        capture=routes.Capture("", sample=0.5, mode="required"),
        access=routes.Access({"shop": "ab"}),
        mirrors=(routes.Mirror("1", "3", "3", 0.2),),
        sticky=True,
        asynchronous=routes.Async(("s3://in/",), "s3://out/", ""),
        traces=routes.Traces("http://127.0.0.1:4318/v1/traces", 0.1),
        access_log=True,
    )
    sockets = {"1": [], "2": [], "3": [Path("/s")]}
    made = table(spec, home / "e", 4, sockets, {"1": "the weights are not there"})
    routes.write(home / "t.json", made)
    assert routes.read(home / "t.json") == made
    assert [(v.version, v.role, v.weight, v.sockets, v.sleeps, v.trouble) for v in made.variants] == [
        ("3", "shadow", 0, ("/s",), False, ""),
        ("2", "challenger", 10, (), True, ""),
        ("1", "champion", 90, (), True, "the weights are not there"),
    ]
    assert [v.plan for v in made.variants] == [None, str(home / "plan.json"), None]
    assert {(v.extras, tuple((v.example or {}).items())) for v in made.variants} == {(("gender",), (("x", 1.0),))}
    assert made.capture == routes.Capture(str(home / "e" / "capture"), 0.5, "required")
    assert made.asynchronous == routes.Async(("s3://in/",), "s3://out/", str(home / "e" / "async"))
    assert made.access_log == str(home / "e" / "access.log") and made.generation == 4
    for name in ("limits", "access", "mirrors", "sticky", "traces"):
        assert getattr(made, name) == getattr(spec, name), name


def test_a_version_sleeps_where_a_plan_answers_or_none_need_stand(home: Path) -> None:
    (one,) = endpoint({"1": 100}, {"1": constant(home, "1")}).variants
    assert not sleeps(one) and sleeps(replace(one, workers=0)) and sleeps(replace(one, plan=Path("p")))

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.serve.access import NoKey, admit, digest, new_key
from modelyard.serve.keys import OWNER, Keys
from modelyard.serve.routes import Access

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY, OTHER = new_key(), new_key()
ACCESS = Access({"shop": digest(KEY), "lab": digest(OTHER)})
SIGNED = f"AWS4-HMAC-SHA256 Credential={KEY}/20260131/eu-west-1/sagemaker/aws4_request, SignedHeaders=host, Signature=00"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({b"authorization": f"Bearer {KEY}".encode()}, "shop"),
        ({b"authorization": f"bearer  {OTHER} ".encode()}, "lab"),
        ({b"x-api-key": OTHER.encode()}, "lab"),
        ({b"x-api-key": KEY.encode(), b"authorization": b"Basic abc"}, "shop"),
        ({b"authorization": SIGNED.encode()}, "shop"),
    ],
)
def test_where_a_key_may_stand(headers: dict[bytes, bytes], name: str) -> None:
    assert admit(ACCESS, headers) == name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b"Bearer "},
        {b"authorization": KEY.encode()},
        {b"authorization": f"Basic {KEY}".encode()},
        {b"authorization": f"Bearer {KEY}x".encode()},
        {b"authorization": f"Bearer {digest(KEY)}".encode()},
        {b"authorization": SIGNED.replace(KEY, "AKIAIOSFODNN7EXAMPLE").encode()},
        {b"x-api-key": b"\xff\xfe"},
        {b"x-api-key": b"", b"authorization": f"Bearer {KEY}".encode()},
    ],
)
def test_who_is_not_let_in(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(NoKey) as caught:
        admit(ACCESS, headers)
    assert caught.value.http_status == 401 and KEY not in str(caught.value)
    with pytest.raises(NoKey):
        admit(Access({}), headers)
    assert admit(Access(), headers) == ""
    with pytest.raises(NoKey):
        admit(Access(), headers, must=True)


def test_keys_are_long_and_unlike_each_other() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000 and all(len(key) == 35 and key.isascii() and key.replace("_", "").isalnum() for key in keys)


def test_only_hashes_are_kept_and_for_the_owner_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "e")
    assert keys.all() == []
    key = keys.create("shop", "ann", NOW)
    kept = (tmp_path / "e" / "keys.json").read_text()
    assert key not in kept and digest(key) in kept
    assert [(one.name, one.by, one.created_at) for one in keys.all()] == [("shop", "ann", NOW.isoformat())]
    assert admit(Access(keys.hashes()), {b"x-api-key": key.encode()}) == "shop"
    own = keys.own()
    assert keys.own() == Keys(tmp_path / "e").own() == own != key
    assert admit(Access(keys.hashes()), {b"x-api-key": own.encode()}) == OWNER
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "e").iterdir()} == {0o600}
    keys.revoke("shop")
    with pytest.raises(NoKey):
        admit(Access(keys.hashes()), {b"x-api-key": key.encode()})


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "é", OWNER, "a" * 64, "shop"])
def test_names_that_a_key_cannot_have(tmp_path: Path, name: str) -> None:
    keys = Keys(tmp_path)
    keys.create("shop", "ann", NOW)
    with pytest.raises(BadInput):
        keys.create(name, "ann", NOW)
    assert [one.name for one in keys.all()] == ["shop"]


def test_what_cannot_be_revoked_or_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none"):
        Keys(tmp_path).revoke("shop")
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(BadInput):
        Keys(tmp_path).hashes()

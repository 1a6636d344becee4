from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from modelyard.errors import BadInput
from modelyard.serve import capture
from modelyard.serve.captured import compact, read
from modelyard.serve.routes import Capture, Redact
from modelyard.serve.stats import CaptureStats

from .made import NOW, SIGNED, outputs, rows

KEY = bytes(range(32))


def test_neither_a_segment_nor_a_table_holds_what_is_left_out_or_hashed(tmp_path: Path) -> None:
    key, folder = tmp_path / "key", tmp_path / "capture"
    key.write_bytes(KEY)
    redact = (Redact("s", "hash"), Redact("a", "drop"), Redact("mail", "hash"), Redact("phone"), Redact("t", "hash"))
    w = capture.begin(Capture(str(folder), redact=redact, key=str(key)), CaptureStats())
    assert w is not None
    w.lane("1", SIGNED).row(NOW, 1.0, "p", (7654321, NOW, "Ada Lovelace"), ("y", 0.25, 0.75))
    many = rows(["q", "r"], extras={"mail": ["ada@example.org", None], "phone": ["555-0100", "555-0101"], "town": ["Ely", "Ely"]})
    many.columns = {"a": [7654321, 7654321], "t": [NOW, None], "s": ["Ada Lovelace", "Bo"]}
    w.write("1", SIGNED, many, outputs(2), 1.0)
    w.close()
    for _ in range(2):  # as a segment, then as Parquet
        for path in folder.iterdir():
            assert not [said for said in (b"Lovelace", b"ada@", b"555-01", b"7654321") if said in path.read_bytes()]
        frame = read(folder).sort("inference_id")
        assert {"f.a", "x.phone"}.isdisjoint(frame.columns)
        ada = hmac.new(KEY, b"Ada Lovelace", hashlib.sha256).hexdigest()
        assert frame["f.s"].to_list() == [ada, ada, hmac.new(KEY, b"Bo", hashlib.sha256).hexdigest()]
        assert frame["x.mail"].to_list() == [None, hmac.new(KEY, b"ada@example.org", hashlib.sha256).hexdigest(), None]
        then = hmac.new(KEY, str(NOW).encode(), hashlib.sha256).hexdigest()
        assert frame["f.t"].to_list() == [then, then, None]
        assert frame["x.town"].to_list() == [None, "Ely", "Ely"]
        compact(folder)


def test_a_key_that_is_not_there_or_too_short_refuses_before_anything_is_kept(tmp_path: Path) -> None:
    redact = (Redact("s", "hash"),)
    with pytest.raises(BadInput, match="cannot be read"):
        capture.begin(Capture(str(tmp_path), redact=redact, key=str(tmp_path / "none")), CaptureStats())
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(BadInput, match="shorter than 32 bytes"):
        capture.begin(Capture(str(tmp_path), redact=redact, key=str(tmp_path / "short")), CaptureStats())
    assert capture.begin(Capture(str(tmp_path), redact=(Redact("s"),)), CaptureStats()) is not None, "leaving out needs none"

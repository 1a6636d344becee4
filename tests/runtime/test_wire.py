from __future__ import annotations

import math
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtime import wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=4), t, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=4), st.integers(1, 50))
def test_frames_survive_any_cutting(messages: list[dict[str, Any]], size: int) -> None:
    data = b"".join(wire.encode(m) for m in messages)
    buffer, found = bytearray(), []
    for start in range(0, len(data), size):
        buffer += data[start : start + size]
        while (message := wire.take_frame(buffer)) is not None:
            found.append(message)
    assert found == messages
    assert not buffer


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    for raw in (data, len(data).to_bytes(4, "big") + data):
        try:
            message = wire.take_frame(bytearray(raw))
        except wire.BadFrame:
            continue
        assert message is None or isinstance(message, dict)


def test_what_is_no_json_is_never_sent() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            wire.encode({"x": value})


def test_a_deep_frame_is_refused() -> None:
    body = b"[" * 200_000
    with pytest.raises(wire.BadFrame):
        wire.take_frame(bytearray(len(body).to_bytes(4, "big") + body))


def test_listen_takes_the_place_of_a_dead_predecessor(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    for path in (tmp_path / "s", folder / "s"):
        wire.listen(str(path)).close()
        with wire.listen(str(path)) as listener, wire.reachable(str(path)) as place, socket.socket(socket.AF_UNIX) as peer:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            peer.connect(place)
            listener.accept()[0].close()

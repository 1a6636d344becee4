"""Capture, the front's side: every answered request is on file before its caller has the answer.

A segment is a file of frames (`frames`), written through a mapping of memory, so that killing the process loses nothing that was
answered and a request costs no call of the system (`segment`). Requests that are answered together are written together (`unwritten`).
Where that is asked for, a row is on disk before its caller has the answer, and one call of the disk does for all that wait (`commits`).
Columns with personal data are left out or hashed before anything is written (`redaction`). A full disk never stops predictions: rows that
cannot be kept are counted, each once (`writer`).

The owner's side, which reads this and makes Parquet of it, is `modelyard.serve.captured`.
"""

from __future__ import annotations

from modelyard.serve.capture.unwritten import Unwritten
from modelyard.serve.capture.writer import Lane, Writer, begin, column_types

__all__ = ["Lane", "Unwritten", "Writer", "begin", "column_types"]

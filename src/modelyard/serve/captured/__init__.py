"""Capture, the owner's side: segments to Parquet, and reading both as one predictions table.

Every function may run while fronts write and others read. What a folder holds changes under its lock only, and in one step for whoever
holds it (`folder`): no row is seen twice, none is missed.
"""

from __future__ import annotations

from modelyard.serve.captured.merging import add, compact
from modelyard.serve.captured.reading import among, begun, earliest, find, newest, pieces, read, received
from modelyard.serve.captured.trimming import Trimmed, trim

__all__ = ["Trimmed", "add", "among", "begun", "compact", "earliest", "find", "newest", "pieces", "read", "received", "trim"]

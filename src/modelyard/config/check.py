"""What can be known to be wrong with a config without running anything: files, scripts, columns, metrics, how steps take from each other.

Scripts are parsed, only the headers of a local data file are read, and nothing heavy is imported where there is none to read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from modelyard.config import asked, columns, constraints, exposed, files, graph, inert, kept, measures, numbers, scripts, unheeded
from modelyard.config.document import Document, locate
from modelyard.config.load import Loaded, shown_path
from modelyard.errors import Problem


def check(loaded: Loaded, *, metrics: Collection[str] | None = None, greater_is_better: Mapping[str, bool] | None = None) -> list[Problem]:
    """Every problem that shows without running anything, in the file's order.

    Args:
        loaded: a config that holds.
        metrics: names of the metrics of its problem type; None leaves them unjudged.
        greater_is_better: their directions; None leaves the tuning's direction unjudged.
    """
    config = loaded.config
    found = [*files.findings(loaded), *scripts.findings(loaded), *columns.findings(loaded), *graph.findings(config)]
    found += [*asked.findings(loaded), *numbers.findings(config, metrics, greater_is_better or {}), *unheeded.findings(loaded)]
    found += [*kept.findings(config), *exposed.findings(loaded), *inert.findings(loaded), *constraints.findings(config, loaded.folder)]
    found += measures.findings(loaded)
    if not found:
        return []
    document = Document(loaded.text, shown_path(loaded.path))  # a second reading, only where there is something to place
    for path, message, next in found:
        document.report(locate(document.root, path) if document.root else (1, 1), message, next)
    return sorted(document.problems, key=lambda p: (p.line, p.column))

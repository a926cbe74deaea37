"""What was measured: an ``Evaluation``, as arrays, as a dictionary, as tables, as a picture."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import OptionError
from qsearch.evaluation.intervals import mean_of
from qsearch.evaluation.measured import Measured, WayResult
from qsearch.evaluation.plotting import check_picture, picture, plot_evaluation
from qsearch.evaluation.tables import Table, markdown_of, tables_of

__all__ = ["Evaluation"]


class Evaluation(Measured):
    """How good the answers of an index are, and what they cost. Made by ``evaluate``.

    Its arrays are those of ``Measured``.
    """

    __slots__ = ()

    def tables(self) -> list[Table]:
        """For people."""
        return tables_of(self)

    def about(self) -> list[str]:
        """What it was measured on: the encoder's time, memory, the machine; for people."""
        told = []
        if self.encoding is not None and (times := self.encoding.percentiles()):
            told.append(f"the encoder takes {times['p50']:.1f} ms for a query (median)")
        memory = self.machine["memory"]
        if memory:
            own, mapped, disk = (
                f"{size / 1e6:,.1f} MB"
                for size in (memory["own"], memory["mapped"], self.index["bytes"])
            )
            told.append(
                f"memory: {own}, and {mapped} of mapped files; the index takes {disk} on disk"
            )
        told.append(
            f"{self.machine['processor']}, {self.machine['processors']} processors, kernels "
            f"{self.machine['kernels']}"
        )
        return told

    def to_markdown(self) -> str:
        """All tables and notes, and what it was measured on, as Markdown."""
        return markdown_of(self.tables(), (*self.notes, *self.about())) + "\n"

    def _repr_html_(self) -> str:
        """For notebooks."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in (*self.notes, *self.about()))
        return "\n".join([*(table.html() for table in self.tables()), f"<ul>{notes}</ul>"])

    def __repr__(self) -> str:
        """What was measured."""
        ways = ", ".join(one.name for one in self.ways)
        return f"<Evaluation: {len(self.queries):,} queries, {ways}>"

    def to_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """As JSON values.

        Args:
            queries: whether values of each query are among them.
        """
        found: dict[str, Any] = {
            "index": dict(self.index),
            "where": self.where,
            "machine": dict(self.machine),
            "source": self.source,
            "queries": len(self.queries),
            "depths": list(self.depths),
            "judged": int(sum(one in self.judgments for one in self.queries)),
            "encoding_milliseconds": None if self.encoding is None else self.encoding.percentiles(),
            "ways": [self._way_dict(one) for one in self.ways],
            "notes": list(self.notes),
            "complete": self.complete,
        }
        if queries:
            found["query_ids"] = list(self.queries)
            if self.groups:  # the first is what recall above is of
                found["query_groups"] = [
                    next((group.name for group in self.groups if group.members[number]), None)
                    for number in range(len(self.queries))
                ]
            for told, one in zip(found["ways"], self.ways, strict=True):
                told["of_each_query"] = {
                    **{f"recall@{k}": _listed(values) for k, values in one.recall.items()},
                    **{name: _listed(values) for name, values in one.measures.items()},
                }
        return found

    def _way_dict(self, one: WayResult) -> dict[str, Any]:
        own = self.own
        first = one.answers[self.depths[0]]
        batched = None
        if one.batched is not None and (recall := self.batch_recall(one.name)) is not None:
            batched = {
                "recall": {str(self.depths[0]): recall.to_dict()},
                "certified": float(one.batched.certified[own].mean()) if own.any() else None,
            }
        return {
            "way": one.name,
            "options": dict(one.way.options),
            "recall": {str(k): self.recall(one.name, k).to_dict() for k in one.recall},
            "groups": {
                group.name: {str(k): self.recall(one.name, k, group).to_dict() for k in one.recall}
                for group in self.groups
            },
            "certified": float(first.certified[own].mean())
            if own.any() and one.way.mode != "keywords"
            else None,
            "in_batches": batched,
            "milliseconds": None
            if one.times.mean is None
            else {"mean": one.times.mean, **(one.times.percentiles() or {})},
            "milliseconds_in_batches": one.times.batch,
            "queries_in_a_batch": one.times.batch_queries,
            "milliseconds_of_rounds": list(one.times.batches),
            "rows": float(first.rows[own].mean()) if own.any() else None,
            "bytes": float(first.bytes[own].mean()) if own.any() else None,
            "measures": {name: mean_of(values).to_dict() for name, values in one.measures.items()},
            "unjudged": mean_of(one.unjudged).to_dict() if self.judgments else None,
        }

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw recall against time, latency, recall by rank and nDCG, as far as they were measured.

        Args:
            path: of a file to write (``.svg``, ``.png``, ``.pdf``); ``None``: only the figure is made.

        Returns:
            The ``matplotlib.figure.Figure``.

        Raises:
            OptionError: matplotlib is not installed, or the file cannot be written.
        """
        target = None if path is None else Path(path)
        check_picture(target)
        figure = plot_evaluation(self)
        if target is not None:
            content = picture(figure, target.suffix.lower())
            try:
                target.write_bytes(content)
            except OSError as error:
                raise OptionError(f"{path} cannot be written ({error.strerror})") from error
        return figure


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(one) else float(one) for one in values]

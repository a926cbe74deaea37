"""How good an index is: recall against exact search, measures against judgments, and what answers cost.

An open ``Index`` is asked as its users ask it.
"""

from qsearch.evaluation.comparing import Comparison, compare
from qsearch.evaluation.evaluating import evaluate
from qsearch.evaluation.evaluation import Evaluation
from qsearch.evaluation.intervals import Difference, Quantity, difference, mean_of
from qsearch.evaluation.measured import WayResult
from qsearch.evaluation.measures import Measure, judged, measures_at, recall_at_k
from qsearch.evaluation.tuning import WEIGHTS, Tuned, gains_by_weight, tune
from qsearch.evaluation.ways import Way, named_way

__all__ = [
    "WEIGHTS",
    "Comparison",
    "Difference",
    "Evaluation",
    "Measure",
    "Quantity",
    "Tuned",
    "Way",
    "WayResult",
    "compare",
    "difference",
    "evaluate",
    "gains_by_weight",
    "judged",
    "mean_of",
    "measures_at",
    "named_way",
    "recall_at_k",
    "tune",
]

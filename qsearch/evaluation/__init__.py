"""How good an answer is: recall against exact search, nDCG against judgements.

Rankings and judgements come in, numbers go out. Nothing is searched here.
"""

from qsearch.evaluation.metrics import ndcg_at_k, recall_at_k

__all__ = ["ndcg_at_k", "recall_at_k"]

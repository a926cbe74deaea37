"""The public benchmark: qsearch beside what people would use instead, for anybody to run again.

    python scripts/benchmark --help

One file a system under ``systems/``, one snippet a system under ``endtoend/``. Every measurement is made by
a process of its own (``child.py``); the parent (``running.py``) only starts them, in turns, and keeps what
they say as JSON (``results.py``). The page and its plots are made of that JSON and of nothing else.
"""

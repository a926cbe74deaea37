"""What the mutants break is still there: else they would show nothing."""

from __future__ import annotations

import pytest

from tests.faults.mutants import MUTANTS, Mutant, mutated
from tests.faults.shim import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_what_a_mutant_breaks_is_there_once(mutant: Mutant) -> None:
    broken = mutated(ROOT, mutant)
    assert broken != (ROOT / mutant.file).read_text()
    if mutant.file.endswith(".py"):
        compile(broken, mutant.file, "exec")

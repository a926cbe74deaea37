"""Searches that come together are done together, and each gets its own answer."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

import pytest

from qsearch.serving import batching
from qsearch.serving.batching import Answered, Batches, Overloaded, Part, TooLarge
from tests.serving.served import until


@dataclass(frozen=True)
class Wanted:
    """Numbers that are to be doubled."""

    numbers: tuple[int, ...]
    key: str = "a"
    slow: bool = False
    hits: int = 1

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass
class Doubling:
    """Doubles, when it may; remembers what came together."""

    seen: list[list[tuple[int, ...]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    refused: frozenset[int] = frozenset()

    def __call__(self, parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        numbers = [part.request.numbers[part.first : part.last] for part in parts]
        self.seen.append(numbers)
        self.keys += {part.request.key for part in parts}
        assert self.gate.wait(60)
        if self.refused & {one for some in numbers for one in some}:
            raise ValueError(f"refused {numbers}")
        return [told(*(2 * one for one in some)) for some in numbers]


def doubled(future: Future[Answered]) -> list[int]:
    """What a request was answered."""
    return [int(one) for one in future.result(60).results]


def told(*numbers: int) -> list[bytes]:
    """As they are answered."""
    return [b"%d" % one for one in numbers]


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what comes together is known."""
    monkeypatch.setattr(batching, "_AT_A_TIME", 1)
    monkeypatch.setattr(batching, "_SECONDS", 1e6)  # however long a batch takes on a busy machine


@pytest.fixture
def batches_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes every batch one of so many queries."""

    def so_many(queries: int) -> None:
        monkeypatch.setattr(batching, "_FIRST", queries)
        monkeypatch.setattr(batching, "_MOST", queries)

    return so_many


def test_what_comes_meanwhile_is_one_batch() -> None:
    double = Doubling()
    batches = Batches(double)
    first = batches.submit(Wanted((1,)))
    until(lambda: double.seen)
    rest = [batches.submit(Wanted((number,))) for number in range(2, 12)]
    assert batches.waiting == 10
    double.gate.set()
    assert doubled(first) == [2]
    assert [doubled(one) for one in rest] == [[2 * n] for n in range(2, 12)]
    assert double.seen == [[(1,)], [(number,) for number in range(2, 12)]]
    assert (first.result().together, rest[0].result().together) == (1, 10)
    batches.close()
    assert (batches.served.requests, batches.served.batches, batches.waiting) == (11, 2, 0)


def test_a_second_batch_begins_while_the_first_goes_on_and_a_third_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "_AT_A_TIME", 2)
    double = Doubling()
    batches = Batches(double)
    some = []
    for number in (1, 2):
        some.append(batches.submit(Wanted((number,))))
        until(lambda number=number: len(double.seen) == number)
    some += [batches.submit(Wanted((number,))) for number in (3, 4, 5)]
    other = batches.submit(Wanted((6,), "other"))
    until(lambda: len(double.seen) == 3)
    assert double.seen[2] == [(6,)]
    double.gate.set()
    assert [doubled(one) for one in (*some, other)] == [[2 * n] for n in range(1, 7)]
    batches.close()
    assert double.seen[3] == [(3,), (4,), (5,)]


def test_parts_that_are_done_in_another_order_are_put_together_in_theirs(
    monkeypatch: pytest.MonkeyPatch,
    batches_of: Callable[[int], None],
) -> None:
    monkeypatch.setattr(batching, "_AT_A_TIME", 2)
    batches_of(4)
    later = threading.Event()
    ended: list[int] = []

    def double(parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        (part,) = parts
        if not part.first:
            assert later.wait(60)
        ended.append(part.first)
        if part.last == 20:
            later.set()
        return [told(*(2 * one for one in part.request.numbers[part.first : part.last]))]

    batches = Batches(double)
    assert doubled(batches.submit(Wanted(tuple(range(20))))) == [*range(0, 40, 2)]
    batches.close()
    assert ended == [4, 8, 12, 16, 0]


def test_two_parts_of_a_request_may_fail(
    monkeypatch: pytest.MonkeyPatch, batches_of: Callable[[int], None]
) -> None:
    monkeypatch.setattr(batching, "_AT_A_TIME", 2)
    batches_of(1)
    double = Doubling(refused=frozenset({0, 1}))
    batches = Batches(double)
    failing = batches.submit(Wanted((0, 1, 2, 3)))
    until(lambda: len(double.seen) == 2)
    gone = batches.submit(Wanted((0, 1), "gone"))
    until(lambda: len(double.seen) == 4)
    assert gone.cancel()
    double.gate.set()
    with pytest.raises(ValueError, match="refused"):
        failing.result(60)
    assert doubled(batches.submit(Wanted((7,)))) == [14]
    batches.close()
    assert (batches.served.failed, batches.served.left, batches.waiting) == (1, 1, 0)


def test_kinds_are_searched_apart_and_beside_each_other() -> None:
    double = Doubling()
    batches = Batches(double)
    some = [batches.submit(Wanted((number,), key)) for number, key in enumerate("abab")]
    until(lambda: len(double.seen) == 2)  # nobody waits for the other kind
    double.gate.set()
    assert [doubled(one) for one in some] == [[0], [2], [4], [6]]
    batches.close()
    for together in double.seen:
        assert len({number % 2 for numbers in together for number in numbers}) == 1


def test_a_large_request_does_not_keep_others_waiting(batches_of: Callable[[int], None]) -> None:
    batches_of(10)
    double = Doubling()
    batches = Batches(double, workers=1)
    large = batches.submit(Wanted(tuple(range(100))))
    until(lambda: double.seen)
    small = batches.submit(Wanted((1000,)))
    double.gate.set()
    assert doubled(small) == [2000]
    assert doubled(large) == [2 * number for number in range(100)]
    batches.close()
    assert double.seen[0] == [tuple(range(10))]
    assert (1000,) in double.seen[1]
    assert all(sum(map(len, together)) <= 10 for together in double.seen)
    assert batches.served.queries == 101


def test_every_request_gets_on_where_more_wait_than_a_batch_holds(
    batches_of: Callable[[int], None],
) -> None:
    batches_of(4)
    double = Doubling()
    batches = Batches(double, workers=1)
    some = [batches.submit(Wanted(tuple(range(n, n + 7)))) for n in range(0, 90, 9)]
    double.gate.set()
    for number, one in enumerate(some):
        assert doubled(one) == [2 * (9 * number + more) for more in range(7)]
    batches.close()
    assert batches.waiting == 0


def test_of_many_large_requests_the_first_is_done_first(batches_of: Callable[[int], None]) -> None:
    batches_of(8)
    double = Doubling()
    batches = Batches(double, workers=1)
    done: list[int] = []
    for place in range(20):
        large = batches.submit(Wanted(tuple(range(100 * place, 100 * place + 40))))
        large.add_done_callback(lambda _, place=place: done.append(place))
    small = batches.submit(Wanted((-1,)))
    small.add_done_callback(lambda _: done.append(-1))
    double.gate.set()
    batches.close()
    assert done[0] == -1
    assert sorted(done[1:5]) == [0, 1, 2, 3]  # by turns
    assert [one // 4 for one in done[1:]] == [place // 4 for place in range(20)]
    assert batches.waiting == 0


def test_small_requests_keep_no_large_one_waiting(batches_of: Callable[[int], None]) -> None:
    batches_of(8)
    double = Doubling()
    batches = Batches(double, workers=1)
    small = [batches.submit(Wanted((number,))) for number in range(20)]
    large = batches.submit(Wanted(tuple(range(100, 105))))
    more = [batches.submit(Wanted((number,))) for number in range(20, 60)]
    double.gate.set()
    assert doubled(large) == [*range(200, 210, 2)]
    assert [doubled(one) for one in small + more] == [[2 * n] for n in range(60)]
    batches.close()
    of_large = [place for place, some in enumerate(double.seen) if any(n[0] >= 100 for n in some)]
    assert of_large[-1] < 7


def test_an_error_is_for_whom_it_is_about() -> None:
    double = Doubling(refused=frozenset({3}))
    batches = Batches(double)
    first = batches.submit(Wanted((1,)))
    until(lambda: double.seen)
    rest = [batches.submit(Wanted((number,))) for number in (2, 3, 4)]
    double.gate.set()
    assert doubled(first) == [2]
    assert doubled(rest[0]) == [4]
    with pytest.raises(ValueError, match="refused"):
        rest[1].result(60)
    assert doubled(rest[2]) == [8]
    batches.close()
    assert (batches.served.requests, batches.served.failed) == (3, 1)


def test_what_is_left_of_a_request_that_failed_is_not_searched(
    batches_of: Callable[[int], None],
) -> None:
    batches_of(2)
    double = Doubling(refused=frozenset({0}))
    double.gate.set()
    batches = Batches(double)
    failing = batches.submit(Wanted(tuple(range(10))))
    with pytest.raises(ValueError, match="refused"):
        failing.result(60)
    assert doubled(batches.submit(Wanted((7,)))) == [14]
    batches.close()
    assert batches.waiting == 0
    assert double.seen == [[(0, 1)], [(7,)]]


def test_after_an_error_nobody_is_searched_for_who_has_gone() -> None:
    double = Doubling(refused=frozenset({3}))
    batches = Batches(double)
    first = batches.submit(Wanted((1,)))
    until(lambda: double.seen)
    rest = [batches.submit(Wanted((number,))) for number in (2, 3, 4)]
    searched = double.gate
    double.gate = threading.Event()
    searched.set()
    until(lambda: len(double.seen) == 2)
    assert rest[0].cancel()
    double.gate.set()
    assert [doubled(one) for one in (first, rest[2])] == [[2], [8]]
    batches.close()
    assert double.seen == [[(1,)], [(2,), (3,), (4,)], [(3,)], [(4,)]]
    assert (batches.served.failed, batches.served.left) == (1, 1)


def test_what_a_failed_search_held_is_not_kept_with_its_error() -> None:
    class Model:
        pass

    held: list[weakref.ref[Model]] = []

    def search(parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        model = Model()
        held.append(weakref.ref(model))
        raise ValueError(f"{type(model).__name__} is another one")

    batches = Batches(search)
    refused = batches.submit(Wanted((1,)))
    with pytest.raises(ValueError, match="is another one"):
        refused.result(60)
    assert held[0]() is None
    batches.close()


def test_nobody_is_searched_for_who_has_gone() -> None:
    double = Doubling()
    batches = Batches(double)
    first = batches.submit(Wanted((1,)))
    until(lambda: double.seen)
    gone, stays = batches.submit(Wanted((2,))), batches.submit(Wanted((3,)))
    assert gone.cancel()
    assert first.cancel()  # is searched, and read by nobody
    double.gate.set()
    assert doubled(stays) == [6]
    batches.close()
    with pytest.raises(CancelledError):
        first.result(60)
    assert double.seen == [[(1,)], [(3,)]]
    assert (batches.served.requests, batches.served.left, batches.waiting) == (1, 2, 0)


def test_too_many_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_MOST_WAITING", 5)
    double = Doubling()
    batches = Batches(double)
    first = batches.submit(Wanted((1,)))
    until(lambda: double.seen)
    second = batches.submit(Wanted((2, 3, 4)))
    with pytest.raises(Overloaded, match="3 queries are waiting"):
        batches.submit(Wanted((5, 6, 7)))
    double.gate.set()
    assert [doubled(one) for one in (first, second)] == [[2], [4, 6, 8]]
    batches.close()
    assert batches.served.turned_away == 1


def test_what_waits_when_it_ends_is_answered_and_nothing_comes_after() -> None:
    double = Doubling()
    batches = Batches(double, workers=1)
    some = [batches.submit(Wanted((number,), str(number))) for number in range(5)]
    closing = threading.Thread(target=batches.close)
    closing.start()
    until(lambda: batches._closed)
    with pytest.raises(RuntimeError, match="stopping"):
        batches.submit(Wanted((9,)))
    double.gate.set()
    closing.join(60)
    assert [doubled(one) for one in some] == [[0], [2], [4], [6], [8]]


def test_many_threads_at_once() -> None:
    double = Doubling()
    double.gate.set()
    batches = Batches(double)
    wrong: list[int] = []

    def ask(first: int) -> None:
        for number in range(first, first + 200):
            wanted = Wanted(tuple(range(number, number + 1 + number % 3)), str(number % 5))
            if doubled(batches.submit(wanted)) != [2 * one for one in wanted.numbers]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(1000 * one,)) for one in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    batches.close()
    assert not wrong
    assert (batches.served.requests, batches.waiting) == (1600, 0)
    assert not batches._running


def test_what_may_take_long_leaves_workers_for_what_does_not() -> None:
    double = Doubling()
    batches = Batches(double)
    slow = [batches.submit(Wanted((number,), str(number), slow=True)) for number in range(5)]
    until(lambda: len(double.seen) == 2)
    quick = [batches.submit(Wanted((number,), str(number))) for number in (10, 11)]
    until(lambda: len(double.seen) == 4)
    assert double.seen[2:] == [[(10,)], [(11,)]]
    double.gate.set()
    assert [doubled(one) for one in slow + quick] == [[0], [2], [4], [6], [8], [20], [22]]
    batches.close()
    assert not batches._slow


def test_a_batch_has_no_more_hits_than_memory_is_good_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_HITS", 100)
    double = Doubling()
    double.gate.set()
    batches = Batches(double, workers=1)
    assert doubled(batches.submit(Wanted(tuple(range(8)), hits=30))) == [*range(0, 16, 2)]
    assert doubled(batches.submit(Wanted((1, 2), hits=1000))) == [2, 4]
    batches.close()
    assert double.seen == [[(0, 1, 2)], [(3, 4, 5)], [(6, 7)], [(1,)], [(2,)]]


def test_an_answer_that_is_too_large_is_given_up(
    monkeypatch: pytest.MonkeyPatch, batches_of: Callable[[int], None]
) -> None:
    monkeypatch.setattr(batching, "_BYTES", 5)
    batches_of(2)
    double = Doubling()
    batches = Batches(double, workers=1)
    large = batches.submit(Wanted(tuple(range(10, 90))))
    small = batches.submit(Wanted((50, 51), "other"))
    least = batches.submit(Wanted((1, 2), "least"))
    double.gate.set()
    with pytest.raises(TooLarge, match="ask for fewer hits"):
        large.result(60)
    with pytest.raises(TooLarge):
        small.result(60)
    assert doubled(least) == [2, 4]
    batches.close()
    assert len(double.seen) <= 6
    assert (batches.served.failed, batches.waiting) == (2, 0)


def test_what_takes_long_is_told_when_nobody_waits_any_more() -> None:
    told_so = threading.Event()
    batches: Batches

    def patient(parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        assert wanted()
        until(lambda: not wanted())
        told_so.set()
        raise ValueError("nobody waits")

    batches = Batches(patient)
    future = batches.submit(Wanted((1,)))
    until(lambda: batches.waiting == 0)
    assert future.cancel()
    assert told_so.wait(60)
    batches.close()
    assert (batches.served.left, batches.served.failed) == (1, 0)

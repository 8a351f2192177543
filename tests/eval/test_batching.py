import pytest

from layalign.errors import ConfigError, EvaluationError
from layalign.eval.batching import in_batches, is_out_of_memory, longest_first

CPU = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to"


class Machine:
    """Holds so many rows at a time, and squares them."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.tried: list[int] = []
        self.done: list[int] = []

    def run(self, rows: list[int]) -> list[int]:
        self.tried.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        self.done += rows
        return [row**2 for row in rows]


@pytest.mark.parametrize(
    "error", [RuntimeError(CPU), RuntimeError("CUDA out of memory. Tried"), MemoryError()]
)
def test_halved_until_it_fits(error: Exception) -> None:
    machine = Machine(3, error)
    order = [9, 0, 8, 1, 7, 2, 6, 3, 5, 4]
    assert in_batches(order, 9, machine.run) == [row**2 for row in range(10)]
    assert machine.done == order
    assert machine.tried == [9, 4, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("size", [1, 4, 10, 99])
def test_enough_memory(size: int) -> None:
    machine, told = Machine(99, MemoryError()), dict[int, int]()
    assert in_batches(range(10), size, machine.run, told.update) == list(told.values())
    assert told == {row: row**2 for row in range(10)}
    assert machine.tried[0] == min(size, 10)


def test_an_error_of_the_listener_is_not_taken_for_a_lack_of_memory() -> None:
    def listen(_: object) -> None:
        raise MemoryError

    machine = Machine(99, MemoryError())
    with pytest.raises(MemoryError):
        in_batches(range(10), 4, machine.run, listen)
    assert machine.tried == [4]


def test_a_single_row_that_does_not_fit() -> None:
    with pytest.raises(EvaluationError, match=r"single example.*not enough memory"):
        in_batches(range(4), 4, Machine(0, RuntimeError(CPU)).run)


def test_other_errors_are_not_hidden() -> None:
    machine = Machine(1, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_batches(range(4), 4, machine.run)
    assert machine.tried == [4]
    assert not is_out_of_memory(ValueError("out of memory"))


def test_batches_have_a_size() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        in_batches([0], 0, Machine(1, MemoryError()).run)


def test_longest_first() -> None:
    rows = [{"a": [1]}, {"a": [1, 2], "b": [3]}, {"a": [1, 2]}]
    assert longest_first(rows) == [1, 2, 0]

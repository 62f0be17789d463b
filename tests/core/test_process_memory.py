"""What a process has taken of the memory."""

from sparrow.core.process_memory import peak_memory_bytes


def test_the_peak_is_that_of_this_process():
    assert peak_memory_bytes()["host"] > 10 * 2**20

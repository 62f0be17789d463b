"""Which errors are one message for the user, on whatever command's way they come."""

import errno
import os

import pytest

from sparrow.app.user_errors import message_of
from sparrow.cli import COMMANDS, Command, run
from sparrow.core.errors import ConfigError


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_message_and_a_fault_of_sparrows_own_is_not(fault):
    message = message_of(OSError(fault, os.strerror(fault), "/shared/outputs"))
    assert message.startswith(f"/shared/outputs: {os.strerror(fault)}; ") and "choose another folder" in message
    assert message_of(OSError(errno.EBADF, os.strerror(errno.EBADF), "/shared/outputs")) is None
    assert message_of(ValueError("no path")) is None


@pytest.fixture
def fail(monkeypatch):
    """Runs a command that raises an error."""

    def failing(error):
        def command(parser, arguments):
            raise error

        monkeypatch.setitem(COMMANDS, "compare", Command("fail", command))
        return run("compare", [])

    return failing


def test_an_error_for_the_user_is_printed_and_another_is_raised(fail, capsys, monkeypatch):
    assert fail(ConfigError("set it")) == 1
    assert capsys.readouterr().err == "ConfigError: set it\n"
    with pytest.raises(AssertionError):
        fail(AssertionError())
    assert fail(KeyboardInterrupt()) == 130
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        fail(ConfigError("set it"))

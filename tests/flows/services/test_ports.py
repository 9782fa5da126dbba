import os
import socket

import pytest

from flows.services import ports
from storage.errors import InputError


def test_the_default_port_is_taken_if_free_and_the_next_one_otherwise() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        other = ports.first_free(port)
        assert port < other < port + ports.TRIED_PORTS
        assert ports.first_free(port, avoid=[other]) > other
    assert ports.first_free(port) == port


def test_a_port_asked_for_names_who_holds_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} .*process {os.getpid()}\)"):
            ports.demand(port, "prefect")
    assert ports.demand(port, "prefect") == port


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_port_is_an_input_error(port: int) -> None:
    with pytest.raises(InputError, match="1 to 65535"):
        ports.demand(port, "mlflow")

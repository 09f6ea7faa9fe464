"""Unit tests open no socket: one that does fails, whatever it meant to reach."""

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_sockets():
    disable_socket(allow_unix_socket=True)  # asyncio's own wake-up pair is a unix socket
    yield
    enable_socket()

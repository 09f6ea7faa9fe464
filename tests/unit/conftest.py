"""Unit tests open no socket: one that does fails, whatever it meant to reach."""

import pytest
from pytest_socket import disable_socket, enable_socket

from tests.fakes import picture


@pytest.fixture(autouse=True)
def _no_sockets():
    disable_socket(allow_unix_socket=True)  # asyncio's own wake-up pair is a unix socket
    yield
    enable_socket()


@pytest.fixture
def image(tmp_path):
    """Return the path of an image file."""
    path = tmp_path / "image.png"
    picture().save(path)
    return str(path)

"""The broker that the other tests rely on does what they rely on."""

import socket
import ssl
from pathlib import Path

import pytest
from servers.mosquitto import Authority, Mosquitto


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def test_it_comes_back_on_the_same_port_after_a_kill(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        port = broker.port
        broker.kill()
        assert not broker.running
        assert not connects(port)
        broker.start()
        assert broker.port == port
        assert connects(port)
    assert not connects(port)


def test_a_frozen_broker_can_be_stopped(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    broker.freeze()
    broker.stop()
    assert not connects(broker.port)


def test_a_wrong_setting_is_reported_with_the_brokers_own_words(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, settings="no_such_setting 1")
    with pytest.raises(RuntimeError, match="no_such_setting"):
        broker.start()


def test_tls_is_spoken_with_a_certificate_of_the_authority(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    with (
        Mosquitto(tmp_path, authority=authority) as broker,
        socket.create_connection((broker.host, broker.port), timeout=5) as plain,
        broker.client_context().wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version() in {"TLSv1.2", "TLSv1.3"}
    with (
        Mosquitto(tmp_path, authority=authority) as broker,
        socket.create_connection((broker.host, broker.port), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

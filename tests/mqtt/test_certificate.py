"""The end of certificates, with openssl as the oracle."""

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from servers.mosquitto import Authority, find_program

from labmon.mqtt.certificate import (
    AHEAD,
    CertificateError,
    Server,
    Watched,
    authority_expiry,
    day,
    ending,
    expiry,
    look,
    parse,
    read_certificates,
)


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run([find_program("openssl"), *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


def by_openssl(path: Path) -> int:
    text = openssl("x509", "-in", path, "-noout", "-enddate").strip().removeprefix("notAfter=")
    return int(ssl.cert_time_to_seconds(text))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("days", [-1, 0, 1, 20_000, 2_900_000], ids=["past", "now", "soon", "after 2050", "far"])
@pytest.mark.parametrize("kind", ["rsa:1024", "ec"])
def test_the_end_is_the_one_that_openssl_tells(authority: Authority, days: int, kind: str) -> None:
    name = f"c{days}-{kind[:2]}"
    certificate, _ = authority.sign(name, days=days, kind=kind)
    assert expiry(certificate) == by_openssl(certificate)
    (read,) = read_certificates(certificate)
    assert read.ends - read.begins == days * 86400
    assert read.issuer == read_certificates(authority.certificate)[0].subject


def test_the_systems_authorities_can_be_read() -> None:
    bundle = Path(ssl.get_default_verify_paths().openssl_cafile)
    if not bundle.exists():
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    found = read_certificates(bundle)
    context = ssl.create_default_context(cafile=str(bundle))
    ends = {int(ssl.cert_time_to_seconds(str(one["notAfter"]))) for one in context.get_ca_certs()}
    assert ends
    assert ends <= {one.ends for one in found}


def test_of_a_chain_the_first_end_counts_of_authorities_the_last_or_the_one_in_use(
    authority: Authority, tmp_path: Path
) -> None:
    short, _ = authority.sign("short", days=1)
    long, _ = authority.sign("long", days=9)
    both = tmp_path / "both.crt"
    both.write_text(f"a comment\n{long.read_text()}\nanother\n{short.read_text()}")
    assert expiry(both) == by_openssl(short)
    assert authority_expiry(both) == by_openssl(long)
    other = Authority.make(tmp_path / "other", days=7, name="another")
    two = tmp_path / "two.crt"
    two.write_text(authority.certificate.read_text() + other.certificate.read_text())
    server = ssl.PEM_cert_to_DER_cert(short.read_text())
    assert authority_expiry(two, server) == by_openssl(authority.certificate) < authority_expiry(two)
    assert authority_expiry(two, b"junk") == authority_expiry(two)


def test_a_certificate_cut_anywhere_or_changed_is_refused_or_read_but_never_a_fault(authority: Authority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.certificate.read_text())
    for end in range(100):
        with pytest.raises(ValueError):
            parse(der[:end])
    for at in range(160):
        for value in (0x00, 0x80, 0x84, 0xFF):
            changed = der[:at] + bytes([value]) + der[at + 1 :]
            try:
                parse(changed)
            except ValueError:
                continue


def test_what_is_no_certificate_is_told_in_one_line(tmp_path: Path) -> None:
    for content, why in (
        (b"", "holds no certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nplanted-key\n-----END PRIVATE KEY-----\n", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (b"x" * (4 * 2**20 + 1), "longer than"),
    ):
        path = tmp_path / "x.crt"
        path.write_bytes(content)
        with pytest.raises(CertificateError, match=why) as error:
            expiry(path)
        assert "\n" not in str(error.value)
        assert "planted" not in str(error.value)
    with pytest.raises(CertificateError, match="No such file"):
        expiry(tmp_path / "none")
    with pytest.raises(CertificateError, match="not a path"):
        expiry("\0")


def test_a_moment_is_told_as_people_read_it() -> None:
    assert day(int(datetime(2026, 12, 1, 9, 30, tzinfo=UTC).timestamp())) == "2026-12-01 09:30 UTC"


async def test_what_ends_within_a_month_is_told_with_what_until_when_and_what_to_do(
    authority: Authority, tmp_path: Path
) -> None:
    own, _ = authority.sign("own", days=9)
    broker, _ = authority.sign("watched-broker", days=5)
    ends = by_openssl(own)
    files = [
        Watched("certificate", own),
        Watched("certificate of ingest", tmp_path / "elsewhere.crt", elsewhere=True),
    ]
    for now, told in (
        (ends - AHEAD - 1, []),
        (ends - AHEAD, [f"certificate {own} ends on {day(ends)}: put a new one there"]),
        (ends, [f"certificate {own} ended on {day(ends)}: put a new one there"]),
    ):
        assert ending(files, None, now) == told
        assert await look(files, None, now) == told
    server = Server("broker b:8883", ssl.PEM_cert_to_DER_cert(broker.read_text()))
    end = by_openssl(broker)
    assert ending([], server, end - AHEAD - 1) == []
    assert ending([], server, end - 1) == [
        f"certificate of broker b:8883 ends on {day(end)}: put a new one at the broker"
    ]
    over = Server(server.name, server.certificate, expired=True)
    assert ending([], over, 0) == [
        "certificate of broker b:8883 has expired, or its authority's: put a new one at the broker"
    ]
    assert ending([], Server("broker b:8883"), end) == []
    missing = [Watched("authority of the broker", tmp_path / "no.crt", authority=True)]
    assert ending(missing, None, 0) == [
        f"authority of the broker {tmp_path / 'no.crt'}: cannot be read: No such file or directory"
    ]

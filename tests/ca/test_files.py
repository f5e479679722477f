"""One folder, one CA: made once, replaced in its time, never by chance."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from mitmproxy.certs import CertStore

from mitmesh.ca import TRUSTED, AuthorityError, Names, fingerprint, look, prepare, rotate
from mitmesh.ca.authority import LIFETIME, make
from mitmesh.hostnames import parse_network
from mitmesh.launch import authorities, doctor
from mitmesh.rules import Rules, load

NOW = datetime.now(UTC)
WEEK = timedelta(days=7)
HOSTS = "hosts:\n  - {id: a, match: [a.example], provider: p}\n"
MORE = HOSTS + "  - {id: b, match: [b.example], provider: p}\n"


@pytest.fixture
def write(tmp_path: Path):
    """Writes rules and reads them."""
    folder = tmp_path / "rules"
    folder.mkdir()

    def make_rules(hosts: str = HOSTS, mesh: str = "") -> Rules:
        (folder / "hosts.yaml").write_text(hosts)
        (folder / "mesh.yaml").write_text(mesh)
        return load(folder)

    return make_rules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ca"


def trusted(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / TRUSTED).read_bytes())


def test_it_is_made_once(folder: Path, write) -> None:
    """The first start makes it, for its owner's eyes alone; the second finds it."""
    assert look(folder, write()) is None
    first, second = (prepare(folder, write()) for _ in range(2))
    assert first.authorities[0].signer == second.authorities[0].signer
    assert trusted(folder) == [first.authorities[0].anchor]
    assert b"PRIVATE" not in (folder / TRUSTED).read_bytes()
    assert stat.S_IMODE((folder / "mitmproxy-ca.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_at_once_make_one(folder: Path, write) -> None:
    """Workers that start together agree on one CA."""
    rules = write()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: prepare(folder, rules), range(8)))
    assert len({each.authorities[0].signer.serial_number for each in made}) == 1


def test_a_host_outside_names_the_way_out(folder: Path, write) -> None:
    """A host that the CA may not sign for is one clear error; rotate makes that it may."""
    prepare(folder, write())
    with pytest.raises(AuthorityError, match=r"hosts\.yaml: b: .* for b\.example; run scripts/ca rotate"):
        prepare(folder, write(MORE))
    rotate(folder, write(MORE), WEEK)
    prepare(folder, write(MORE))


def test_old_and_new_overlap(folder: Path, write) -> None:
    """Until the overlap is over the old CA signs all it may, the new one the rest, and clients trust both."""
    old = prepare(folder, write(), NOW).authorities[0]
    before = fingerprint(folder)
    both = rotate(folder, write(MORE), WEEK, NOW)
    assert fingerprint(folder) != before
    assert both.at(NOW) == both.authorities
    assert both.authorities[0].signer == old.signer
    assert [each.permits("b.example") for each in both.authorities] == [False, True]
    new = both.authorities[1]
    assert trusted(folder) == [new.anchor, old.anchor]
    assert prepare(folder, write(MORE), NOW + WEEK / 2).authorities[0].signer == old.signer
    assert both.at(NOW + WEEK) == (new,)  # without a restart

    after = prepare(folder, write(MORE), NOW + WEEK)
    assert [each.signer for each in after.authorities] == [new.signer]
    assert trusted(folder) == [new.anchor]
    assert not (folder / "next.pem").exists()
    with pytest.raises(AuthorityError, match=r"expired.*scripts/ca rotate --now"):
        prepare(folder, write(MORE), NOW + LIFETIME)
    assert prepare(folder, write(), NOW + WEEK)


def test_rotated_at_once(folder: Path, write) -> None:
    """Without an overlap the new CA is alone; so is one made in the place of one that has expired."""
    old = prepare(folder, write(), NOW).authorities[0]
    (new,) = rotate(folder, write(), timedelta(), NOW).authorities
    assert new.signer != old.signer
    assert rotate(folder, write(), timedelta(), NOW + LIFETIME).authorities[0].signer != new.signer


def test_mitmproxys_own_is_replaced(folder: Path, write) -> None:
    """What mitmproxy made in this folder before us may sign for everybody, and goes, its key in all its files too."""
    CertStore.create_store(folder, "mitmproxy", 2048)
    authority = prepare(folder, write()).authorities[0]
    assert not authority.permits("bank.example")
    assert not list(folder.glob("*.p12"))
    assert not list(folder.glob("*.cer"))
    store = CertStore.from_store(folder, "mitmproxy", 2048)  # and mitmproxy takes ours from then on
    assert store.default_ca.to_cryptography() == authority.signer


def test_a_strangers_key_does_not_sign(folder: Path, write, monkeypatch) -> None:
    """A key that is neither ours nor configured is refused, not replaced."""
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("mitmesh.ca.authority.OURS", "somebody")
        pem = make(Names(("a.example",), (parse_network("127.0.0.0/8"),)), NOW).pem()
    (folder / "mitmproxy-ca.pem").write_bytes(pem)
    with pytest.raises(AuthorityError, match=r"was not made by mitmesh.*`ca` in mesh\.yaml"):
        prepare(folder, write())
    assert (folder / "mitmproxy-ca.pem").read_bytes() == pem


def test_a_companys_own(folder: Path, tmp_path: Path, write) -> None:
    """A configured CA signs, clients trust the last of its chain, its own constraints hold, and none is made."""
    theirs = make(Names(("a.example",), (parse_network("127.0.0.0/8"),)), NOW)
    (tmp_path / "key.pem").write_bytes(theirs.pem().split(b"-----BEGIN CERT")[0])
    (tmp_path / "cert.pem").write_bytes(theirs.signer.public_bytes(Encoding.PEM))
    (tmp_path / "chain.pem").write_bytes(theirs.anchor.public_bytes(Encoding.PEM))
    mesh = f"ca: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem, chain: {tmp_path}/chain.pem}}"
    (signs,) = prepare(folder, write(HOSTS, mesh)).authorities
    assert (signs.signer, signs.anchor) == (theirs.signer, theirs.anchor)
    assert trusted(folder) == [theirs.anchor]
    assert not (folder / "mitmproxy-ca.pem").exists()
    with pytest.raises(AuthorityError, match=r"b\.example; its name constraints do not permit it"):
        prepare(folder, write(MORE, mesh))
    with pytest.raises(AuthorityError, match="whoever issued it"):
        rotate(folder, write(HOSTS, mesh), WEEK)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(AuthorityError, match=r"mesh\.yaml: ca\.key: cannot be read"):
        prepare(folder, write(HOSTS, mesh))


def test_the_switch(folder: Path, write) -> None:
    """`constrained: false` makes one for every host: for clients that refuse constraints."""
    assert prepare(folder, write(HOSTS, "ca: {constrained: false}")).authorities[0].permits("bank.example")


def test_a_wide_ca_under_rules_that_want_constraints_is_told(
    folder: Path, write, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """`constrained: false` taken back leaves the wide CA: the log, scripts/ca show and doctor say so until it is
    rotated."""
    wide = write(mesh="ca: {constrained: false}")
    assert not prepare(folder, wide).wider(wide)
    assert not caplog.records
    rules = write(mesh="")
    assert prepare(folder, rules).wider(rules)
    assert "EVERY host" in caplog.text and "scripts/ca rotate" in caplog.text
    monkeypatch.setenv("MITMESH_HOME", str(folder.parent))
    place = {"rules": str(tmp_path / "rules")}
    authorities.main(["show", "--rules", place["rules"]])
    assert capsys.readouterr().out.endswith("is true: scripts/ca rotate\n")
    assert [found.well for found in doctor._certificate(folder.parent, place)] == [True, False]
    rotate(folder, rules, timedelta())
    authorities.main(["show", "--rules", place["rules"]])
    assert "EVERY" not in capsys.readouterr().out
    assert [found.well for found in doctor._certificate(folder.parent, place)] == [True]


def test_days_out_of_bounds_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What may be said is a range, and not a list of it."""
    for days in ("-3", "0", "366", "x"):
        with pytest.raises(SystemExit):
            authorities.main(["rotate", f"--days={days}"])
        assert capsys.readouterr().err.splitlines()[-1].endswith("argument --days: must be from 1 to 365")


@pytest.mark.parametrize("what", ["key", "text"])
def test_a_chain_that_is_none(folder: Path, write, tmp_path: Path, what: str) -> None:
    """A file of something else, or a key by mistake, is refused and not sent to anybody."""
    theirs = make(Names(("a.example",), ()), NOW)
    certificate = theirs.signer.public_bytes(Encoding.PEM)
    (tmp_path / "key.pem").write_bytes(theirs.pem().partition(b"-----BEGIN CERT")[0])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "chain.pem").write_bytes(theirs.pem() if what == "key" else b"some-host\n")
    mesh = f"ca: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem, chain: {tmp_path}/chain.pem}}"
    with pytest.raises(AuthorityError, match=r"ca\.chain: must be PEM, of certificates alone"):
        prepare(folder, write(mesh=mesh))


def test_a_companys_ca_is_renewed_by_the_company(
    folder: Path, write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """scripts/ca rotate refuses a company's CA, so no message sends anybody there."""
    theirs = make(Names(("a.example",), ()), NOW - LIFETIME + WEEK)
    (tmp_path / "ca.pem").write_bytes(theirs.pem())
    (tmp_path / "cert.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in theirs.certificates))
    rules = write(mesh=f"ca: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/ca.pem}}")
    prepare(folder, rules)
    assert "expires on" in caplog.text and "`ca` in mesh.yaml" in caplog.text and "rotate" not in caplog.text
    with pytest.raises(AuthorityError, match=r"expired on .*; renew the certificate that `ca`"):
        prepare(folder, rules, NOW + WEEK)


@pytest.mark.parametrize("mesh", ["ca: {cert: x}", "ca: {key: x}", "ca: {chain: x}"])
def test_half_a_ca_is_a_mistake(write, mesh: str) -> None:
    """A certificate without its key, or the other way round, is an error of the file."""
    with pytest.raises(Exception, match="must have both `cert` and `key`"):
        write(HOSTS, mesh)

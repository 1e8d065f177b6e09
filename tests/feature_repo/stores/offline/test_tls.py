"""TLS, client certificates, passwords and schemas as Feast's PostgreSQL settings have them, on a server that asks for them.

The embedded server is built without OpenSSL, so this needs an installed PostgreSQL server and ``openssl``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd
import psycopg
import pytest
from feast import FeatureStore, RepoConfig
from psycopg import sql

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.timescale import TimescaleOfflineStoreConfig
from ingest.servers.account import server_account
from transforms import catalog

PASSWORD = "p@ss:w/o?r#d%41 '\"\\ é"
T0 = datetime(2024, 1, 1, tzinfo=UTC)


def binaries() -> Path:
    """Folder of an installed server that knows TLS."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "pg_config").exists():
            built = subprocess.run([folder / "pg_config", "--configure"], capture_output=True, text=True).stdout
            if "openssl" in built:
                return folder
    pytest.skip("no PostgreSQL server with TLS is installed")


def certificate(folder: Path, name: str, subject: str, signer: str | None, *extra: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates and is not installed")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={subject}"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt", *extra]
    command += ["-CA", f"{signer}.crt", "-CAkey", f"{signer}.key"] if signer else []
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / f"{name}.key").chmod(0o600)


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS only: role ``desk`` by password, role ``vault`` by password and certificate."""

    folder: Path
    port: int

    def settings(self, user: str = "desk", **more: Any) -> dict[str, Any]:
        """Feast's settings of a connection that checks the server's name."""
        place = {"host": "127.0.0.1", "port": self.port, "database": "desk", "user": user, "password": PASSWORD}
        return place | {"sslmode": "verify-full", "sslrootcert_path": str(self.folder / "ca.crt")} | more


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    programs, account = binaries(), server_account()
    other = {"user": account.uid, "group": account.gid, "extra_groups": []} if account.uid != os.geteuid() else {}
    folder = Path(tempfile.mkdtemp(prefix="tfs-tls-"))
    try:
        folder.chmod(0o711)
        certificate(folder, "ca", "test authority", None)
        certificate(folder, "stranger", "another authority", None)
        certificate(folder, "server", "127.0.0.1", "ca", "-addext", "subjectAltName=IP:127.0.0.1")
        certificate(folder, "vault", "vault", "ca")
        home = folder / "server"
        home.mkdir()
        (home / "password").write_text("admin\n")
        for name in ("server.key", "server.crt"):
            (folder / name).rename(home / name)
        for path in (home, *home.iterdir()):
            account.own(path)
        data = home / "data"
        options = ["-U", "admin", "--pwfile", str(home / "password"), "--auth=scram-sha-256", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [programs / "initdb", "-D", data, "--locale=C", *options],
            check=True,
            capture_output=True,
            cwd=home,
            **other,
        )
        (data / "pg_hba.conf").write_text(
            "hostssl all vault 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": port,
            "fsync": "off",
            "ssl": "on",
            "ssl_key_file": home / "server.key",
            "ssl_cert_file": home / "server.crt",
            "ssl_ca_file": folder / "ca.crt",
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in given.items())],
                stdout=log,
                stderr=log,
                cwd=home,
                **other,
            )
        try:
            prepare(port, process, folder / "log")
            yield Secured(folder, port)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def prepare(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the server, and make the roles and their database."""
    deadline = time.monotonic() + 60
    while True:
        try:
            admin = psycopg.connect(f"postgresql://admin:admin@127.0.0.1:{port}/postgres", autocommit=True)
            break
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log.read_text()) from None
    with admin:
        for role in ("desk", "vault"):
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD))
            )
        admin.execute("CREATE DATABASE desk OWNER desk")
        admin.execute("GRANT CREATE ON DATABASE desk TO vault")


def store(tmp_path: Path, definitions: list[Any], offline: dict[str, Any]) -> FeatureStore:
    config = RepoConfig(
        project="secured",
        provider="feature_repo.stores.provider.TradingProvider",
        registry={"path": str(tmp_path / "registry.db"), "cache_ttl_seconds": 3_600},
        online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
        offline_store={"type": "feature_repo.stores.timescale.TimescaleOfflineStore", **offline},
        entity_key_serialization_version=3,
    )
    opened = FeatureStore(config=config)
    opened.apply(definitions)
    return opened


def trained(opened: FeatureStore, connection: psycopg.Connection[Any]) -> list[Any]:
    """Write a row and read it back through the store."""
    view = catalog.SOCIAL
    event = np.array([int(T0.timestamp()) * 1_000_000], np.int64)
    append_rows(connection, view, ["A"], event, event, np.ones((1, len(view.features))))
    connection.commit()
    frame = pd.DataFrame({"symbol": ["A"], "event_timestamp": [T0]})
    table = opened.get_historical_features(frame, ["social:social_volume_1h"]).to_arrow()
    return list(table.column("social_volume_1h").to_pylist())


def test_a_store_works_over_tls_with_a_checked_name_and_an_odd_password(
    secured: Secured, tmp_path: Path, definitions: list[Any]
) -> None:
    settings = secured.settings(db_schema="first")
    opened = store(tmp_path, definitions, settings)
    with psycopg.connect(
        host="127.0.0.1", port=secured.port, dbname="desk", user="desk", password=PASSWORD, sslmode="require"
    ) as connection:
        connection.execute("SET search_path = first")
        assert trained(opened, connection) == [1]
    assert PASSWORD not in repr(opened.config.offline_store)
    job = opened.get_historical_features(
        "SELECT 'A' AS symbol, now() AS event_timestamp, ssl AS tls FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ["social:social_volume_1h"],
    )
    assert job.to_arrow().column("tls").to_pylist() == [True]


def test_the_address_in_the_environment_carries_the_same(
    secured: Secured, tmp_path: Path, definitions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = urlencode({"sslmode": "verify-full", "sslrootcert": str(secured.folder / "ca.crt")})
    url = f"postgresql://desk:{quote(PASSWORD, safe='')}@127.0.0.1:{secured.port}/desk?{options}"
    monkeypatch.setenv("TFS_POSTGRES_URL", url)
    opened = store(tmp_path, definitions, {"db_schema": "second"})
    with psycopg.connect(url) as connection:  # as the offline writer connects
        connection.execute("SET search_path = second")
        assert trained(opened, connection) == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sslmode": "disable"}, "no encryption"),
        ({"sslrootcert_path": "stranger.crt"}, "certificate verify failed"),
        ({"host": "localhost"}, "does not match host name"),
        ({"password": "wrong"}, "password authentication failed"),
    ],
)
def test_what_is_not_safe_is_refused_without_showing_the_password(
    secured: Secured, tmp_path: Path, definitions: list[Any], change: dict[str, Any], message: str
) -> None:
    if "sslrootcert_path" in change:
        change = {"sslrootcert_path": str(secured.folder / change["sslrootcert_path"])}
    with pytest.raises(psycopg.OperationalError, match=message) as caught:
        store(tmp_path, definitions, secured.settings(**change))
    assert PASSWORD not in str(caught.value)


def test_a_role_that_needs_a_certificate_gives_it(secured: Secured, tmp_path: Path, definitions: list[Any]) -> None:
    with pytest.raises(psycopg.OperationalError, match="client certificate"):
        store(tmp_path, definitions, secured.settings("vault", db_schema="third"))
    pair = {f"ssl{kind}_path": str(secured.folder / f"vault.{end}") for kind, end in (("key", "key"), ("cert", "crt"))}
    opened = store(tmp_path, definitions, secured.settings("vault", db_schema="third", **pair))
    assert opened.get_historical_features(
        pd.DataFrame({"symbol": ["A"], "event_timestamp": [T0]}), ["social:social_volume_1h"]
    ).to_arrow().column("social_volume_1h").to_pylist() == [None]


def test_a_host_without_a_word_on_tls_requires_it(secured: Secured) -> None:
    given = {key: value for key, value in secured.settings().items() if not key.startswith("ssl")}
    assert TimescaleOfflineStoreConfig(**given).sslmode == "require"


def test_the_name_of_a_schema_is_read_as_the_search_path_reads_it(
    secured: Secured, tmp_path: Path, definitions: list[Any]
) -> None:
    for i, (given, made) in enumerate([("Fourth", "fourth"), ('"Fifth"', "Fifth")]):
        (tmp_path / str(i)).mkdir()
        store(tmp_path / str(i), definitions, secured.settings(db_schema=given))
        with psycopg.connect(
            host="127.0.0.1", port=secured.port, dbname="desk", user="desk", password=PASSWORD
        ) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (made,)).fetchall()
        assert {name for (name,) in tables} == {"kernel_versions", *(view.name for view in catalog.VIEWS)}

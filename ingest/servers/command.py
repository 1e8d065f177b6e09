"""``python -m ingest servers``: keep the embedded servers up between commands."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.stores.endpoints import POSTGRES_VARIABLE, REDIS_VARIABLE, default_data_dir, masked, read_state
from ingest.servers import embedded
from ingest.servers.errors import ServersError

if TYPE_CHECKING:
    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLE = """\
example:
  python -m ingest servers up               start both, or find them up; they stay until `down`
  eval "$(python -m ingest servers env)"    point other programs at them
  python -m ingest servers status --json
  python -m ingest servers down             stop them; the data stay

exit codes: 0 done (status: they are up), 1 failed (status, env: no server is up)
"""


def add_parser(subparsers: SubParsers) -> argparse.ArgumentParser:
    """Add ``servers up|down|env|status``; each sets ``run``, a function of the parsed arguments to an exit code."""
    parser = subparsers.add_parser(
        "servers",
        help="start and stop the embedded Redis and PostgreSQL servers",
        description="Start and stop the embedded Redis-compatible and PostgreSQL servers. They listen on loopback, ask "
        "for a password, and keep their data in the data folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="up|down|env|status")
    for name, run, text in (
        ("up", _up, "start both servers, or find them up, and leave them running"),
        ("down", _down, "stop them, whoever uses them; the data stay"),
        ("env", _env, "print the variables that point programs at them (passwords included), for the shell"),
        ("status", _status, "tell whether they are up"),
    ):
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        action.add_argument(
            "--data-dir",
            type=Path,
            metavar="DIR",
            help="data folder (default: TFS_DATA_DIR, else .data in the project)",
        )
        action.add_argument("--json", action="store_true", help="print one JSON object")
        action.set_defaults(run=run)
    return parser


def _up(args: argparse.Namespace) -> int:
    try:
        endpoints = embedded.up(args.data_dir)
    except ServersError as error:
        return _failed(error)
    urls = {"redis_url": masked(endpoints.redis_url), "postgres_url": masked(endpoints.postgres_url)}
    _print(args, urls, _lines(urls))
    return 0


def _down(args: argparse.Namespace) -> int:
    try:
        ran = embedded.down(args.data_dir)
    except ServersError as error:
        return _failed(error)
    _print(args, {"stopped": ran}, "stopped" if ran else "no server was up")
    return 0


def _env(args: argparse.Namespace) -> int:
    folder, urls = _found(args)
    if not urls:
        sys.stderr.write(f"no server is up on {folder}; run `python -m ingest servers up`\n")
        return 1
    names = {"redis_url": REDIS_VARIABLE, "postgres_url": POSTGRES_VARIABLE}
    variables = {names[key]: url for key, url in urls.items()}
    _print(args, variables, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return 0


def _status(args: argparse.Namespace) -> int:
    folder, urls = _found(args)
    shown = {key: masked(url) for key, url in urls.items()}
    text = f"up on {folder}\n{_lines(shown)}" if shown else f"no server is up on {folder}"
    _print(args, {"data_dir": str(folder), "up": bool(shown), **shown}, text)
    return 0 if shown else 1


def _found(args: argparse.Namespace) -> tuple[Path, dict[str, str]]:
    """Return the data folder and the addresses of the servers that run on it: both, one (the other is real) or none."""
    folder: Path = args.data_dir or default_data_dir()
    try:
        state = read_state(folder) or {}
    except PermissionError:
        sys.stderr.write(f"{folder} belongs to another user\n")
        state = {}
    return folder, {key: str(state[key]) for key in ("redis_url", "postgres_url") if key in state}


def _lines(urls: dict[str, str]) -> str:
    return "\n".join(f"{key.removesuffix('_url'):<9} {url}" for key, url in urls.items())


def _failed(error: ServersError) -> int:
    sys.stderr.write(f"{error}\n")
    return 1


def _print(args: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(facts) if args.json else text) + "\n")

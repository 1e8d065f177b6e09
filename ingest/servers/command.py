"""``python -m ingest servers``: keep the embedded servers up between commands."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from feature_repo.stores.endpoints import default_data_dir, masked, read_state
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser
from ingest.servers import embedded

_EXAMPLE = """\
example:
  python -m ingest servers up               start both, or find them up; they stay until `down`
  eval "$(python -m ingest servers env)"    point other programs at them
  python -m ingest servers status --json
  python -m ingest servers down             stop them; the data stay

exit codes: 0 done (status: they are up), 1 no server is up (status, env), 2 they cannot be started or stopped (up, down)
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its four actions."""
    about = (
        "Start and stop the embedded Redis-compatible and PostgreSQL servers. They listen on loopback, ask for a password, and keep "
        "their data in the data folder."
    )
    actions = make_parser(subparsers, "servers", None, about, _EXAMPLE).add_subparsers(
        dest="action", required=True, metavar="up|down|env|status"
    )
    for name, run, text in (
        ("up", _up, "Start both servers, or find them up, and leave them running."),
        ("down", _down, "Stop them, even while a program uses them; the data stay."),
        ("env", _env, "Print the variables that point programs at them (passwords included), for the shell."),
        ("status", _status, "Tell whether they are up."),
    ):
        action = make_parser(actions, name, run, text)
        folder = "data folder (default: TFS_DATA_DIR, else .data in the project)"
        action.add_argument("--data-dir", type=Path, metavar="DIR", help=folder)
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _up(args: argparse.Namespace) -> None:
    endpoints = embedded.up(args.data_dir)
    urls = {"redis_url": masked(endpoints.redis_url), "postgres_url": masked(endpoints.postgres_url)}
    _print(args, urls, _lines(urls))


def _down(args: argparse.Namespace) -> None:
    ran = embedded.down(args.data_dir)
    _print(args, {"stopped": ran}, "stopped" if ran else "no server was up")


def _env(args: argparse.Namespace) -> int:
    folder, urls = _running(args)
    if not urls:
        sys.stderr.write(f"no server is up on {folder}; run `python -m ingest servers up`\n")
        return ExitCode.NO
    variables = {embedded.VARIABLES[key]: url for key, url in urls.items()}
    _print(args, variables, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return ExitCode.DONE


def _status(args: argparse.Namespace) -> int:
    folder, urls = _running(args)
    shown = {key: masked(url) for key, url in urls.items()}
    text = f"up on {folder}\n{_lines(shown)}" if shown else f"no server is up on {folder}"
    _print(args, {"data_dir": str(folder), "up": bool(shown), **shown}, text)
    return ExitCode.DONE if shown else ExitCode.NO


def _running(args: argparse.Namespace) -> tuple[Path, dict[str, str]]:
    """Return the data folder and the addresses of the servers that run on it: both, one (the other is a real server), or none."""
    folder: Path = args.data_dir or default_data_dir()
    try:
        state = read_state(folder) or {}
    except PermissionError:
        sys.stderr.write(f"{folder} belongs to another user\n")
        state = {}
    return folder, {key: str(state[key]) for key in embedded.VARIABLES if key in state}


def _lines(urls: dict[str, str]) -> str:
    return "\n".join(f"{key.removesuffix('_url'):<9} {url}" for key, url in urls.items())


def _print(args: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    print(json.dumps(facts) if args.json else text)

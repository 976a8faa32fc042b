"""Lints /openapi.json of a fresh server, then asks every operation whatever schemathesis thinks of."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

import requests

import records

HERE = pathlib.Path(__file__).parent
SERVER, TOOLS = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])

# The same requests each time; as many of an operation as a few minutes allow.
SEED, EXAMPLES = "1", os.environ.get("KONVERSE_DESCRIPTION_EXAMPLES", "25")


def step(*command, **options):
    print("==>", *command, flush=True)
    return subprocess.run(command, **options).returncode


def konverse(database, *arguments):
    command = [str(SERVER), "--log", "error", *arguments, "--database", database]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def token(database, *roles):
    """A new token; its text alone is on standard output."""
    roles = [part for role in roles for part in ("--role", role)]
    return konverse(database, "token", "create", "--org", "acme", "--name", "check", *roles).splitlines()[-1]


def wait(url, process):
    for _ in range(600):
        try:
            if requests.get(url + "/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        if process.poll() is not None:
            sys.exit("the server ended")
        time.sleep(0.1)
    sys.exit("the server is not ready after a minute")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def redocly(bin, document):
    """The linter's exit status, and 1 for warnings, with which it succeeds."""
    command = [bin / "redocly", "lint", "--config", HERE / "redocly.yaml", "--max-problems", "1000", document]
    print("==>", *command, flush=True)
    said = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    print(said.stdout, said.stderr, sep="", flush=True)
    return said.returncode or re.search(r"You have \d+ warning", said.stdout + said.stderr)


def schemathesis(url, setup, bearer, *options):
    # No bytecode: the folder is the repository's.
    environment = dict(os.environ, KONVERSE_SETUP=str(setup), KONVERSE_TOKEN=bearer, PYTHONPATH=str(HERE))
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [TOOLS / "python/bin/schemathesis", "--config-file", HERE / "schemathesis.toml", "run"]
    command += [f"{url}/openapi.json", "--checks", "all", "--seed", SEED, *options]
    return step(*command, env=environment, cwd=TOOLS)


def check(folder):
    database, url = f"sqlite:{folder}/check.db", f"http://127.0.0.1:{free_port()}"
    konverse(database, "org", "create", "acme")
    bearer = token(database, "org")
    serve = [str(SERVER), "--log", "warn", "serve", "--database", database, "--listen", url.removeprefix("http://")]
    server = subprocess.Popen(serve)
    try:
        wait(url, server)
        client, document = records.Client(url, bearer), requests.get(url + "/openapi.json").json()
        file = pathlib.Path(folder) / "openapi.json"
        file.write_text(json.dumps(document, indent=1))
        setup = pathlib.Path(folder) / "setup.json"
        setup.write_text(json.dumps({
            "url": url, "server": str(SERVER), "database": database, "token": bearer, "document": document,
            "known": records.make(client, document),
            "own": [client.current("/v1/auth/tokens/current"), client.current("/v1/users/current")],
        }))
        bin = TOOLS / "npm/node_modules/.bin"
        failures = [
            redocly(bin, file),
            step(bin / "spectral", "lint", "--ruleset", HERE / "spectral.yaml", "--fail-severity", "hint", file),
            schemathesis(url, setup, bearer, "--max-examples", EXAMPLES),
        ]
        # It still may do everything, or what came last has shown nothing.
        client.current("/v1/auth/tokens/current")
        # Who may not is refused, whatever else is wrong with a request.
        few = ["--phases", "coverage", "--max-examples", "5", "--warnings", "off"]
        failures.append(schemathesis(url, setup, token(database, "org.tracking"), *few))
        failures.append(schemathesis(url, setup, "", *few))
        return sum(bool(failure) for failure in failures)
    finally:
        server.terminate()
        server.wait()


with tempfile.TemporaryDirectory() as folder:
    failed = check(folder)
sys.exit(f"{failed} of the checks of the description failed" if failed else 0)

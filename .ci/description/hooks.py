"""What schemathesis cannot know: records that exist, and which requests would take away its own access."""

import json
import os
import pathlib
import subprocess

import schemathesis
from schemathesis.core.parameters import ParameterLocation

import records

SETUP = json.loads(pathlib.Path(os.environ["KONVERSE_SETUP"]).read_text())
KNOWN, EXAMPLES = SETUP["known"], records.examples(SETUP["document"])
CLIENT = records.Client(SETUP["url"], SETUP["token"])


def is_positive(case, location):
    return case.meta is None or not case.meta.is_negative_at(location)


def new_token():
    command = [SETUP["server"], "--log", "error", "token", "create", "--org", "acme", "--name", "spare"]
    command += ["--role", "org", "--database", SETUP["database"]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


@schemathesis.hook
def before_call(context, case, kwargs):
    path, method = case.operation.path, case.method.upper()
    if is_positive(case, ParameterLocation.BODY) and case.body:
        case.body = records.with_known(case.body, KNOWN)
    # A place in a list is told by a page of it. A made-up one is refused, as it should be.
    if is_positive(case, ParameterLocation.QUERY):
        (case.query or {}).pop("cursor", None)
    of = path.split("/{id}")[0]
    if "{id}" in path and of in KNOWN and is_positive(case, ParameterLocation.PATH):
        is_whole = path == of + "/{id}"
        fresh = CLIENT.create(of, EXAMPLES[of], KNOWN) if is_whole and method == "DELETE" else None
        case.path_parameters["id"] = fresh or KNOWN[of]
    # The token and the user that everything else is asked with stay.
    if method != "GET" and (case.path_parameters or {}).get("id") in SETUP["own"]:
        case.path_parameters["id"] = "0" * 24
    # Whoever revokes the presented token presents one made for that.
    if path == "/v1/auth/tokens/current" and method == "DELETE":
        fresh = None
        for headers in (case.headers, kwargs.get("headers")):
            if headers and SETUP["token"] in headers.get("Authorization", ""):
                fresh = fresh or new_token()
                headers["Authorization"] = f"Bearer {fresh}"

"""What schemathesis cannot know: records that exist, and which requests would take away its own access."""

import json
import os
import pathlib
import re
import subprocess
import sys

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

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


if os.environ.get("KONVERSE_TOKEN"):

    @schemathesis.auth(refresh_interval=None)
    class Token:
        """The token to ask with. Whoever revokes the presented token presents one made for that."""

        def get(self, case, context):
            revokes = case.operation.path == "/v1/auth/tokens/current" and case.method.upper() == "DELETE"
            return new_token() if revokes else os.environ["KONVERSE_TOKEN"]

        def set(self, case, data, context):
            case.headers = case.headers or {}
            case.headers["Authorization"] = f"Bearer {data}"


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
        # What others refer to stays: what is deleted was made for that.
        deletes = is_whole and method == "DELETE"
        case.path_parameters["id"] = (CLIENT.create(of, EXAMPLES[of], KNOWN) or "0" * 24) if deletes else KNOWN[of]
    # The token and the user that everything else is asked with stay.
    if method != "GET" and (case.path_parameters or {}).get("id") in SETUP["own"]:
        case.path_parameters["id"] = "0" * 24


# Why a request that keeps to its schemas may be refused all the same: what no schema can say.
REASONS = [
    # An instant of the past.
    r"must not lie in the future$",
    # What a record has already counts too.
    r"must not lead to more than \d+ ",
    # Entries that are the same by one or two of their members, whatever the others say.
    r"must not name an entry twice$",
    # Members of a body that only go together.
    r"^snooze (can be|is) ",
    # Built-in role groups stay as they are; which ids they have is the org's.
    r"^id names a system role group",
    # A custom attribute that refers to records has a definition first, which another operation writes.
    r"^custom/.* must be defined before it is used",
    # Which words are roles.
    r"^roles/\d+ must be a role",
    # The token that asks is a machine's, which has no password.
    r"^(password|currentPassword) is (for people|needed) ?",
    # The ending of a definition's name, as of a custom attribute's, and what goes with that ending.
    r"^properties/.* (must end in Str, |is for attributes that end in |is required: it says what the ids refer to)",
    # Who a user is from the beginning.
    r"^userType cannot make a person of a machine user",
    # How deep a page lies is said by two parameters together.
    r"^page lies too deep: ",
    # The names of time zones are another such list.
    r"^(query/)?timeZone must be an IANA time zone ",
    # What can be searched for and sorted by is a long list, longer by an org's custom attributes, and each name has a class
    # of values of its own.
    r"^(query/)?(and|or|not|sort)/",
]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    messages = [error["message"] for error in response.json()["errors"]]
    unknown = [message for message in messages if not any(re.search(reason, message, re.DOTALL) for reason in REASONS)]
    if unknown:
        print("==> no reason is known for:", *unknown[:3], sep="\n    ", file=sys.stderr, flush=True)
    return bool(unknown)

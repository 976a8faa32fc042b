"""What schemathesis has to know of konverse beside openapi.json."""

import os
import re

import schemathesis
from schemathesis.generation import GenerationMode

KEPT = set(os.environ["KONVERSE_KEPT"].split(","))

# Refusals of requests that keep to their schemas: what no schema can say.
REASONS = [
    # A body names records, and whether they exist is known to the database alone.
    r"names no ",
    r"is no conversation of ",
    # Two members of a body have to go together, or what is changed forbids the change.
    r"may not be ",
    r"must not be ",
    r"is needed ",
    # The lists of what a search can ask for are too long for its schema, and the classes of their values with them.
    r"is not an attribute that can be searched",
    r"^(and|or|not|sort)\b",
    # The published operation takes numbers as texts, as its vendor's page has it.
    r"^parameters/",
]


@schemathesis.hook
def filter_case(context, case):
    values = [str(value) for value in (case.path_parameters or {}).values()]
    # A path without a value is another path, with other methods.
    if any(value == "" for value in values):
        return False
    # A date that is there and empty counts as none, which OpenAPI has no word for in a query.
    for name, value in (case.query or {}).items():
        if value == "" and (name == "fromDate" or name.startswith("filter[")):
            return False
    # A token that is revoked, or whose user is deactivated, would be refused by all operations that come after.
    return case.method.upper() == "GET" or not any(value.lower() in KEPT for value in values)


@schemathesis.hook
def map_query(context, query):
    # A cursor comes from an answer and belongs to its list: a made-up one is refused, as it must be.
    if isinstance(query, dict) and "cursor" in query:
        return {name: value for name, value in query.items() if name != "cursor"}
    return query


@schemathesis.check
def taken_or_for_a_reason(ctx, response, case):
    """What keeps to its schema is taken, or refused for a reason that no schema can say."""
    meta = getattr(case, "meta", None)
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE or response.status_code != 400:
        return
    messages = [error["message"] for error in response.json()["errors"]]
    unknown = [text for text in messages if not any(re.search(reason, text) for reason in REASONS)]
    assert not unknown, f"keeps to its schema and was refused: {unknown}"

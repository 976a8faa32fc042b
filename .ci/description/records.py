"""Records of a fresh org, made of the examples in the description."""

import copy
import itertools
import json

import requests

# What a body names that has to exist, and the list it is of. The description says what an id looks like; that it must be
# one of the org's records (and is 400 where it is not) no schema can say.
REFERENCES = {
    "customer": "/v1/customers", "conversation": "/v1/conversations", "user": "/v1/users", "team": "/v1/teams",
    "assignedUsers": "/v1/users", "assignedTeams": "/v1/teams", "members": "/v1/users", "users": "/v1/users",
    "createdBy": "/v1/users", "modifiedBy": "/v1/users", "sentBy": "/v1/users", "endedBy": "/v1/users",
    "roleGroups": "/v1/role-groups", "accessTeams": "/v1/teams", "accessUsers": "/v1/users",
}

# What is unique, when records are made again and again.
UNIQUE = ("name", "email", "externalId")
numbers = itertools.count(1)


def with_known(value, known, name=None):
    """The same with the ids of records that exist in the place of made-up ones."""
    kind = REFERENCES.get(name)
    if isinstance(value, dict):
        return {name: with_known(member, known, name) for name, member in value.items()}
    if isinstance(value, list):
        return [known[kind]] * min(1, len(value)) if kind in known else [with_known(item, known) for item in value]
    return known[kind] if kind in known and isinstance(value, str) else value


def distinct(body):
    """The same, but for what is unique."""
    body = copy.deepcopy(body)
    for name in UNIQUE:
        if isinstance(body.get(name), str):
            body[name] = f"{next(numbers)}{body[name]}"
    for emails in body.get("emails", []):
        emails["email"] = f"{next(numbers)}{emails['email']}"
    return body


class Client:
    def __init__(self, url, bearer):
        self.url, self.session = url, requests.Session()
        self.session.headers["authorization"] = f"Bearer {bearer}"

    def create(self, path, example, known):
        """The id of a new record, if it can be made."""
        answer = self.session.post(self.url + path, json=distinct(with_known(example, known)))
        return answer.json()["data"]["id"] if answer.ok else None

    def first(self, path):
        """The id of the first record of a list, if it has any."""
        answer = self.session.get(self.url + path)
        rows = answer.json()["data"] if answer.status_code == 200 else []
        return rows[0]["id"] if rows else None

    def current(self, path):
        answer = self.session.get(self.url + path)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["id"]


def examples(document):
    """The example of every list one can add to."""
    found = {}
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        is_read = f"{path}/{{id}}" in document["paths"]
        if "{" not in path and is_read and isinstance(content.get("example"), dict):
            found[path] = content["example"]
    return found


def make(client, document):
    """One of each, by its list. Some need others, which may come later in the document."""
    known, missing = {}, examples(document)
    while missing:
        made = {path: client.create(path, example, known) for path, example in missing.items()}
        made = {path: id for path, id in made.items() if id}
        if not made:
            # Signing in, for instance, takes a password that no example knows. What is there already will do.
            print("==> nothing was made of the examples of", *missing, flush=True)
            lists = ((path, client.first(path)) for path in missing)
            known.update((path, id) for path, id in lists if id and path != "/v1/auth/tokens")
            break
        known.update(made)
        missing = {path: example for path, example in missing.items() if path not in made}
    return known

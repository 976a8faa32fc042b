"""konverse: its REST API, on SQLite and on PostgreSQL."""

import json

from common import Request, free_port

SERVER = "konverse serve, one process"
ROLES = ["org.permission.conversation.read", "org.permission.message.create"]


class Konverse:
    what = "REST API, JSON"
    list_note = "whole conversations with all their attributes"
    schema = "konverse"
    count_messages = "SELECT count(*) FROM message"
    message_note = "one request; every derived attribute, and events"

    def __init__(self, run, program, postgres, page_size):
        self.run, self.program, self.postgres, self.page_size = run, program, postgres, page_size
        self.name = "konverse"
        self.server = SERVER

    def install(self):
        version = self.run.do(self.program, "--version").split()[-1]
        self.database = f"PostgreSQL {self.postgres.version()}" if self.postgres else "SQLite"
        self.version = version

    def fill(self, customers):
        if self.postgres:
            self.url = self.postgres.create("konverse")
        else:
            self.url = f"sqlite:{self.run.work / 'konverse.db'}"
        folder = self.run.work / "konverse-files"
        folder.mkdir(exist_ok=True)
        with open(folder / "customers.jsonl", "w") as people, open(folder / "conversations.jsonl", "w") as talks, \
                open(folder / "messages.jsonl", "w") as messages:
            for customer in customers:
                row = {"id": customer.id, "name": customer.name, "emails": [{"type": "home", "email": customer.email}]}
                print(json.dumps(row), file=people)
                for conversation in customer.conversations:
                    row = {"id": conversation.id, "customer": customer.id, "name": conversation.title,
                           "createdAt": conversation.created}
                    print(json.dumps(row), file=talks)
                    for number, (text, direction) in enumerate(conversation.messages):
                        row = {"externalId": f"{conversation.id}/{number}", "conversation": conversation.id, "customer": customer.id, "channel": "chat",
                               "app": "chat", "direction": direction, "preview": text,
                               "sentAt": conversation.created, "createdAt": conversation.created}
                        print(json.dumps(row), file=messages)
        self.do("org", "create", "compare")
        self.do("import", "--org", "compare", folder)
        roles = [part for role in ROLES for part in ("--role", role)]
        token = self.do("token", "create", "--org", "compare", "--name", "compare", *roles).split()[-1]
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self.customers = customers

    def do(self, *arguments):
        return self.run.do(self.program, *arguments, "--database", self.url)

    def start(self):
        self.port = free_port()
        process = self.run.start("konverse", self.program, "serve", "--database", self.url, "--listen",
                                 f"127.0.0.1:{self.port}", "--metrics-listen", "off")
        self.run.wait_for(process, self.port, "/healthz")
        return process

    def lists(self):
        return [self.page(customer, 1) for customer in self.customers[:-1]]

    def deep_pages(self):
        last = len(self.customers[-1].conversations) // self.page_size
        return [self.page(self.customers[-1], page) for page in range(max(1, last - 9), last + 1)]

    def page(self, customer, page):
        path = f"/v1/customers/{customer.id}/conversations?page={page}&pageSize={self.page_size}"
        return Request("GET", path, self.headers)

    def rows(self, body):
        return len(json.loads(body)["data"])

    def messages(self, texts):
        headers = {**self.headers, "Content-Type": "application/json"}
        for customer in self.customers[:-1]:
            for conversation in customer.conversations:
                body = {"channel": "chat", "app": "chat", "direction": "out", "preview": next(texts)}
                yield Request("POST", f"/v1/conversations/{conversation.id}/messages", headers, json.dumps(body))

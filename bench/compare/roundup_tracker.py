"""Roundup's classic tracker: a creator's issues by its REST API, and notes by its web form."""

import json
import os
import urllib.parse

from common import Request, free_port

WSGI = '''
from roundup.cgi.wsgi_handler import RequestDispatcher
application = RequestDispatcher({home!r}, feature_flags={{"cache_tracker": ""}})
'''

FILL = '''
import json, re, sys
import roundup.instance
from roundup.date import Date

tracker = roundup.instance.open(sys.argv[1])
db = tracker.open("admin")
agent = db.user.create(username="agent", roles="User,Admin", address="agent@example.com")
status = db.status.lookup("chatting")
priority = db.priority.lookup("bug")
answer = {"customers": [], "issues": []}
people = json.load(sys.stdin)
for customer in people:
    answer["customers"].append(db.user.create(username=customer["email"], roles="User", address=customer["email"]))
db.commit()
for customer, user in zip(people, answer["customers"]):
    db.setCurrentUser(customer["email"])
    issues = []
    for talk in customer["conversations"]:
        at = Date(talk["created"][:19].replace("T", "."))
        messages = [db.msg.create(author=agent if direction == "out" else user, date=at, content=text)
                    for text, direction in talk["messages"]]
        issues.append(db.issue.create(title=talk["title"], messages=messages, status=status, priority=priority))
    db.commit()
    answer["issues"].append(issues)
db.setCurrentUser("admin")
sessions = db.getSessionManager()
answer["session"] = "c" * 40
sessions.set(answer["session"], user="agent")
sessions.commit()
db.commit()
answer["cookie"] = "roundup_session_" + re.sub("[^a-zA-Z]", "", tracker.config.TRACKER_NAME)
db.close()
print("FILLED " + json.dumps(answer))
'''

class Roundup:
    name = "Roundup"
    schema = "roundup"
    what = "REST API, JSON; messages by the HTML form"
    list_note = "`/rest/data/issue` of a creator, newest first, four attributes an issue"
    count_messages = "SELECT count(*) FROM _msg"
    message_note = "the issue's form, one request; by REST it would be two that check each other"

    def __init__(self, run, postgres, page_size):
        self.run, self.postgres, self.page_size = run, postgres, page_size

    def install(self):
        self.venv = self.run.work / "roundup-venv"
        self.run.do("python3", "-m", "venv", self.venv)
        self.run.do(self.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "roundup", "gunicorn",
                    "psycopg2-binary")
        code = "import importlib.metadata as m; print(m.version('roundup'), m.version('gunicorn'))"
        self.version, gunicorn = self.run.do(self.venv / "bin/python", "-c", code).split()
        self.workers = 2 * (os.cpu_count() or 1) + 1
        self.server = f"gunicorn {gunicorn}, {self.workers} workers of 4 threads"
        self.database = f"PostgreSQL {self.postgres.version()}"

    def fill(self, customers):
        self.home = self.run.work / "tracker"
        admin = self.venv / "bin/roundup-admin"
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        settings = [
            f"rdbms_host=127.0.0.1,rdbms_port={self.postgres.port},rdbms_user=konverse,rdbms_password=none",
            f"rdbms_name=roundup,tracker_web={self.origin}/,mail_domain=example.com,mail_host=127.0.0.1",
            # Nobody is on a list to be told by mail.
            "nosy_add_author=no,nosy_add_recipients=no,nosy_messages_to_author=no,web_api_calls_per_interval=0",
        ]
        self.do(admin, "-i", self.home, "install", "classic", "postgresql", ",".join(settings))
        self.do(admin, "-i", self.home, "initialise", "of this run alone")
        people = [{"email": customer.email, "conversations": [
            {"title": talk.title, "created": talk.created, "messages": talk.messages}
            for talk in customer.conversations]} for customer in customers]
        (self.run.work / "roundup_fill.py").write_text(FILL)
        text = self.run.do(self.venv / "bin/python", self.run.work / "roundup_fill.py", self.home,
                           text=json.dumps(people))
        self.filled = json.loads(text.split("FILLED ", 1)[1])

    def do(self, *command):
        return self.run.do(*command, cwd=self.run.work)

    def start(self):
        (self.run.work / "roundup_wsgi.py").write_text(WSGI.format(home=str(self.home)))
        process = self.run.start(
            "roundup", self.venv / "bin/gunicorn", "-w", self.workers, "-k", "gthread", "--threads", "4", "-t", "120",
            "-b", f"127.0.0.1:{self.port}", "roundup_wsgi:application", cwd=self.run.work)
        self.run.wait_for(process, self.port)
        return process

    def lists(self):
        return [self.page(customer, 1) for customer in self.filled["customers"][:-1]]

    def deep_pages(self):
        last = len(self.filled["issues"][-1]) // self.page_size
        return [self.page(self.filled["customers"][-1], page) for page in range(max(1, last - 9), last + 1)]

    def headers(self):
        return {"Cookie": f"{self.filled['cookie']}={self.filled['session']}", "Origin": self.origin,
                "Referer": f"{self.origin}/", "X-Requested-With": "REST"}

    def page(self, customer, page):
        path = (f"/rest/data/issue?creator={customer}&@sort=-creation&@fields=title,status,creation,activity"
                f"&@page_size={self.page_size}&@page_index={page}")
        return Request("GET", path, {**self.headers(), "Accept": "application/json"})

    def rows(self, body):
        return len(json.loads(body)["data"]["collection"])

    def messages(self, texts):
        headers = {**self.headers(), "Content-Type": "application/x-www-form-urlencoded"}
        for issues in self.filled["issues"][:-1]:
            for issue in issues:
                body = urllib.parse.urlencode({"@action": "edit", "@note": next(texts)})
                yield Request("POST", f"/issue{issue}", headers, body)

"""django-helpdesk under gunicorn: a customer's own tickets by its REST API, and follow-ups."""

import json
import os

from common import Request, free_port

SETTINGS = '''
SECRET_KEY = "of this run alone"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
USE_TZ = True
STATIC_URL = "/static/"
SITE_ID = 1
HELPDESK_TEAMS_MODE_ENABLED = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
    "django.contrib.staticfiles", "django.contrib.sites", "django.contrib.humanize", "django.contrib.admin",
    "rest_framework", "django_cleanup.apps.CleanupConfig", "helpdesk",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "helpdesk", "USER": "konverse", "HOST": "127.0.0.1",
    "PORT": %d, "CONN_MAX_AGE": 600,
}}
'''

URLS = '''
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("", include("helpdesk.urls"))]
'''

FILL = '''
import json, os, sys
import django
django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from helpdesk.models import FollowUp, Queue, Ticket

User = get_user_model()
queue = Queue.objects.create(title="Service", slug="service")

def session(user):
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return store.session_key

agent = User.objects.create(username="agent", email="agent@example.com", is_staff=True, is_superuser=True)
answer = {"agent": session(agent), "customers": [], "tickets": []}
for customer in json.load(sys.stdin):
    user = User.objects.create(username=customer["email"], email=customer["email"])
    answer["customers"].append(session(user))
    tickets = Ticket.objects.bulk_create(
        Ticket(title=talk["title"][:200], queue=queue, created=talk["created"], modified=talk["created"],
               submitter_email=customer["email"], status=4, priority=3,
               description=talk["messages"][0][0] if talk["messages"] else "")
        for talk in customer["conversations"])
    FollowUp.objects.bulk_create(
        FollowUp(ticket=ticket, date=talk["created"], title="Comment", comment=text, public=True,
                 user=agent if direction == "out" else user)
        for ticket, talk in zip(tickets, customer["conversations"]) for text, direction in talk["messages"])
    answer["tickets"].append([ticket.pk for ticket in tickets])
print("FILLED " + json.dumps(answer))
'''


class Helpdesk:
    name = "django-helpdesk"
    schema = "helpdesk"
    what = "REST API, JSON"
    list_note = "`/api/user_tickets/`, ten attributes a ticket; its filters know no customer but the one signed in"
    count_messages = "SELECT count(*) FROM helpdesk_followup"
    message_note = "`/api/followups/`, one request"

    def __init__(self, run, postgres, page_size):
        self.run, self.postgres, self.page_size = run, postgres, page_size

    def install(self):
        self.venv = self.run.work / "helpdesk-venv"
        self.run.do("python3", "-m", "venv", self.venv)
        self.run.do(self.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "django-helpdesk",
                    "gunicorn", "psycopg2-binary")
        code = "import django, importlib.metadata as m; print(m.version('django-helpdesk'), django.__version__, m.version('gunicorn'))"
        version, django, gunicorn = self.run.do(self.venv / "bin/python", "-c", code).split()
        self.version = f"{version}, Django {django}"
        workers = 2 * (os.cpu_count() or 1) + 1
        self.workers = workers
        self.server = f"gunicorn {gunicorn}, {workers} workers of 4 threads"
        self.database = f"PostgreSQL {self.postgres.version()}"

    def fill(self, customers):
        self.postgres.create("helpdesk")
        self.site = self.run.work / "helpdesk-site"
        self.site.mkdir()
        (self.site / "site_settings.py").write_text(SETTINGS % self.postgres.port)
        (self.site / "site_urls.py").write_text(URLS)
        (self.site / "fill.py").write_text(FILL)
        self.env = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(self.site)}
        self.run.do(self.venv / "bin/django-admin", "migrate", "-v", "0", cwd=self.site, env=self.env)
        people = [{"email": customer.email, "conversations": [
            {"title": talk.title, "created": talk.created, "messages": talk.messages}
            for talk in customer.conversations]} for customer in customers]
        text = self.run.do(self.venv / "bin/python", "fill.py", cwd=self.site, env=self.env, text=json.dumps(people))
        self.filled = json.loads(text.split("FILLED ", 1)[1])

    def start(self):
        self.port = free_port()
        process = self.run.start(
            "helpdesk", self.venv / "bin/gunicorn", "-w", self.workers, "-k", "gthread", "--threads", "4", "-t", "120",
            "-b", f"127.0.0.1:{self.port}", "django.core.wsgi:get_wsgi_application()", cwd=self.site, env=self.env)
        self.run.wait_for(process, self.port)
        return process

    def lists(self):
        return [self.page(session, 1) for session in self.filled["customers"][:-1]]

    def deep_pages(self):
        last = len(self.filled["tickets"][-1]) // self.page_size
        return [self.page(self.filled["customers"][-1], page) for page in range(max(1, last - 9), last + 1)]

    def page(self, session, page):
        path = f"/api/user_tickets/?page={page}&page_size={self.page_size}"
        return Request("GET", path, {"Cookie": f"sessionid={session}", "Accept": "application/json"})

    def rows(self, body):
        return len(json.loads(body)["results"])

    def messages(self, texts):
        token = "k" * 32
        headers = {"Cookie": f"sessionid={self.filled['agent']}; csrftoken={token}", "X-CSRFToken": token,
                   "Content-Type": "application/json", "Accept": "application/json"}
        for tickets in self.filled["tickets"][:-1]:
            for ticket in tickets:
                body = {"ticket": ticket, "title": "Comment", "comment": next(texts), "public": True}
                yield Request("POST", "/api/followups/", headers, json.dumps(body))

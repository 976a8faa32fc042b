"""Redmine as Debian packages it, under puma: issues of an author and notes by its REST API."""

import io
import json
import os
import shutil
from pathlib import Path

from common import Request, free_port

PACKAGES = ["redmine", "redmine-pgsql", "puma"]

# Customers are authors: an issue has no other person it is from.
SET_UP = '''
Setting.rest_api_enabled = "1"
Setting.notified_events = []
admin = User.find_by(login: "admin")
admin.update_columns(must_change_passwd: false)
token = Token.create!(user: admin, action: "api")
project = Project.create!(name: "Service", identifier: "service", is_public: false, enabled_module_names: ["issue_tracking"], trackers: [Tracker.first])
puts "SET_UP " + { token: token.value, project: project.id, tracker: Tracker.first.id, status: IssueStatus.first.id, priority: IssuePriority.first.id }.to_json
'''


class Redmine:
    name = "Redmine"
    schema = "redmine"
    what = "REST API, JSON"
    list_note = "`/issues.json` of an author, newest first"
    count_messages = "SELECT count(*) FROM journals"
    message_note = "a note on an issue, one request"

    def __init__(self, run, postgres, page_size):
        self.run, self.postgres, self.page_size = run, postgres, page_size

    def install(self):
        if not (Path("/usr/share/redmine/config.ru").exists() and shutil.which("puma")):
            if os.geteuid() != 0:
                raise RuntimeError(f"not installed, and only root may: apt-get install {' '.join(PACKAGES)}")
            print(f"==> installing Debian packages, which stay: {' '.join(PACKAGES)}", flush=True)
            self.run.do("debconf-set-selections",
                        text="redmine redmine/instances/default/dbconfig-install boolean false\n")
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            self.run.do("apt-get", "update", env=env)
            self.run.do("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES, env=env)
        version = lambda package: self.run.do("dpkg-query", "-W", "-f", "${Version}", package)
        self.version = f"{version('redmine')}, Rails {version('ruby-rails').split(':')[-1]}"
        self.workers = os.cpu_count() or 1
        self.server = f"puma {version('puma')}, {self.workers} workers of 5 threads"
        self.database = f"PostgreSQL {self.postgres.version()}"

    def fill(self, customers):
        self.postgres.create("redmine")
        # A copy: where Debian's own instances keep their settings nothing is touched.
        self.site = self.run.work / "redmine"
        shutil.copytree("/usr/share/redmine", self.site, symlinks=True)
        for name in ["Gemfile.lock", "instances", "config/database.yml", "plugins", "files", "log", "tmp"]:
            path = self.site / name
            if path.is_symlink() or path.exists():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        instance = self.site / "instances/compare"
        for folder in ["config", "log", "tmp/cache", "tmp/pids", "files", "plugins"]:
            (instance / folder).mkdir(parents=True)
        for folder in ["plugins", "files", "log", "tmp"]:
            (self.site / folder).symlink_to(instance / folder)
        (instance / "config/database.yml").write_text(
            "production:\n  adapter: postgresql\n  database: redmine\n  host: 127.0.0.1\n"
            f"  port: {self.postgres.port}\n  username: konverse\n  encoding: utf8\n  pool: 8\n")
        (instance / "config/secret_key.txt").write_text("of this run alone " * 8)
        gemfile = self.site / "Gemfile"
        gemfile.write_text(gemfile.read_text().replace("/usr/share/redmine", str(self.site)))
        (self.site / "Gemfile.local").write_text("gem 'puma'\n")
        self.env = {**os.environ, "RAILS_ENV": "production", "X_DEBIAN_SITEID": "compare", "REDMINE_LANG": "en",
                    "BUNDLE_GEMFILE": str(gemfile), "HOME": str(self.run.work), "RUBYOPT": "-W0"}
        self.do("bundle", "install", "--local", "--quiet")
        self.do("bundle", "exec", "rake", "db:migrate")
        self.do("bundle", "exec", "rake", "redmine:load_default_data")
        text = self.do("bundle", "exec", "rails", "runner", SET_UP)
        made = json.loads(text.split("SET_UP ", 1)[1].splitlines()[0])
        self.headers = {"X-Redmine-API-Key": made["token"], "Accept": "application/json"}

        people, issues, journals = io.StringIO(), io.StringIO(), io.StringIO()
        self.authors, self.issues = [], []
        user, issue = 1000, 1000
        for customer in customers:
            user += 1
            self.authors.append(user)
            first, _, last = customer.name.partition(" ")
            write(people, user, customer.email[:60], first[:30], (last or "-")[:30], "User", 1, "en", "none", "now", "now")
            self.issues.append([])
            for talk in customer.conversations:
                issue += 1
                self.issues[-1].append(issue)
                description = talk.messages[0][0] if talk.messages else ""
                write(issues, issue, made["project"], made["tracker"], made["status"], made["priority"], user,
                      talk.title[:255], description, talk.created, talk.created, issue, 1, 2)
                for text, direction in talk.messages:
                    write(journals, issue, "Issue", 1 if direction == "out" else user, text, talk.created)
        self.postgres.sql("redmine", "".join([
            copy("users (id, login, firstname, lastname, type, status, language, mail_notification, created_on, updated_on)", people),
            copy("issues (id, project_id, tracker_id, status_id, priority_id, author_id, subject, description, created_on, updated_on, root_id, lft, rgt)", issues),
            copy("journals (journalized_id, journalized_type, user_id, notes, created_on)", journals),
            "SELECT setval('users_id_seq', 1000000), setval('issues_id_seq', 1000000);\n",
        ]))

    def do(self, *command):
        return self.run.do(*command, cwd=self.site, env=self.env)

    def start(self):
        self.port = free_port()
        process = self.run.start("redmine", "bundle", "exec", "puma", "-e", "production", "-w", self.workers, "-t", "5:5",
                                 "-b", f"tcp://127.0.0.1:{self.port}", cwd=self.site, env=self.env)
        self.run.wait_for(process, self.port, "/login")
        return process

    def lists(self):
        return [self.page(author, 1) for author in self.authors[:-1]]

    def deep_pages(self):
        last = len(self.issues[-1]) // self.page_size
        return [self.page(self.authors[-1], page) for page in range(max(1, last - 9), last + 1)]

    def page(self, author, page):
        path = f"/issues.json?author_id={author}&status_id=*&sort=created_on:desc&limit={self.page_size}&page={page}"
        return Request("GET", path, self.headers)

    def rows(self, body):
        return len(json.loads(body)["issues"])

    def messages(self, texts):
        headers = {**self.headers, "Content-Type": "application/json"}
        for issues in self.issues[:-1]:
            for issue in issues:
                yield Request("PUT", f"/issues/{issue}.json", headers, json.dumps({"issue": {"notes": next(texts)}}))


def write(file, *values):
    escaped = (str(value).replace("\\", "\\\\").replace("\t", " ").replace("\n", "\\n") for value in values)
    print("\t".join(escaped), file=file)


def copy(target, rows):
    return f"COPY {target} FROM stdin;\n{rows.getvalue()}\\.\n"

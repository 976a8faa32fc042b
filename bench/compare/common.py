"""What the compared systems share: processes that end with the run, a PostgreSQL, the load, CPU time, the data."""

import gzip
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

# Requests a second.
SLOW = 300


class Run:
    """The folder of a run, and the processes that were started in it."""

    def __init__(self, work, limit):
        self.work = work
        self.ends = time.monotonic() + limit
        self.processes = []

    def left(self):
        left = self.ends - time.monotonic()
        if left <= 0:
            raise SystemExit("the run took longer than --timeout allows")
        return left

    def do(self, *command, cwd=None, env=None, text=None):
        """Runs a command to its end; its output. A failure shows the end of what it printed."""
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env=env, input=text, text=True, timeout=self.left(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=None if text is not None else subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    def start(self, name, *command, cwd=None, env=None, ending=signal.SIGTERM):
        """Starts a process that ends with the run."""
        log = open(self.work / f"{name}.log", "w")
        process = subprocess.Popen(
            [str(part) for part in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT,
        )
        process.ending = ending
        process.log = Path(log.name)
        self.processes.append(process)
        return process

    def stop(self, process):
        children = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(process.ending)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                for pid in children:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        if process in self.processes:
            self.processes.remove(process)

    def stop_all(self):
        for process in reversed(list(self.processes)):
            self.stop(process)

    def wait_for(self, process, port, path="/"):
        """Waits until a server answers anything at all."""
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended:\n{process.log.read_text()[-3000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60).read()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                self.left()
                time.sleep(0.1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stat(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()


def descendants(root):
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat(entry)):
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def cpu_seconds(roots):
    """CPU time of these processes and all that descend from them, those that have ended included."""
    ticks = 0
    for root in roots:
        for pid in [root, *descendants(root)]:
            if fields := stat(pid):
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


class Postgres:
    """A server of the run's own, with the settings it comes with."""

    def __init__(self, run):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise RuntimeError("no initdb (Debian: apt-get install postgresql)")
        self.run, self.programs = run, found[-1].parent
        folder = run.work / "postgres"
        folder.mkdir()
        as_owner = []
        if os.geteuid() == 0:
            # PostgreSQL does not serve root.
            shutil.chown(folder, "postgres", "postgres")
            os.chmod(run.work, 0o711)
            as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        data = folder / "data"
        run.do(*as_owner, self.programs / "initdb", "-D", data, "-A", "trust", "-U", "konverse", "-E", "UTF8",
               "--locale=C.UTF-8", "--no-instructions", cwd=folder)
        self.port = free_port()
        self.process = run.start(
            "postgres", *as_owner, self.programs / "postgres", "-D", data, "-p", self.port, "-c",
            "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", cwd=folder, ending=signal.SIGINT)
        while "ready" not in self.state(data):
            if self.process.poll() is not None:
                raise RuntimeError(self.process.log.read_text()[-3000:])
            run.left()
            time.sleep(0.05)

    @staticmethod
    def state(data):
        try:
            return (data / "postmaster.pid").read_text().splitlines()[7]
        except (OSError, IndexError):
            return ""

    def url(self, database):
        return f"postgres://konverse@127.0.0.1:{self.port}/{database}"

    def create(self, database):
        self.sql("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def sql(self, database, text):
        return self.run.do(self.programs / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d",
                           self.url(database), text=text)

    def version(self):
        return self.sql("postgres", "SHOW server_version").split()[0]


class Request:
    def __init__(self, method, path, headers=None, body=""):
        self.method, self.path, self.headers, self.body = method, path, headers or {}, body

    def send(self, port):
        """Sends it once; status, headers and body of what comes back, redirections not followed."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{self.path}", self.body.encode() or None, self.headers, method=self.method)
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(request, timeout=120) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def line(self):
        headers = "\x1f".join(f"{name}: {value}" for name, value in self.headers.items())
        return "\t".join([self.method, self.path, headers, self.body])


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def load(run, port, requests, connections, seconds, roots):
    """Sends the requests again and again: how many were answered, how fast, and what it cost the servers."""
    warm_up = by_threads(run, port, requests, connections, 2)
    before = cpu_seconds(roots)
    # What is slow is sent by this program, which waits for the last answer: of few requests, those that are cut off
    # would be too many. What is fast is sent by wrk, which costs less than it measures.
    send = by_threads if warm_up["per_second"] < SLOW else by_wrk
    figures = send(run, port, requests, connections, seconds)
    time.sleep(0.2)
    figures["cpu_ms"] = (cpu_seconds(roots) - before) * 1000 / figures["count"]
    return figures


def by_threads(run, port, requests, connections, seconds):
    started = time.monotonic()
    ends = started + seconds
    latencies, failures = [], []

    def send(first):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
        number = first
        try:
            while time.monotonic() < ends:
                request = requests[number % len(requests)]
                number += connections
                sent = time.monotonic()
                connection.request(request.method, request.path, request.body or None, request.headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status >= 400:
                    raise RuntimeError(f"{request.path}: {answer.status} {body[:500]}")
                latencies.append(time.monotonic() - sent)
        except Exception as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.left()
    if failures:
        raise failures[0]
    wall = time.monotonic() - started
    return {"count": len(latencies), "per_second": len(latencies) / wall,
            "median_ms": statistics.median(latencies) * 1000}


def by_wrk(run, port, requests, connections, seconds):
    file = run.work / "requests"
    file.write_text("".join(request.line() + "\n" for request in requests))
    script = Path(__file__).with_name("load.lua")
    text = run.do("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
                  f"http://127.0.0.1:{port}", env={**os.environ, "REQUESTS": str(file)})
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        raise RuntimeError(f"{refused.group(1)} requests were refused, {requests[0].path} among them")
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", text)
    milliseconds = float(median.group(1)) * {"us": 0.001, "ms": 1, "s": 1000}[median.group(2)]
    return {"count": int(re.search(r"(\d+) requests in", text).group(1)), "median_ms": milliseconds,
            "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))}


class Customer:
    def __init__(self, id, name, email):
        self.id, self.name, self.email, self.conversations = id, name, email, []


class Conversation:
    def __init__(self, id, title, created):
        self.id, self.title, self.created, self.messages = id, title, created, []


def rows(folder, name):
    for file in [folder / f"{name}.jsonl.gz", folder / f"{name}.jsonl"]:
        if file.exists():
            with gzip.open(file, "rt") if file.suffix == ".gz" else open(file) as lines:
                for line in lines:
                    yield json.loads(line)
            return
    raise RuntimeError(f"no {name}.jsonl in {folder}")


def data(folder, customers, deep, most_messages):
    """Customers that have conversations, and after them one that has very many, made of the words of the others'."""
    known = {row["id"]: row for row in rows(folder, "customers")}
    talks = list(rows(folder, "conversations"))
    owners = sorted({row["customer"] for row in talks})
    chosen = {}
    for owner in random.Random(7).sample(owners, min(customers, len(owners))):
        of = known[owner]
        chosen[owner] = Customer(owner, of["name"], of["emails"][0]["email"])
    conversations = {}
    for row in talks:
        if customer := chosen.get(row["customer"]):
            conversation = Conversation(row["id"], row["name"], row["createdAt"])
            conversations[row["id"]] = conversation
            customer.conversations.append(conversation)
    for row in rows(folder, "messages"):
        conversation = conversations.get(row["conversation"])
        if conversation and len(conversation.messages) < most_messages:
            conversation.messages.append((row["preview"], row["direction"]))
    words = list(conversations.values())
    very_many = Customer("de" * 12, "Deep Diver", "deep@example.com")
    for number in range(deep):
        like = words[number % len(words)]
        at = f"2025-{1 + number // 28 % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00.{number % 1000:03}Z"
        copy = Conversation(f"dd{number:022x}", like.title, at)
        copy.messages = like.messages[:1]
        very_many.conversations.append(copy)
    return [*chosen.values(), very_many]

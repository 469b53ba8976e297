"""What the client tests share."""

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.request

AGENT = "http://" + os.environ.get("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
WORK = os.environ.get("CLIENTS_WORK", "/tmp")


def fetch(url, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def agent(path, method="GET", body=None):
    text = fetch(AGENT + path, method, body)
    return json.loads(text) if text.strip() else None


def until(what, condition, limit=40):
    """Tries until the condition returns something true."""
    end = time.monotonic() + limit
    seen = None
    while time.monotonic() < end:
        try:
            seen = condition()
            if seen:
                return seen
        except OSError as error:
            seen = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {limit} s; last seen: {seen!r}")


def backend(port, says=None):
    """An HTTP server that says its port, or something else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = (says or str(port)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextlib.contextmanager
def process(*command):
    """A program that runs meanwhile; what it said is shown if the block fails."""
    log = os.path.join(WORK, os.path.basename(command[0]) + ".log")
    with open(log, "w") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield child
    except BaseException:
        with open(log) as said:
            print(said.read()[-4000:])
        raise
    finally:
        child.terminate()
        child.wait(20)

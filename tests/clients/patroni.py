"""Patroni keeps a PostgreSQL of two nodes: the leader is killed, the other is promoted, nothing written is lost.

The lock and the session of the leader are Proconsul's, and so are the services by which the nodes are found."""

import base64
import contextlib
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess

from common import agent, until

BIN = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))[-1].rsplit("/", 1)[0]
PG = pwd.getpwnam("postgres")
# Name, port of PostgreSQL, port of Patroni.
NODES = {"one": (15432, 18008), "two": (15433, 18009)}

CONFIG = """
scope: pgtest
name: {name}
restapi: {{ listen: "127.0.0.1:{api}", connect_address: "127.0.0.1:{api}" }}
consul: {{ host: "127.0.0.1:8500", register_service: true, service_check_interval: 1s }}
bootstrap:
  # The library halves the TTL, as a session may live twice as long: 10 s, the least that is allowed.
  dcs: {{ ttl: 20, loop_wait: 1, retry_timeout: 3, maximum_lag_on_failover: 1048576 }}
  initdb: [ encoding: UTF8, no-sync ]
  pg_hba: [ "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust" ]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/data
  bin_dir: {bin}
  authentication: {{ superuser: {{ username: postgres }}, replication: {{ username: replicator }} }}
  parameters: {{ unix_socket_directories: "{folder}", shared_buffers: 16MB }}
"""

# Not below the folder of this run, which only root may enter.
root = subprocess.check_output(["mktemp", "-d"], text=True).strip()
os.chown(root, PG.pw_uid, PG.pw_gid)


def prepared(name):
    folder = f"{root}/{name}"
    os.mkdir(folder, 0o700)
    os.chown(folder, PG.pw_uid, PG.pw_gid)
    port, api = NODES[name]
    path = f"{folder}/patroni.yml"
    with open(path, "w") as file:
        file.write(CONFIG.format(name=name, port=port, api=api, folder=folder, bin=BIN))
    os.chmod(path, 0o644)
    return path


def started(name):
    out = open(f"{root}/{name}/log", "a")
    child = subprocess.Popen(
        ["patroni", paths[name]], stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=root,
        env={**os.environ, "HOME": f"{root}/{name}"}, user=PG.pw_uid, group=PG.pw_gid, extra_groups=[],
    )
    running[name] = child


def postmaster(name):
    with open(f"{root}/{name}/data/postmaster.pid") as file:
        return int(file.readline())


def killed(name):
    """Patroni and its PostgreSQL at once, as when the machine dies."""
    running[name].kill()
    with contextlib.suppress(OSError):
        os.kill(postmaster(name), signal.SIGKILL)
    running.pop(name).wait()


def sql(name, text):
    url = f"postgresql://postgres@127.0.0.1:{NODES[name][0]}/postgres?connect_timeout=5"
    ran = subprocess.run([f"{BIN}/psql", "-XAtq", "-c", text, url], capture_output=True, text=True, cwd="/")
    if ran.returncode:
        raise OSError(ran.stderr)
    return ran.stdout.strip()


def members():
    """Role and state of each node, as Patroni's command tells them."""
    for name, child in running.items():
        assert child.poll() is None, f"{name} has ended"
    table = subprocess.check_output(["patronictl", "-c", paths["one"], "list", "-f", "json"], text=True, cwd="/")
    return {row["Member"]: (row["Role"], row["State"]) for row in json.loads(table)}


def holder():
    entry = agent("/v1/kv/service/pgtest/leader?consistent")[0]
    session = agent(f"/v1/session/info/{entry['Session']}")[0]
    assert session["Name"] == f"pgtest-{key_value(entry)}", session
    return key_value(entry)


def key_value(entry):
    return base64.b64decode(entry["Value"]).decode()


def found(role):
    """Ports of the healthy instances of that role."""
    return {i["Service"]["Port"] for i in agent(f"/v1/health/service/pgtest?passing&tag={role}")}


paths, running = {name: prepared(name) for name in NODES}, {}
try:
    started("one")
    until("a leader", lambda: members().get("one") == ("Leader", "running"), 60)
    assert holder() == "one"
    started("two")
    until("a replica", lambda: members().get("two", ("", ""))[0] == "Replica"
          and members()["two"][1] in ("running", "streaming"), 60)
    until("the services", lambda: found("master") == {15432} and found("replica") == {15433})
    sql("one", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    until("replication", lambda: sql("two", "SELECT count(*) FROM t") == "1")

    killed("one")
    until("promotion", lambda: members().get("two") == ("Leader", "running"), 60)
    assert holder() == "two"
    sql("two", "INSERT INTO t VALUES (2)")
    assert sql("two", "SELECT sum(n) FROM t") == "3"
    until("the services follow", lambda: found("master") == {15433} and found("replica") == set())

    # Who was leader comes back as what it is now.
    started("one")
    until("the other way round", lambda: members().get("one", ("", ""))[0] == "Replica"
          and sql("one", "SELECT sum(n) FROM t") == "3", 60)
    print(subprocess.check_output(["patronictl", "-c", paths["one"], "list"], text=True, cwd="/"))
except BaseException:
    for name in NODES:
        with contextlib.suppress(OSError), open(f"{root}/{name}/log") as said:
            print(f"--- {name}\n{said.read()[-3000:]}")
    raise
finally:
    for name in list(running):
        killed(name)
    shutil.rmtree(root, ignore_errors=True)

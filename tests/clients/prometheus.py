"""Prometheus finds targets by SRV and A records, and scrapes the agent's own metrics."""

import json
import os
import urllib.parse

from common import WORK, agent, backend, fetch, process, until

CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: agent
    metrics_path: /v1/agent/metrics
    params: {format: [prometheus]}
    static_configs: [{targets: ["127.0.0.1:8500"]}]
  - job_name: srv
    dns_sd_configs:
      - names: [promweb.service.consul]
        refresh_interval: 1s
  - job_name: a
    dns_sd_configs:
      - names: [promweb.service.consul]
        type: A
        port: 18011
        refresh_interval: 1s
"""

backends = [backend(18011, "up 1\n"), backend(18012, "up 1\n")]
path = os.path.join(WORK, "prometheus.yml")
with open(path, "w") as file:
    file.write(CONFIG)
for port in (18011, 18012):
    body = {"Name": "promweb", "ID": f"promweb-{port}", "Port": port, "Address": "127.0.0.1"}
    agent("/v1/agent/service/register", "PUT", body)

SERVER = "http://127.0.0.1:19090"


def targets(job):
    found = json.loads(fetch(SERVER + "/api/v1/targets"))["data"]["activeTargets"]
    return {t["labels"]["instance"]: t["health"] for t in found if t["labels"]["job"] == job}


def up(job):
    """Ports of the targets that were reached; their hosts are names for the agent's DNS."""
    return {int(t.rsplit(":", 1)[1]) for t, health in targets(job).items() if health == "up"}


def query(expression):
    found = json.loads(fetch(f"{SERVER}/api/v1/query?query={urllib.parse.quote(expression)}"))["data"]["result"]
    return float(found[0]["value"][1]) if found else None


with process(
    "prometheus", f"--config.file={path}", f"--storage.tsdb.path={WORK}/prometheus",
    "--web.listen-address=127.0.0.1:19090",
):
    until("targets by SRV", lambda: up("srv") == {18011, 18012})
    until("targets by A", lambda: set(targets("a")) == {"127.0.0.1:18011"})
    until("the agent's metrics", lambda: targets("agent").get("127.0.0.1:8500") == "up")
    until("a metric", lambda: query('count({job="agent",__name__=~"consul_.+"})'))
    agent("/v1/agent/service/deregister/promweb-18012", "PUT")
    until("one target less", lambda: up("srv") == {18011})
agent("/v1/agent/service/deregister/promweb-18011", "PUT")

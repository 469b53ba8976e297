"""HAProxy finds its servers by SRV records (server-template) and follows changes."""

import os

from common import WORK, agent, backend, fetch, process, until

CONFIG = """
global
    maxconn 100
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
resolvers agent
    nameserver one 127.0.0.1:{dns}
    accepted_payload_size 8192
    hold valid 1s
    hold obsolete 1s
    timeout resolve 500ms
    timeout retry 500ms
frontend web
    bind 127.0.0.1:18080
    default_backend web
backend web
    balance roundrobin
    option httpchk GET /
    server-template web 5 _haweb._tcp.service.consul resolvers agent resolve-prefer ipv4 check inter 300ms init-addr none
"""

backends = [backend(18001), backend(18002)]
path = os.path.join(WORK, "haproxy.cfg")
with open(path, "w") as file:
    file.write(CONFIG.format(dns=os.environ["CLIENTS_DNS_PORT"]))


def register(port):
    body = {"Name": "haweb", "ID": f"haweb-{port}", "Port": port, "Address": "127.0.0.1"}
    agent("/v1/agent/service/register", "PUT", body)


def answering():
    """Who answers a few requests through the proxy."""
    try:
        return {fetch("http://127.0.0.1:18080/") for _ in range(6)}
    except OSError as error:
        return {str(error)}


register(18001)
with process("haproxy", "-f", path, "-db"):
    until("one backend", lambda: answering() == {"18001"})
    register(18002)
    until("both backends", lambda: answering() == {"18001", "18002"})
    agent("/v1/agent/service/deregister/haweb-18001", "PUT")
    until("the other backend", lambda: answering() == {"18002"})
agent("/v1/agent/service/deregister/haweb-18002", "PUT")

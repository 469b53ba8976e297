"""Waits until the agent has a leader and its own node in the catalog."""

from common import agent, until

until("a leader", lambda: agent("/v1/status/leader"))
until("the node", lambda: agent("/v1/catalog/service/consul"))

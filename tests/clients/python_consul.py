"""The library python-consul: register, check, health, blocking queries, KV, locks."""

import threading
import time

import consul

c = consul.Consul()

c.agent.service.register(
    "pyweb", service_id="pyweb-1", address="10.0.0.1", port=80, tags=["a", "b"],
    check=consul.Check.ttl("30s"),
)
assert c.agent.services()["pyweb-1"]["Port"] == 80


def instances(passing):
    return c.health.service("pyweb", passing=passing)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


wait_for(lambda: len(instances(False)[1]) == 1)
index, healthy = instances(True)
assert healthy == [], healthy

# A blocked query is answered by the change of the check, and not before.
answer = []
blocked = threading.Thread(
    target=lambda: answer.append(c.health.service("pyweb", passing=True, index=index, wait="30s"))
)
blocked.start()
blocked.join(0.5)
assert blocked.is_alive()
began = time.monotonic()
c.agent.check.ttl_pass("service:pyweb-1", "fine")
blocked.join(10)
assert not blocked.is_alive() and time.monotonic() - began < 5
while not answer[0][1]:
    answer[0] = c.health.service("pyweb", passing=True, index=answer[0][0], wait="10s")
assert answer[0][0] > index
assert answer[0][1][0]["Service"]["Tags"] == ["a", "b"]
assert [n["ServiceID"] for n in c.catalog.service("pyweb", tag="a")[1]] == ["pyweb-1"]

assert c.kv.put("py/key", "värde")
index, entry = c.kv.get("py/key")
assert entry["Value"].decode() == "värde"
assert not c.kv.put("py/key", "x", cas=1)
assert c.kv.put("py/key", "y", cas=entry["ModifyIndex"])
assert c.kv.get("py/", keys=True)[1] == ["py/key"]

one, two = c.session.create(lock_delay=0), c.session.create(lock_delay=0)
assert c.kv.put("py/lock", "one", acquire=one)
assert not c.kv.put("py/lock", "two", acquire=two)
assert not c.kv.put("py/lock", "two", release=two)


def contend(session, name, held):
    """Takes the lock as soon as its holder is gone, by waiting for changes of the key."""
    index = None
    while not c.kv.put("py/lock", name, acquire=session):
        index, entry = c.kv.get("py/lock", index=index, wait="30s")
        while entry and "Session" in entry:
            index, entry = c.kv.get("py/lock", index=index, wait="30s")
    held.append(name)


def contender(session, name):
    held = []
    thread = threading.Thread(target=contend, args=(session, name, held), daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and not held, "it does not wait"
    return thread, held


# The lock is passed on by a release, and by the end of the holder's session.
waiting, held = contender(two, "two")
assert c.kv.put("py/lock", "one", release=one)
waiting.join(10)
assert held == ["two"], held
assert c.kv.get("py/lock")[1]["Session"] == two
waiting, held = contender(one, "one")
c.session.destroy(two)
waiting.join(10)
assert held == ["one"], held
entry = c.kv.get("py/lock")[1]
assert entry["Session"] == one and entry["LockIndex"] == 3, entry
assert [s["ID"] for s in c.session.list()[1]] == [one]
c.session.renew(one)
# A key that its session takes along.
brief = c.session.create(behavior="delete", lock_delay=0, ttl=10)
assert c.kv.put("py/brief", "x", acquire=brief)
c.session.destroy(brief)
assert c.kv.get("py/brief")[1] is None
c.session.destroy(one)
assert c.kv.delete("py/", recurse=True)
assert c.kv.get("py/key")[1] is None

c.agent.service.deregister("pyweb-1")
wait_for(lambda: instances(False)[1] == [])

// The npm library `consul`: services, health, KV, locks and watches.
import assert from "node:assert/strict";
import Consul from "consul";

const consul = new Consul({ host: "127.0.0.1", port: 8500 });

async function until(what, condition) {
  const end = Date.now() + 20000;
  for (;;) {
    if (await condition()) return;
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

await consul.agent.service.register({
  name: "jsweb", id: "jsweb-1", port: 8080, tags: ["js"], check: { ttl: "30s", status: "passing" },
});
await until("registered", async () => (await consul.health.service({ service: "jsweb", passing: true })).length === 1);
const services = await consul.agent.service.list();
assert.equal(services["jsweb-1"].Port, 8080);

// A watch sees the key appear and change.
const seen = [];
const watch = consul.watch({ method: consul.kv.get, options: { key: "js/watched" }, backoffFactor: 100 });
watch.on("change", (entry) => seen.push(entry && entry.Value));
watch.on("error", (error) => { throw error; });
await consul.kv.set("js/watched", "1");
await until("the first value", () => seen.includes("1"));
await consul.kv.set("js/watched", "2");
await until("the second value", () => seen.includes("2"));
watch.end();

const session = await consul.session.create({ name: "js", lockdelay: "0s", ttl: "30s" });
const other = await consul.session.create({ name: "js2", lockdelay: "0s", ttl: "30s" });
assert.equal(await consul.kv.set({ key: "js/lock", value: "a", acquire: session.ID }), true);
// The library gives undefined for a false.
assert.ok(!(await consul.kv.set({ key: "js/lock", value: "b", acquire: other.ID })));
await consul.session.renew(session.ID);
// Who waits for the lock gets it when it is released, and when the session of its holder ends.
async function contend(id, value) {
  let index;
  while (!(await consul.kv.set({ key: "js/lock", value, acquire: id }))) {
    for (;;) {
      const entry = await consul.kv.get({ key: "js/lock", index, wait: "30s" });
      index = entry && entry.ModifyIndex;
      if (!entry || !entry.Session) break;
    }
  }
  return value;
}
async function waits(promise) {
  const early = await Promise.race([promise, new Promise((resolve) => setTimeout(resolve, 500, "waits"))]);
  assert.equal(early, "waits");
}
let next = contend(other.ID, "b");
await waits(next);
assert.equal(await consul.kv.set({ key: "js/lock", value: "a", release: session.ID }), true);
assert.equal(await next, "b");
assert.equal((await consul.kv.get("js/lock")).Session, other.ID);
next = contend(session.ID, "a");
await waits(next);
await consul.session.destroy(other.ID);
assert.equal(await next, "a");
assert.equal((await consul.kv.get("js/lock")).LockIndex, 3);
await consul.session.destroy(session.ID);

const results = await consul.transaction.create([
  { KV: { Verb: "set", Key: "js/a", Value: Buffer.from("x").toString("base64") } },
  { KV: { Verb: "get", Key: "js/a" } },
]);
assert.equal(results.Results.length, 2);
await consul.kv.del({ key: "js/", recurse: true });
assert.deepEqual(await consul.catalog.datacenters(), ["dc1"]);
await consul.agent.service.deregister("jsweb-1");
process.exit(0);

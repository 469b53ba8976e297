//! The federation guide, walked on real processes: two datacenters that come up apart from each other,
//! are joined over the WAN, and live through the loss of one.

use std::time::{Duration, Instant};

use e2e::{Agent, Datacenter, LONG, Slice, dns, until};
use serde_json::{Value, json};

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

/// Before the periodic repairs, which would hide that something was lost.
const PROMPT: Duration = Duration::from_secs(20);

/// Names of the alive members of the WAN pool, as an agent's command tells them.
fn wan_members(agent: &Agent) -> Result<Vec<String>, String> {
    let table = agent.cli_ok(&["members", "-wan"])?;
    let mut names: Vec<String> = table
        .lines()
        .filter(|line| line.split_whitespace().nth(2) == Some("alive"))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn expect<T: PartialEq + std::fmt::Debug>(actual: T, expected: &T) -> Result<(), String> {
    if actual == *expected { Ok(()) } else { Err(format!("{actual:?} instead of {expected:?}")) }
}

/// `NAME.DATACENTER` of all servers.
fn full_names(datacenters: &[&Datacenter]) -> Vec<String> {
    let mut names: Vec<String> = datacenters
        .iter()
        .flat_map(|dc| dc.servers.iter().map(|s| format!("{}.{}", s.spec.name, dc.name)))
        .collect();
    names.sort();
    names
}

/// Every server sees all servers over the WAN, every agent reaches every datacenter, by HTTP and DNS.
fn federated(datacenters: &[&Datacenter]) {
    let all = full_names(datacenters);
    let names: Vec<String> = datacenters.iter().map(|dc| dc.name.clone()).collect();
    for dc in datacenters {
        for server in &dc.servers {
            let what = format!("{} sees all servers over the WAN", server.spec.name);
            until(&what, PROMPT, || expect(wan_members(server)?, &all));
        }
        for agent in dc.agents() {
            let name = &agent.spec.name;
            until(&format!("{name} lists the datacenters, its own first"), LONG, || {
                let listed = agent.http().json("/v1/catalog/datacenters")?;
                let mut listed: Vec<String> = listed
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|v| v.as_str().map(str::to_owned))
                    .collect();
                expect(listed.first().cloned(), &Some(dc.name.clone()))?;
                listed.sort();
                expect(listed, &names)
            });
            for other in datacenters {
                until(&format!("{name} reads the catalog of {}", other.name), LONG, || {
                    let path = format!("/v1/catalog/nodes?dc={}", other.name);
                    expect(agent.http().column(&path, "Node")?, &other.names())
                });
                until(&format!("{name} resolves names of {}", other.name), LONG, || {
                    let node = &other.agents().last().expect("an agent").spec;
                    let found = dns::addresses(
                        agent.spec.addr,
                        &format!("{}.node.{}.consul", node.name, other.name),
                    )?;
                    expect(found, &vec![node.addr.into()])?;
                    let servers =
                        dns::addresses(agent.spec.addr, &format!("consul.service.{}.consul", other.name))?;
                    expect(servers.len(), &other.servers.len())
                });
            }
        }
    }
}

#[test]
fn two_datacenters_are_joined_and_one_is_lost_and_returns() {
    let slice = Slice::claim();
    let settings = json!({});
    let mut dc1 = Datacenter::start(PROCONSUL, &slice, 1, 3, 1, &settings);
    let mut dc2 = Datacenter::start(PROCONSUL, &slice, 2, 3, 1, &settings);
    dc1.ready();
    dc2.ready();

    // Apart, each knows its own servers over the WAN, and never a client.
    for dc in [&dc1, &dc2] {
        let own = full_names(&[dc]);
        for server in &dc.servers {
            until("own servers over the WAN", PROMPT, || expect(wan_members(server)?, &own));
        }
        let listed = dc.clients[0].http().json("/v1/catalog/datacenters").expect("datacenters");
        assert_eq!(listed, json!([dc.name]));
    }
    let reply = dc1.clients[0].http().get("/v1/catalog/nodes?dc=dc2").expect("an answer");
    assert_eq!(reply.status, 500);
    assert!(reply.body.contains("No path to datacenter"), "{}", reply.body);

    // One join on one server is enough for all.
    let target = dc2.servers[2].spec.addr.to_string();
    let said = dc1.servers[0].cli_ok(&["join", "-wan", &target]).expect("joined");
    assert!(said.contains("Successfully joined cluster by contacting 1 nodes."), "{said}");
    federated(&[&dc1, &dc2]);

    // What the table shows of each.
    let table = dc1.servers[1].cli_ok(&["members", "-wan"]).expect("members");
    for server in &dc2.servers {
        let row =
            table.lines().find(|l| l.starts_with(&format!("{}.dc2 ", server.spec.name))).expect("a row");
        let columns: Vec<&str> = row.split_whitespace().collect();
        let addr = format!("{}:8302", server.spec.addr);
        assert_eq!(columns[1..], [&addr, "alive", "server", "1.9.8", "2", "dc2", "<all>"], "{row}");
    }

    // Writes with ?dc= take effect there, and only there.
    dc1.clients[0].http().write("/v1/kv/here?dc=dc2", "from dc1").expect("written");
    let read = dc2.clients[0].http().get("/v1/kv/here?raw").expect("read");
    assert_eq!(read.body, "from dc1");
    assert_eq!(dc1.servers[0].http().get("/v1/kv/here").expect("read").status, 404);

    // A server that starts later is brought in by its neighbours.
    dc2.servers[0].stop(nix::sys::signal::Signal::SIGINT);
    dc2.servers[0].spawn();
    dc2.ready();
    federated(&[&dc1, &dc2]);

    // All of dc2 dies at once: dc1 does not notice, and who asks for dc2 is told quickly.
    dc2.kill();
    for round in 0..20 {
        for agent in dc1.agents() {
            let http = agent.http_within(Duration::from_secs(3));
            let began = Instant::now();
            http.write(&format!("/v1/kv/round{round}"), "x").expect("dc1 takes writes");
            http.json("/v1/catalog/nodes").expect("dc1 answers reads");
            let took = began.elapsed();
            assert!(took < Duration::from_secs(2), "{}: {took:?}", agent.spec.name);
        }
    }
    for agent in dc1.agents() {
        let began = Instant::now();
        let reply = agent.http().get("/v1/catalog/nodes?dc=dc2").expect("an answer");
        let took = began.elapsed();
        assert_eq!(reply.status, 500, "{reply:?}");
        assert!(reply.body.contains("dc2") || reply.body.contains("No path to datacenter"), "{}", reply.body);
        assert!(took < Duration::from_secs(5), "{}: {took:?}", agent.spec.name);
    }

    // It returns, and nobody has to do anything.
    dc2.spawn();
    dc2.ready();
    federated(&[&dc1, &dc2]);
    let kept = dc1.clients[0].http().get("/v1/kv/here?raw&dc=dc2").expect("read");
    assert_eq!(kept.body, "from dc1");

    // All of dc1 too; the pools find together again.
    dc1.kill();
    dc2.kill();
    dc1.spawn();
    dc2.spawn();
    dc1.ready();
    dc2.ready();
    federated(&[&dc1, &dc2]);
}

#[test]
fn the_configuration_joins_datacenters() {
    let slice = Slice::claim();
    let with = |number: u8| {
        json!({
            "retry_join_wan": [slice.addr(number, 1).to_string()],
        })
    };
    // dc1 is told where dc2 will be, long before it is there.
    let mut dc1 = Datacenter::start(PROCONSUL, &slice, 1, 3, 1, &with(2));
    dc1.ready();
    let mut dc2 = Datacenter::start(PROCONSUL, &slice, 2, 3, 1, &json!({}));
    dc2.ready();
    federated(&[&dc1, &dc2]);

    // And when every process is new, with no snapshot of the pools to remember anyone by.
    dc1.kill();
    dc2.kill();
    for agent in dc1.agents().chain(dc2.agents()) {
        let _ = std::fs::remove_dir_all(agent.data_dir().join("serf"));
    }
    dc2.spawn();
    dc1.spawn();
    dc1.ready();
    dc2.ready();
    federated(&[&dc1, &dc2]);
}

#[test]
fn wan_addresses_are_shown_to_other_datacenters_only() {
    let slice = Slice::claim();
    let mut dc1 = Datacenter::prepared(PROCONSUL, &slice, 1, 1, 0, &json!({ "translate_wan_addrs": true }));
    let mut dc2 = Datacenter::prepared(PROCONSUL, &slice, 2, 1, 1, &json!({ "translate_wan_addrs": true }));
    // The servers are reached over the WAN at other addresses, on which they listen too.
    let wan = |number: u8, n: u8| slice.addr(100 + number, n).to_string();
    for dc in [&mut dc1, &mut dc2] {
        let number = if dc.name == "dc1" { 1 } else { 2 };
        for (n, agent) in (1..).zip(dc.servers.iter_mut().chain(&mut dc.clients)) {
            agent.set("advertise_addr_wan", json!(wan(number, n)));
            agent.set("bind_addr", json!("0.0.0.0"));
            agent.set("advertise_addr", json!(agent.spec.addr.to_string()));
        }
    }
    // Ports of their own, as all bind every address of this machine.
    let ports = |base: u16| json!({ "server": base, "serf_lan": base + 1, "serf_wan": base + 2, "dns": 8600, "http": 8500 });
    let base = 20_000 + 100 * u16::from(slice.addr(1, 1).octets()[1]);
    for (i, agent) in (0..).zip(dc1.servers.iter_mut().chain(&mut dc2.servers).chain(&mut dc2.clients)) {
        agent.set("ports", ports(base + 10 * i));
    }
    let lan_of_dc2 = format!("{}:{}", slice.addr(2, 1), base + 11);
    dc2.clients[0].set("retry_join", json!([lan_of_dc2]));
    dc1.spawn();
    dc2.spawn();
    dc1.ready();
    dc2.ready();
    dc2.clients[0]
        .http()
        .write(
            "/v1/agent/service/register",
            &json!({
                "Name": "web", "Port": 80, "Address": "10.9.9.9",
                "TaggedAddresses": { "wan": { "Address": "198.51.100.9", "Port": 8080 } }
            })
            .to_string(),
        )
        .expect("registered");
    let target = format!("{}:{}", wan(2, 1), base + 12);
    dc1.servers[0].cli_ok(&["join", "-wan", &target]).expect("joined");

    let address_of = |agent: &Agent, path: &str, key: &str| -> Result<Value, String> {
        let list = agent.http().json(path)?;
        let row = list.as_array().and_then(|rows| rows.iter().find(|r| r["Node"] == "dc2-c1"));
        Ok(row.ok_or_else(|| format!("no row in {list}"))?[key].clone())
    };
    let away = &dc1.servers[0];
    let home = &dc2.servers[0];
    until("dc1 sees the WAN address of a node of dc2", LONG, || {
        expect(address_of(away, "/v1/catalog/nodes?dc=dc2", "Address")?, &json!(wan(2, 2)))
    });
    until("dc1 sees the WAN address of a service of dc2", LONG, || {
        expect(address_of(away, "/v1/catalog/service/web?dc=dc2", "ServiceAddress")?, &json!("198.51.100.9"))
    });
    until("the same by DNS", LONG, || {
        let found = dns::addresses(away.spec.addr, "dc2-c1.node.dc2.consul")?;
        expect(found, &vec![slice.addr(102, 2).into()])?;
        let found = dns::addresses(away.spec.addr, "web.service.dc2.consul")?;
        expect(found, &vec!["198.51.100.9".parse().map_err(|_| "address")?])?;
        expect(dns::ports(away.spec.addr, "web.service.dc2.consul")?, &vec![8080])
    });
    let own = json!(dc2.clients[0].spec.addr.to_string());
    assert_eq!(address_of(home, "/v1/catalog/nodes", "Address"), Ok(own));
    assert_eq!(address_of(home, "/v1/catalog/service/web", "ServiceAddress"), Ok(json!("10.9.9.9")));
    let found = dns::addresses(home.spec.addr, "web.service.consul").expect("an answer");
    assert_eq!(found, ["10.9.9.9".parse::<std::net::IpAddr>().expect("address")]);
}

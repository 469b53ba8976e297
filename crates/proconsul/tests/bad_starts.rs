//! Starts that must fail with a clear word, and garbage that must change nothing.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use e2e::{Agent, Datacenter, LONG, Slice, Spec, until};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};

const PROCONSUL: &str = env!("CARGO_BIN_EXE_proconsul");

fn spec(slice: &Slice, number: u8, config: Value) -> Spec {
    Spec { name: format!("a{number}"), datacenter: "dc1".to_owned(), addr: slice.addr(1, number), config }
}

/// Starts it and expects that it ends with 1 and says `reason`.
#[track_caller]
fn refused(spec: Spec, reason: &str) {
    let mut agent = Agent::start(PROCONSUL, spec);
    ends_with(&mut agent, reason);
}

#[track_caller]
fn ends_with(agent: &mut Agent, reason: &str) {
    let status = agent.wait_exit(Duration::from_secs(20));
    let log = agent.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(reason), "{reason:?} is not said in: {log}");
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let slice = Slice::claim();
    let running = Agent::start(PROCONSUL, spec(&slice, 1, json!({ "server": true, "bootstrap": true })));
    until("a leader", LONG, || running.http().write("/v1/kv/here", "x"));

    // Its address, its ports, its data.
    let mut same = spec(&slice, 1, json!({}));
    same.name = "other".to_owned();
    refused(same, "in use");
    let data = running.data_dir();
    refused(spec(&slice, 2, json!({ "data_dir": data })), "data");

    // Bad settings, by name.
    refused(spec(&slice, 2, json!({ "no_such_key": 1 })), "no_such_key");
    refused(spec(&slice, 2, json!({ "log_level": "loud" })), "loud");
    refused(spec(&slice, 2, json!({ "datacenter": "not a name" })), "datacenter");
    refused(spec(&slice, 2, json!({ "node_name": "" , "encrypt": "short" })), "encrypt");
    refused(spec(&slice, 2, json!({ "bind_addr": "192.0.2.77" })), "192.0.2.77");
    refused(
        spec(
            &slice,
            2,
            json!({ "retry_join": ["127.0.0.1"], "server": true, "bootstrap": true, "bootstrap_expect": 3 }),
        ),
        "bootstrap",
    );
    // A watch that nothing can come of, files where no folder is, a pool it has no part in.
    refused(spec(&slice, 2, json!({ "watches": [{ "type": "key", "args": ["true"] }] })), "single key");
    refused(spec(&slice, 2, json!({ "watches": [{ "type": "nodes" }] })), "handler");
    refused(
        spec(&slice, 2, json!({ "log_file": "/no/such/folder/" })),
        "Failed to setup logging: open /no/such/folder/consul-",
    );
    refused(spec(&slice, 2, json!({ "pid_file": "/no/such/folder/pid" })), "/no/such/folder/pid");
    let server = running.spec.addr.to_string();
    refused(
        spec(&slice, 2, json!({ "start_join_wan": [server.as_str()] })),
        "Must be a server to join WAN cluster",
    );
    // Nobody there, and told to insist.
    let nobody = slice.addr(9, 9).to_string();
    refused(spec(&slice, 3, json!({ "start_join": [nobody.as_str()] })), &nobody);

    assert!(running.http().get("/v1/kv/here").expect("still there").ok());
}

#[test]
fn a_running_agent_bears_a_bad_reload_and_shows_its_numbers() {
    let slice = Slice::claim();
    let mut agent = Agent::start(PROCONSUL, spec(&slice, 1, json!({ "server": true, "bootstrap": true })));
    until("a leader", LONG, || agent.http().write("/v1/kv/here", "x"));
    agent.set("watches", json!([{ "type": "nodes" }]));
    let said = agent.cli_ok(&["reload"]).expect_err("a watch without a handler");
    assert!(said.contains("Failed reloading watches") && said.contains("handler"), "{said}");

    agent.signal(nix::sys::signal::Signal::SIGUSR1);
    let lines = [
        "][G] 'consul.autopilot.healthy': 1.000",
        "][G] 'consul.state.nodes;datacenter=dc1': 1.000",
        "][G] 'consul.consul.members.servers;datacenter=dc1': 1.000",
        "][G] 'consul.runtime.alloc_bytes': ",
        "][S] 'consul.api.http;method=PUT;path=v1_kv_': Count: ",
        "][S] 'consul.http.PUT.v1.agent.reload': Count: 1 ",
    ];
    until("the numbers are written", LONG, || {
        let log = agent.log();
        match lines.iter().find(|line| !log.contains(**line)) {
            None => Ok(()),
            // They are of the interval before, and autopilot may not have looked yet.
            Some(missing) => {
                agent.signal(nix::sys::signal::Signal::SIGUSR1);
                Err(format!("{missing} is missing in {log}"))
            }
        }
    });
    assert!(agent.http().get("/v1/kv/here").expect("still there").ok());
}

#[test]
fn data_of_a_server_is_of_its_datacenter() {
    let slice = Slice::claim();
    let mut agent = Agent::start(PROCONSUL, spec(&slice, 1, json!({ "server": true, "bootstrap": true })));
    until("a leader", LONG, || agent.http().write("/v1/kv/here", "x"));
    agent.stop(nix::sys::signal::Signal::SIGTERM);
    agent.set("datacenter", json!("elsewhere"));
    agent.spawn();
    ends_with(&mut agent, "belongs to a server of datacenter \"dc1\"");
    // And as its own again.
    agent.set("datacenter", json!("dc1"));
    agent.spawn();
    until("the data is there", LONG, || agent.http().json("/v1/kv/here"));
}

#[test]
fn strangers_do_not_get_in() {
    let slice = Slice::claim();
    let key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
    let other = "HS5lJ+XuTlYKWaeGYyG+/A==";
    let dc = Datacenter::start(PROCONSUL, &slice, 1, 1, 1, &json!({ "encrypt": key }));
    dc.ready();
    let members = || dc.servers[0].http().column("/v1/agent/members", "Name").expect("members");

    let target = dc.servers[0].spec.addr.to_string();
    // The wrong key, no key, another datacenter.
    for (number, config) in [
        (11, json!({ "encrypt": other })),
        (12, json!({})),
        (13, json!({ "encrypt": key, "datacenter": "elsewhere" })),
    ] {
        let stranger = Agent::start(PROCONSUL, spec(&slice, number, config.clone()));
        until("it is up", LONG, || stranger.http().json("/v1/agent/self"));
        let said = stranger.cli(&["join", &target]);
        assert_eq!(said.status.code(), Some(1), "{config}");
        let said =
            String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("Error joining address"), "{config}: {said}");
        assert_eq!(members(), ["dc1-c1", "dc1-s1"], "{config}");
        let own = stranger.http().column("/v1/agent/members", "Addr").expect("members");
        assert_eq!(own.len(), 1, "{config}: {own:?}");
    }
    // The name of somebody else: who has it keeps it.
    let twin = Agent::start(PROCONSUL, spec(&slice, 14, json!({ "encrypt": key, "node_name": "dc1-c1" })));
    until("it is up", LONG, || twin.http().json("/v1/agent/self"));
    twin.cli(&["join", &target]);
    let addresses = dc.servers[0].http().column("/v1/agent/members", "Addr").expect("members");
    assert_eq!(addresses, [dc.servers[0].spec.addr.to_string(), dc.clients[0].spec.addr.to_string()]);
    // Nor does its leave concern anyone.
    twin.cli_ok(&["leave"]).expect("left");
    let said = dc.servers[0].cli_ok(&["members"]).expect("members");
    assert_eq!(said.matches("alive").count(), 2, "{said}");
    // The id of somebody else.
    let own = dc.clients[0].http().json("/v1/agent/self").expect("self");
    let id = own["Config"]["NodeID"].as_str().expect("an id");
    let twin = Agent::start(PROCONSUL, spec(&slice, 15, json!({ "encrypt": key, "node_id": id })));
    until("it is up", LONG, || twin.http().json("/v1/agent/self"));
    let said = twin.cli_ok(&["join", &target]).expect_err("an id in use");
    // Who joins refuses; who is joined lists it, as peers of the other implementation do.
    assert!(said.contains(&format!("has conflicting node ID '{id}'")), "{said}");
}

#[test]
fn garbage_on_every_port_changes_nothing() {
    let slice = Slice::claim();
    let dc = Datacenter::start(PROCONSUL, &slice, 1, 1, 1, &json!({}));
    dc.ready();
    let mut rng = StdRng::seed_from_u64(7);
    let mut garbage = |most: usize| {
        let mut bytes = vec![0; rng.random_range(0..most)];
        rng.fill_bytes(&mut bytes);
        // Half of it gets past the first byte of the server port, or looks like a gossip message.
        if rng.random_bool(0.5) && !bytes.is_empty() {
            bytes[0] %= 16;
        }
        bytes
    };
    for _ in 0..60 {
        for agent in dc.agents() {
            for port in [8300, 8301, 8302, 8500, 8600] {
                let Ok(mut stream) = TcpStream::connect((agent.spec.addr, port)) else { continue };
                // The other side may close before it has all of it.
                let _ = stream.write_all(&garbage(4000));
                let _ = stream.shutdown(std::net::Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
                let _ = stream.read(&mut [0; 64]);
            }
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            for port in [8301, 8302, 8600] {
                let _ = socket.send_to(&garbage(1400), (agent.spec.addr, port));
            }
        }
    }
    for agent in dc.agents() {
        assert!(!agent.log().contains("panicked"), "{}", agent.spec.name);
        let members = agent.http().column("/v1/agent/members", "Name").expect("members");
        assert_eq!(members, ["dc1-c1", "dc1-s1"]);
        agent.http().write("/v1/kv/after", "x").expect("written");
    }
    dc.ready();
}

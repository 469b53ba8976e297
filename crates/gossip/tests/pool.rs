//! Pools over real sockets on loopback.

use gossip::driver::{Pool, PoolConfig, PoolEvent, PoolHandle};
use gossip::serf::consul::{AclMode, AgentTags, LanPolicy};
use gossip::serf::{Filter, MemberStatus, QueryOptions, QueryUpdate, Tags};
use gossip::swim::Cidr;
use gossip::wire::Keyring;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A LAN pool with quick timing.
fn quick(name: &str, ip: &str) -> PoolConfig {
    let bind = SocketAddr::new(ip.parse().unwrap(), 0);
    let mut config = PoolConfig::local(name, bind).tags(tags(&[("role", "node"), ("n", name)]));
    config.swim.probe_interval = Duration::from_millis(100);
    config.swim.probe_timeout = Duration::from_millis(100);
    config.swim.gossip_interval = Duration::from_millis(20);
    config.serf.leave_propagate_delay = Duration::from_millis(100);
    config
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn status(pool: &PoolHandle, name: &str) -> Option<MemberStatus> {
    pool.member(name).map(|m| m.status)
}

async fn join(pool: &PoolHandle, to: &PoolHandle) {
    let report = pool.join(&[to.addr().to_string()], true).await;
    assert_eq!(report.joined(), 1, "{report:?}");
}

#[tokio::test]
async fn two_nodes_join_see_tags_and_notice_a_death() {
    let a = Pool::start(quick("a", "127.22.1.1")).await.unwrap();
    let b = Pool::start(quick("b", "127.22.1.2")).await.unwrap();
    let mut events = a.events();
    join(&b, &a).await;
    until("both see both", || a.members().len() == 2 && b.members().len() == 2).await;
    assert_eq!(a.member("b").unwrap().tag("n"), Some("b"));
    assert_eq!(b.member("a").unwrap().tag("n"), Some("a"));
    assert!(matches!(events.recv().await.unwrap(), PoolEvent::MemberJoin(m) if *m.name == *"b"));

    b.set_tags(tags(&[("role", "node"), ("n", "changed")])).await.unwrap().unwrap();
    until("changed tags", || a.member("b").unwrap().tag("n") == Some("changed")).await;
    assert!(matches!(events.recv().await.unwrap(), PoolEvent::MemberUpdate(_)));

    // No goodbye: the sockets just close.
    b.shutdown().await;
    until("b failed", || status(&a, "b") == Some(MemberStatus::Failed)).await;
    assert!(matches!(events.recv().await.unwrap(), PoolEvent::MemberFailed(_)));

    a.force_leave("b", false).await.unwrap();
    assert_eq!(status(&a, "b"), Some(MemberStatus::Left));
    a.force_leave("b", true).await.unwrap();
    assert_eq!(status(&a, "b"), None);
    a.shutdown().await;
}

#[tokio::test]
async fn a_leave_is_told_to_everyone() {
    let a = Pool::start(quick("a", "127.22.2.1")).await.unwrap();
    let b = Pool::start(quick("b", "127.22.2.2")).await.unwrap();
    let c = Pool::start(quick("c", "127.22.2.3")).await.unwrap();
    join(&b, &a).await;
    join(&c, &a).await;
    until("all see all", || [&a, &b, &c].iter().all(|p| p.members().len() == 3)).await;
    b.leave().await.unwrap();
    b.shutdown().await;
    until("b left", || [&a, &c].iter().all(|p| status(p, "b") == Some(MemberStatus::Left))).await;
    let stats = a.stats().await.unwrap();
    assert_eq!((&*stats["members"], &*stats["left"]), ("3", "1"));

    // Pruned everywhere, although full exchanges may have raised its times.
    a.force_leave("b", true).await.unwrap();
    until("b forgotten", || [&a, &c].iter().all(|p| status(p, "b").is_none())).await;
    for pool in [a, c] {
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn events_and_queries_reach_everyone_once() {
    let mut pools = Vec::new();
    for i in 1..=4 {
        let mut config = quick(&format!("n{i}"), &format!("127.22.3.{i}"));
        config.serf.deliver_queries = true;
        pools.push(Pool::start(config).await.unwrap());
    }
    for pool in &pools[1..] {
        join(pool, &pools[0]).await;
    }
    until("all see all", || pools.iter().all(|p| p.members().len() == 4)).await;
    let receivers: Vec<_> = pools.iter().map(PoolHandle::events).collect();
    pools[2].user_event("deploy", b"v1", false).await.unwrap().unwrap();
    let too_long = pools[2].user_event("deploy", &[0; 600], false).await.unwrap();
    assert_eq!(
        too_long.unwrap_err().to_string(),
        "user event exceeds configured limit of 512 bytes before encoding"
    );
    let answering: Vec<_> = receivers
        .into_iter()
        .zip(pools.clone())
        .map(|(mut events, pool)| {
            tokio::spawn(async move {
                let mut users = 0;
                loop {
                    match events.recv().await.unwrap() {
                        PoolEvent::User(event) => {
                            assert_eq!((&*event.name, &*event.payload), ("deploy", &b"v1"[..]));
                            users += 1;
                        }
                        PoolEvent::Query(query) if query.name == "load" => {
                            let answer = [pool.name().as_bytes(), &query.payload].concat();
                            pool.respond(&query.reply, answer).await.unwrap().unwrap();
                        }
                        PoolEvent::Query(query) if query.name == "end" => return users,
                        _ => {}
                    }
                }
            })
        })
        .collect();

    let options = QueryOptions {
        filters: vec![
            Filter::Nodes(vec!["n1".into(), "n2".into(), "n3".into()]),
            Filter::Tag { tag: "n".into(), expr: "n[1-2]".into() },
        ],
        want_ack: true,
        relay_factor: 1,
        timeout: Some(Duration::from_secs(2)),
    };
    let mut question = pools[0].query("load", b"?", options).await.unwrap().unwrap();
    let (mut acks, mut answers) = (BTreeSet::new(), BTreeSet::new());
    while let Some(update) = question.next().await {
        match update {
            QueryUpdate::Ack { from } => assert!(acks.insert(from)),
            QueryUpdate::Response { from, payload } => {
                assert_eq!(payload, format!("{from}?"));
                assert!(answers.insert(from));
            }
            QueryUpdate::Done => unreachable!("hidden by Question"),
        }
    }
    let expected = BTreeSet::from(["n1".to_owned(), "n2".to_owned()]);
    assert_eq!((acks, answers), (expected.clone(), expected));

    let end = pools[1].query("end", b"", QueryOptions::default()).await;
    end.unwrap().unwrap();
    for task in answering {
        let users = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        assert_eq!(users, 1);
    }
    for pool in pools {
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn keys_are_rotated_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = ([1u8; 32], [2u8; 16]);
    let mut pools = Vec::new();
    for i in 1..=3 {
        let mut config = quick(&format!("n{i}"), &format!("127.22.4.{i}"));
        config.swim.keyring = Some(Keyring::new(&old).unwrap());
        config.keyring_path = Some(dir.path().join(format!("{i}.keyring")));
        pools.push(Pool::start(config).await.unwrap());
    }
    for pool in &pools[1..] {
        join(pool, &pools[0]).await;
    }
    until("all see all", || pools.iter().all(|p| p.members().len() == 3)).await;
    let refused = pools[1].remove_key(&old, 0).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("3/3 nodes reported failure"));
    assert_eq!(refused.messages["n1"], "Removing the primary key is not allowed");
    let bad = pools[1].install_key(&[1; 5], 0).await.unwrap();
    assert_eq!(bad.messages["n2"], "key size must be 16, 24 or 32 bytes");
    for report in [
        pools[1].install_key(&new, 0).await.unwrap(),
        pools[0].use_key(&new, 1).await.unwrap(),
        pools[2].remove_key(&old, 0).await.unwrap(),
    ] {
        assert_eq!((report.error(), report.num_resp), (None, 3), "{report:?}");
    }
    let report = pools[0].list_keys(0).await.unwrap();
    let text = gossip::serf::keyring_file::key_to_text(&new);
    assert_eq!(report.keys.into_iter().collect::<Vec<_>>(), [(text.clone(), 3)]);
    assert_eq!(report.primary_keys.into_iter().collect::<Vec<_>>(), [(text, 3)]);
    for pool in pools {
        pool.shutdown().await;
    }
    for i in 1..=3 {
        let path = dir.path().join(format!("{i}.keyring"));
        let keys = gossip::serf::keyring_file::load(&path).unwrap();
        assert_eq!(keys, [new.to_vec()]);
    }
}

#[tokio::test]
async fn a_restarted_agent_finds_its_pool_again() {
    let dir = tempfile::tempdir().unwrap();
    let with_snapshot = |rejoin: bool| {
        let mut config = quick("b", "127.22.5.2");
        config.snapshot_path = Some(dir.path().join("serf/local.snapshot"));
        config.rejoin_after_leave = rejoin;
        config
    };
    let a = Pool::start(quick("a", "127.22.5.1")).await.unwrap();
    let mut b_config = with_snapshot(false);
    let b = Pool::start(b_config.clone()).await.unwrap();
    join(&b, &a).await;
    a.user_event("once", b"", false).await.unwrap().unwrap();
    until("event seen", || b.members().len() == 2).await;
    // The same address again, as an agent with a configured port has.
    b_config.bind = b.addr();
    b.shutdown().await;

    let b = Pool::start(b_config.clone()).await.unwrap();
    until("b is back", || {
        status(&b, "a") == Some(MemberStatus::Alive) && status(&a, "b") == Some(MemberStatus::Alive)
    })
    .await;
    b.leave().await.unwrap();
    b.shutdown().await;

    b_config.rejoin_after_leave = true;
    let b = Pool::start(b_config).await.unwrap();
    until("b is back after its leave", || status(&a, "b") == Some(MemberStatus::Alive)).await;
    b.shutdown().await;
    a.shutdown().await;
}

#[tokio::test]
async fn errors_say_what_went_wrong() {
    let a = Pool::start(quick("a", "127.22.6.1")).await.unwrap();
    let taken = quick("b", "127.22.6.1");
    let taken = PoolConfig { bind: a.addr(), ..taken };
    let error = Pool::start(taken).await.err().unwrap().to_string();
    assert!(error.contains("Failed to start gossip on 127.22.6.1:"), "{error}");
    let report = a.join(&["127.22.6.9:1".to_owned(), "no host".to_owned()], true).await;
    assert_eq!(report.joined(), 0);
    let text = report.error().unwrap();
    assert!(text.starts_with("2 errors occurred:\n\t* Failed to join 127.22.6.9: "), "{text}");
    let mut any = quick("c", "0.0.0.0");
    any.advertise_addr = None;
    assert_eq!(
        Pool::start(any).await.err().unwrap().to_string(),
        "Advertise address cannot be 0.0.0.0, :: or [::]"
    );
    let mut long = quick("d", "127.22.6.4");
    long.serf.tags.insert("x".into(), "y".repeat(600));
    assert_eq!(
        Pool::start(long).await.err().unwrap().to_string(),
        "Encoded length of tags exceeds limit of 512 bytes"
    );
    a.shutdown().await;
    assert!(a.stats().await.is_err());
}

/// An agent of a datacenter, with the tags and refusals of a Consul agent.
fn client_of(dc: &str, name: &str, ip: &str) -> PoolConfig {
    let id = format!("id-of-{name}");
    let mut config = quick(name, ip);
    config.serf.tags = AgentTags {
        id: id.clone(),
        datacenter: dc.to_owned(),
        segment: String::new(),
        version: "1.9.8".to_owned(),
        revision: String::new(),
        acls: AclMode::Disabled,
        reconnect_timeout: None,
        server: None,
    }
    .lan();
    config.serf.policy = Arc::new(LanPolicy {
        datacenter: dc.to_owned(),
        segment: String::new(),
        node_name: name.to_owned(),
        node_id: id,
    });
    config
}

#[tokio::test]
async fn agents_of_another_datacenter_are_refused_on_the_lan() {
    let a = Pool::start(client_of("dc1", "a", "127.22.7.1")).await.unwrap();
    let b = Pool::start(client_of("dc1", "b", "127.22.7.2")).await.unwrap();
    let other = Pool::start(client_of("dc2", "c", "127.22.7.3")).await.unwrap();
    join(&b, &a).await;
    let report = other.join(&[a.addr().to_string()], true).await;
    assert_eq!(report.joined(), 0);
    let text = report.error().unwrap();
    assert!(text.starts_with("1 error occurred:\n\t* Failed to join 127.22.7.1: Member '"), "{text}");
    assert!(text.ends_with("part of wrong datacenter 'dc1'\n\n"), "{text}");
    until("both see both", || a.members().len() == 2 && b.members().len() == 2).await;
    // Time enough for gossip to have carried the refused one on.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((a.members().len(), b.members().len(), other.members().len()), (2, 2, 1));
    for pool in [a, b, other] {
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn members_outside_the_allowed_ranges_are_not_taken_in() {
    let mut config = quick("a", "127.22.8.1");
    config.swim.allowed_cidrs = Some(vec![Cidr::parse("127.22.8.0/30").unwrap()]);
    let a = Pool::start(config).await.unwrap();
    let b = Pool::start(quick("b", "127.22.8.2")).await.unwrap();
    let far = Pool::start(quick("far", "127.22.8.200")).await.unwrap();
    join(&far, &a).await;
    join(&b, &a).await;
    join(&b, &far).await;
    until("b is seen", || status(&a, "b") == Some(MemberStatus::Alive)).await;
    until("b sees far", || status(&b, "far") == Some(MemberStatus::Alive)).await;
    // Time enough for b to have told it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(status(&a, "far"), None);
    for pool in [a, b, far] {
        pool.shutdown().await;
    }
}

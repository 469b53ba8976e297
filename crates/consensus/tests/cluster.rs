//! Servers in one process: real logs and snapshots, a network that can fail.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Net, Server, address, agree, cluster, config, id, leader, propose_anywhere, until};
use consensus::{ConsensusError, Role};

const LONG: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_leads_at_once_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let begun = Instant::now();
    let servers = cluster(&net, &dir, 1).await;
    leader(&servers).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    let server = servers.into_iter().next().unwrap();
    let first = server.propose("a").await;
    let second = server.propose("b").await;
    assert!(second > first);
    assert_eq!(server.node.linearizable().await.unwrap(), second);
    assert!(server.node.lease_valid());
    assert_eq!(server.node.stats()["state"], "Leader");
    assert_eq!(server.node.stats()["num_peers"], "0");
    let again = server.node.bootstrap([(id(1), address(1))]).await;
    assert!(matches!(again, Err(ConsensusError::AlreadyBootstrapped)));

    let config = server.crash().await;
    let servers = [Server::start(&net, config).await];
    leader(&servers).await;
    servers[0].node.linearizable().await.unwrap();
    assert_eq!(servers[0].fsm.values(), [Bytes::from("a"), Bytes::from("b")]);
    assert!(servers[0].propose("c").await > second);
    servers[0].node.shutdown().await.unwrap();
    assert!(matches!(servers[0].node.propose(Bytes::from("d")).await, Err(ConsensusError::Shutdown)));
}

#[tokio::test]
async fn in_memory_server_works() {
    let net = Net::new();
    let servers = [Server::start(&net, config(1, None)).await];
    assert!(servers[0].node.is_fresh());
    servers[0].node.bootstrap([(id(1), address(1))]).await.unwrap();
    leader(&servers).await;
    for n in 0..100 {
        servers[0].propose(n.to_string()).await;
    }
    let index = servers[0].node.snapshot_now().await.unwrap();
    assert_eq!(index, servers[0].node.applied_index());
    assert_eq!(servers[0].node.stats()["last_snapshot_index"], index.to_string());
    servers[0].node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_replicate_and_replace_a_dead_leader() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    for n in 0..50 {
        servers[l].propose(format!("before {n}")).await;
    }
    agree(&servers.iter().collect::<Vec<_>>(), 50).await;
    for s in &servers {
        assert_eq!(s.node.leader(), Some(servers[l].node.id()));
    }

    let dead = servers.remove(l).crash().await;
    let took = propose_anywhere(&servers, "after").await;
    assert!(took < Duration::from_secs(3), "took {took:?}");

    servers.push(Server::start(&net, dead).await);
    agree(&servers.iter().collect::<Vec<_>>(), 51).await;
    for s in &servers {
        s.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_a_full_restart() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    for n in 0..200 {
        servers[l].propose(n.to_string()).await;
    }
    let expected = servers[l].fsm.entries.lock().clone();
    let mut configs = Vec::new();
    for s in servers {
        configs.push(s.crash().await);
    }
    let mut servers = Vec::new();
    for c in configs {
        servers.push(Server::start(&net, c).await);
    }
    leader(&servers).await;
    agree(&servers.iter().collect::<Vec<_>>(), 200).await;
    assert_eq!(*servers[0].fsm.entries.lock(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_stops_leading_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("kept").await;
    for (i, s) in servers.iter().enumerate() {
        if i != l {
            net.cut(servers[l].config.address, s.config.address);
        }
    }
    // The read is refused, not answered from a state that may be old.
    let read = servers[l].node.linearizable().await;
    assert!(matches!(read, Err(ConsensusError::NoQuorum | ConsensusError::NotLeader { .. })), "{read:?}");
    let lost = servers[l].node.propose(Bytes::from("lost")).await;
    assert!(lost.is_err());
    until("the old leader to say so", LONG, || (!servers[l].node.is_leader()).then_some(())).await;
    assert!(!servers[l].node.lease_valid());
    assert_eq!(servers[l].node.leader(), None);
    let others: Vec<_> = (0..3).filter(|i| *i != l).collect();
    let new =
        until("a new leader", LONG, || others.iter().copied().find(|i| servers[*i].node.is_leader())).await;
    servers[new].propose("new").await;

    net.heal();
    agree(&servers.iter().collect::<Vec<_>>(), 2).await;
    assert_eq!(servers[l].fsm.values(), [Bytes::from("kept"), Bytes::from("new")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_follower_does_not_disturb_the_leader() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("x").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    let away = (l + 1) % 3;
    let term = servers[l].node.state().term;
    for (i, s) in servers.iter().enumerate() {
        if i != away {
            net.cut(servers[away].config.address, s.config.address);
        }
    }
    // Long enough for several attempts to be elected.
    tokio::time::sleep(Duration::from_secs(3)).await;
    net.heal();
    servers[l].propose("y").await;
    agree(&servers.iter().collect::<Vec<_>>(), 2).await;
    assert_eq!(servers[l].node.state().term, term);
    assert!(servers[l].node.is_leader());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = cluster(&net, &dir, 1).await;
    leader(&servers).await;
    for n in 0..20 {
        servers[0].propose(n.to_string()).await;
    }
    for n in 2..=3 {
        let c = config(n, Some(dir.path().join(n.to_string())));
        servers.push(Server::start(&net, c).await);
        servers[0].node.add_learner(id(n), address(n)).await.unwrap();
    }
    agree(&servers.iter().collect::<Vec<_>>(), 20).await;
    let state = servers[0].node.state();
    assert_eq!(state.voters().collect::<Vec<_>>(), [id(1)]);
    assert_eq!(state.learners().collect::<Vec<_>>(), [id(2), id(3)]);
    until("the learner to know its role", LONG, || {
        (servers[1].node.state().role == Role::Learner).then_some(())
    })
    .await;

    servers[0].node.promote(id(2)).await.unwrap();
    servers[0].node.add_voter(id(3), address(3)).await.unwrap();
    until("three voters", LONG, || (servers[2].node.state().voters().count() == 3).then_some(())).await;
    assert_eq!(servers[0].node.stats()["num_peers"], "2");

    // The leader removes itself; another takes over.
    servers[0].node.remove(id(1)).await.unwrap();
    let rest = &servers[1..];
    let l = leader(rest).await;
    until("two voters", LONG, || (rest[l].node.state().voters().count() == 2).then_some(())).await;
    rest[l].propose("without the first").await;
    assert!(rest[l].node.remove(id(9)).await.is_err());
    agree(&rest.iter().collect::<Vec<_>>(), 21).await;
}

/// Takes the first of the two steps that remove a voter, and no more, as its leader died or who asked gave up.
/// The voter keeps a vote of those before the change.
macro_rules! half_removed {
    ($servers:expr, $leader:expr, $victim:expr) => {{
        let mut removal = Box::pin($servers[$leader].node.remove($servers[$victim].node.id()));
        assert!(futures::poll!(&mut removal).is_pending());
        for s in &$servers {
            // Nothing else unsettles the members, and the second step is not taken unless somebody polls.
            until("the first step", LONG, || {
                let state = s.node.state();
                let first = state.voters().count() == 2 && state.members.len() == 3;
                (first && state.commit >= state.members_index).then_some(())
            })
            .await;
        }
        removal
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_members_is_finished_by_the_next_leader() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("x").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    let (next, victim) = ((l + 1) % 3, (l + 2) % 3);
    let removal = half_removed!(servers, l, victim);
    servers[l].node.transfer_leadership(Some(servers[next].node.id())).await.unwrap();
    until("the change to be finished", LONG, || {
        let state = servers[next].node.state();
        (state.role == Role::Leader && state.members_settled).then_some(())
    })
    .await;
    drop(removal);
    let state = servers[next].node.state();
    assert_eq!(state.learners().collect::<Vec<_>>(), [servers[victim].node.id()]);

    // With its vote again, the third makes up for the first.
    servers[next].node.promote(servers[victim].node.id()).await.unwrap();
    servers.remove(l).crash().await;
    propose_anywhere(&servers, "y").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_members_that_nobody_waits_for_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    let victim = (l + 1) % 3;
    drop(half_removed!(servers, l, victim));
    until("the change to be finished", LONG, || servers[l].node.state().members_settled.then_some(())).await;
    let state = servers[l].node.state();
    assert_eq!(state.learners().collect::<Vec<_>>(), [servers[victim].node.id()]);

    // A change that comes before is made upon the finished one.
    servers[l].node.promote(servers[victim].node.id()).await.unwrap();
    drop(half_removed!(servers, l, victim));
    servers[l].node.remove(servers[victim].node.id()).await.unwrap();
    until("two members", LONG, || (servers[l].node.state().members.len() == 2).then_some(())).await;
    assert_eq!(servers[l].node.state().voters().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request_and_on_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("x").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    let to = (l + 1) % 3;
    servers[l].node.transfer_leadership(Some(servers[to].node.id())).await.unwrap();
    until("the chosen leader", LONG, || servers[to].node.is_leader().then_some(())).await;
    until("a settled leader", LONG, || {
        (servers[l].node.leader() == Some(servers[to].node.id())).then_some(())
    })
    .await;
    propose_anywhere(&servers, "y").await;
    agree(&servers.iter().collect::<Vec<_>>(), 2).await;

    let begun = Instant::now();
    servers[to].node.shutdown().await.unwrap();
    net.unplug(servers[to].config.address);
    let rest: Vec<Server> =
        servers.into_iter().enumerate().filter(|(i, _)| *i != to).map(|(_, s)| s).collect();
    propose_anywhere(&rest, "z").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_transfer_does_not_leave_the_cluster_without_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("x").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    let mute = (l + 1) % 3;
    for (i, s) in servers.iter().enumerate() {
        if i != mute {
            net.cut(servers[mute].config.address, s.config.address);
        }
    }
    assert!(servers[l].node.lease_valid());
    let mut transfer = std::pin::pin!(servers[l].node.transfer_leadership(Some(servers[mute].node.id())));
    assert!(futures::poll!(&mut transfer).is_pending());
    // From the moment it asks, the other may lead without its hearing of it.
    assert!(!servers[l].node.lease_valid(), "a lease that binds nobody");
    let _ = transfer.await;
    net.heal();
    propose_anywhere(&servers, "y").await;
    agree(&servers.iter().collect::<Vec<_>>(), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_missed_too_much_gets_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = Vec::new();
    for n in 1..=3 {
        let mut c = config(n, Some(dir.path().join(n.to_string())));
        c.trailing_logs = 10;
        servers.push(Server::start(&net, c).await);
    }
    common::bootstrap(&servers).await;
    let l = leader(&servers).await;
    servers[l].propose("first").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    let away = servers.remove((l + 1) % 3).crash().await;
    let big = "x".repeat(10_000);
    for n in 0..500 {
        propose_anywhere(&servers, &format!("{n}{big}")).await;
    }
    for s in &servers {
        s.node.snapshot_now().await.unwrap();
        until("the log is cut", Duration::from_secs(20), || (s.node.state().purged > 400).then_some(()))
            .await;
    }
    let back = Server::start(&net, away).await;
    servers.push(back);
    agree(&servers.iter().collect::<Vec<_>>(), 501).await;
    assert_eq!(*servers[2].fsm.restores.lock(), 1);
    propose_anywhere(&servers, "last").await;
    agree(&servers.iter().collect::<Vec<_>>(), 502).await;

    // And the snapshot it got is its own now.
    let config = servers.pop().unwrap().crash().await;
    servers.push(Server::start(&net, config).await);
    agree(&servers.iter().collect::<Vec<_>>(), 502).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_kept_and_the_log_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut c = config(1, Some(dir.path().join("1")));
    c.trailing_logs = 5;
    let mut server = Server::start(&net, c).await;
    server.node.bootstrap([(id(1), address(1))]).await.unwrap();
    leader(std::slice::from_ref(&server)).await;
    for round in 0..3 {
        for n in 0..300 {
            server.propose(format!("{round}-{n}")).await;
        }
        server.node.snapshot_now().await.unwrap();
    }
    let listed = || std::fs::read_dir(dir.path().join("1/snapshots")).unwrap().count();
    assert_eq!(listed(), 2);
    server.propose("tail").await;
    let config = server.crash().await;

    // The newest snapshot is damaged and the log no longer reaches back to the one
    // before it: the start is refused, never a silently shorter state.
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path().join("1/snapshots")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let state = names[1].join("state.bin");
    let mut bytes = std::fs::read(&state).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    let refused = Server::try_start(&net, config.clone()).await;
    assert!(matches!(refused.err(), Some(ConsensusError::Storage(_))));
    bytes[20] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    server = Server::start(&net, config).await;
    leader(std::slice::from_ref(&server)).await;
    agree(&[&server], 901).await;
}

/// A few large commands make a log as long as many small ones do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heavy_log_is_cut_whatever_the_number_of_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut c = config(1, Some(dir.path().join("1")));
    c.snapshot_bytes = 1 << 20;
    c.snapshot_interval = Duration::from_secs(3600);
    let server = Server::start(&net, c).await;
    server.node.bootstrap([(id(1), address(1))]).await.unwrap();
    leader(std::slice::from_ref(&server)).await;
    let last_snapshot = || server.node.stats()["last_snapshot_index"].parse::<u64>().unwrap();
    let large = "x".repeat(64 << 10);
    let mut seen = Vec::new();
    for commands in [40, 120] {
        let before = last_snapshot();
        // More than the allowance, and more than the snapshot before, which has some of the first ones or all.
        for _ in 0..commands {
            server.propose(large.clone()).await;
        }
        until("a snapshot is taken", Duration::from_secs(20), || (last_snapshot() > before).then_some(()))
            .await;
        seen.push(last_snapshot());
    }
    assert!(seen[0] < seen[1], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_restore_replaces_the_state_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("to be replaced").await;
    // An archive larger than one chunk, with indexes far ahead of ours.
    let mut archive = Vec::new();
    for n in 0..400u64 {
        archive.extend_from_slice(&(1_000_000 + n).to_le_bytes());
        archive.extend_from_slice(&1000u32.to_le_bytes());
        archive.extend_from_slice(&[n as u8; 1000]);
    }
    let refused = servers[l].node.restore_from(&b"garbage"[..], 5).await;
    assert!(matches!(refused, Err(ConsensusError::Restore(_))), "{refused:?}");
    assert_eq!(servers[l].fsm.values(), [Bytes::from("to be replaced")]);

    let index = servers[l].node.restore_from(std::io::Cursor::new(archive), 1_000_399).await.unwrap();
    assert_eq!(index, 1_000_400);
    let next = servers[l].propose("after").await;
    assert!(next > index);
    agree(&servers.iter().collect::<Vec<_>>(), 401).await;
    assert_eq!(servers[l].node.applied_index(), next);

    // The jump of the index survives a restart of everyone.
    let mut configs = Vec::new();
    for s in servers {
        configs.push(s.crash().await);
    }
    let mut servers = Vec::new();
    for c in configs {
        servers.push(Server::start(&net, c).await);
    }
    leader(&servers).await;
    agree(&servers.iter().collect::<Vec<_>>(), 401).await;
    let l = leader(&servers).await;
    assert!(servers[l].propose("later").await > next);
}

/// Puts a file where the folder of the snapshots was: nothing can be stored there, as on a full disk.
fn block(server: &Server) -> impl FnOnce() + use<> {
    let dir = server.config.dir.clone().unwrap();
    let (snapshots, away) = (dir.join("snapshots"), dir.join("away"));
    std::fs::rename(&snapshots, &away).unwrap();
    std::fs::write(&snapshots, "").unwrap();
    move || {
        std::fs::remove_file(&snapshots).unwrap();
        std::fs::rename(&away, &snapshots).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_cannot_be_stored_is_taken_later() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = Vec::new();
    for n in 1..=3 {
        let mut c = config(n, Some(dir.path().join(n.to_string())));
        c.trailing_logs = 10;
        servers.push(Server::start(&net, c).await);
    }
    common::bootstrap(&servers).await;
    let l = leader(&servers).await;
    servers[l].propose("first").await;
    let away = servers.remove((l + 1) % 3).crash().await;
    let big = "x".repeat(10_000);
    for n in 0..500 {
        propose_anywhere(&servers, &format!("{n}{big}")).await;
    }
    for s in &servers {
        s.node.snapshot_now().await.unwrap();
        until("the log is cut", Duration::from_secs(20), || (s.node.state().purged > 400).then_some(()))
            .await;
    }
    for s in &servers {
        net.cut(away.address, s.config.address);
    }
    let back = Server::start(&net, away).await;
    let unblock = block(&back);
    let dialed = || net.dialed(back.config.address);
    let before = dialed();
    net.heal();
    until("the snapshot is offered again and again", Duration::from_secs(20), || {
        (dialed() > before + 20).then_some(())
    })
    .await;
    let state = back.node.state();
    assert!(state.role == consensus::Role::Follower && state.failed.is_none(), "{state:?}");
    assert!(back.fsm.entries.lock().len() <= 1);
    propose_anywhere(&servers, "meanwhile").await;
    unblock();
    servers.push(back);
    agree(&servers.iter().collect::<Vec<_>>(), 502).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_restore_needs_no_room_beside_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    servers[l].propose("to be replaced").await;
    let unblock: Vec<_> = servers.iter().map(block).collect();
    let mut archive = Vec::new();
    for n in 0..3000u64 {
        archive.extend_from_slice(&(1_000_000 + n).to_le_bytes());
        archive.extend_from_slice(&1000u32.to_le_bytes());
        archive.extend_from_slice(&[n as u8; 1000]);
    }
    // Other commands come in between.
    let restore = servers[l].node.restore_from(std::io::Cursor::new(archive), 1_002_999);
    let others = async {
        for n in 0..20 {
            servers[l].propose(format!("between {n}")).await;
        }
    };
    let (restored, ()) = tokio::join!(restore, others);
    assert_eq!(restored.unwrap(), 1_003_000);
    servers[l].propose("after").await;
    for s in &servers {
        until("restored and told what came after", Duration::from_secs(20), || {
            let entries = s.fsm.entries.lock();
            (entries.len() >= 3001 && entries.last_key_value()?.1 == "after").then_some(())
        })
        .await;
    }
    let count = servers[l].fsm.entries.lock().len();
    agree(&servers.iter().collect::<Vec<_>>(), count).await;
    // It is in no snapshot: after a restart the log has it all.
    let mut configs = Vec::new();
    for s in servers {
        configs.push(s.crash().await);
    }
    unblock.into_iter().for_each(|unblock| unblock());
    let mut servers = Vec::new();
    for c in configs {
        servers.push(Server::start(&net, c).await);
    }
    leader(&servers).await;
    agree(&servers.iter().collect::<Vec<_>>(), count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_and_writers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    let mut tasks = tokio::task::JoinSet::new();
    for t in 0..32 {
        let node = servers[l].node.clone();
        tasks.spawn(async move {
            for n in 0..25 {
                let (index, _) = node.propose(Bytes::from(format!("{t}/{n}"))).await.unwrap();
                // A read begun after the write was answered sees it.
                assert!(node.linearizable().await.unwrap() >= index);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    agree(&servers.iter().collect::<Vec<_>>(), 800).await;
}

#[tokio::test]
async fn peers_of_other_clusters_are_refused() {
    let net = Net::new();
    let ours = Server::start(&net, config(1, None)).await;
    ours.node.bootstrap([(id(1), address(1))]).await.unwrap();
    leader(std::slice::from_ref(&ours)).await;
    let mut other = config(2, None);
    other.datacenter = "dc2".into();
    let other = Server::start(&net, other).await;
    // A server of dc2 that is told to follow one of dc1 never gets its log.
    ours.node.add_learner(id(2), address(2)).await.unwrap();
    ours.propose("x").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(other.fsm.values().is_empty());
    assert!(other.node.is_fresh());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_is_prompt_with_the_default_timings() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = Vec::new();
    for n in 1..=3 {
        let mut c = config(n, Some(dir.path().join(n.to_string())));
        c.timings = consensus::Timings::default();
        servers.push(Server::start(&net, c).await);
    }
    common::bootstrap(&servers).await;
    let l = leader(&servers).await;
    servers[l].propose("before").await;
    agree(&servers.iter().collect::<Vec<_>>(), 1).await;
    servers.remove(l).crash().await;
    let took = propose_anywhere(&servers, "after").await;
    assert!(took < Duration::from_secs(3), "took {took:?}");
    println!("writes again after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_are_lost_and_the_last_is_recovered_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    for n in 0..30 {
        servers[l].propose(n.to_string()).await;
    }
    agree(&servers.iter().collect::<Vec<_>>(), 30).await;
    let mut configs = Vec::new();
    for s in servers {
        configs.push(s.crash().await);
    }
    let last = configs.remove(1);
    let raft = last.dir.clone().unwrap();
    assert!(raft.join("peers.info").exists());
    std::fs::write(raft.join("peers.json"), "[]").unwrap();
    let refused = Server::try_start(&net, last.clone()).await;
    assert!(matches!(refused.err(), Some(ConsensusError::Config(_))));
    let peers = format!(r#"[{{"id":"{}","address":"{}"}}]"#, last.id, last.address);
    std::fs::write(raft.join("peers.json"), peers).unwrap();
    let mut servers = vec![Server::start(&net, last.clone()).await];
    leader(&servers).await;
    servers[0].propose("alone").await;
    agree(&[&servers[0]], 31).await;
    assert!(!raft.join("peers.json").exists());
    assert_eq!(servers[0].node.state().voters().collect::<Vec<_>>(), [last.id]);
    // A new server can join, and a restart needs no file.
    let config = servers.pop().unwrap().crash().await;
    servers.push(Server::start(&net, config).await);
    leader(&servers).await;
    servers.push(Server::start(&net, common::config(9, Some(dir.path().join("9")))).await);
    servers[0].node.add_voter(id(9), address(9)).await.unwrap();
    agree(&servers.iter().collect::<Vec<_>>(), 31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_its_disk_is_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    let mut servers = cluster(&net, &dir, 3).await;
    let l = leader(&servers).await;
    for n in 0..30 {
        servers[l].propose(n.to_string()).await;
    }
    agree(&servers.iter().collect::<Vec<_>>(), 30).await;
    let config = servers.remove((l + 1) % 3).crash().await;
    std::fs::remove_dir_all(config.dir.as_ref().unwrap()).unwrap();
    propose_anywhere(&servers, "meanwhile").await;
    servers.push(Server::start(&net, config).await);
    propose_anywhere(&servers, "after").await;
    agree(&servers.iter().collect::<Vec<_>>(), 32).await;
    assert!(servers.iter().all(|s| s.node.state().failed.is_none()));
}

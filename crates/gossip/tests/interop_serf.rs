//! One pool with agents of another implementation: the `serf` program, when it is installed.
//! Without it the tests only say so.

use gossip::driver::{Pool, PoolConfig, PoolEvent, PoolHandle};
use gossip::serf::{MemberStatus, QueryOptions, QueryUpdate, Tags, generate_key, keyring_file};
use gossip::wire::Keyring;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(90);
const PORT: u16 = 7946;

fn have_serf() -> bool {
    let found = Command::new("serf").arg("version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: there is no serf program on the PATH");
    }
    found
}

/// An agent of the other implementation; killed when dropped.
struct Agent {
    child: Child,
    ip: String,
}

impl Agent {
    fn start(name: &str, ip: &str, more: &[&str]) -> Self {
        let child = Command::new("serf")
            .args(["agent", "-node", name, "-profile", "local", "-tag", "role=web", "-log-level", "warn"])
            .args(["-bind", &format!("{ip}:{PORT}"), "-rpc-addr", &format!("{ip}:7373")])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Agent { child, ip: ip.to_owned() }
    }

    fn addr(&self) -> String {
        format!("{}:{PORT}", self.ip)
    }

    fn run(&self, args: &[&str]) -> Output {
        let (command, rest) = args.split_first().unwrap();
        Command::new("serf")
            .arg(command)
            .arg(format!("-rpc-addr={}:7373", self.ip))
            .args(rest)
            .output()
            .unwrap()
    }

    fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.run(args).stdout).unwrap()
    }

    /// Members as it sees them: name to status and tags.
    fn members(&self) -> BTreeMap<String, (String, Value)> {
        let parsed: Value =
            serde_json::from_slice(&self.run(&["members", "-format=json"]).stdout).unwrap_or_default();
        parsed["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| {
                let name = m["name"].as_str().unwrap().to_owned();
                (name, (m["status"].as_str().unwrap().to_owned(), m["tags"].clone()))
            })
            .collect()
    }

    fn status_of(&self, name: &str) -> Option<String> {
        self.members().remove(name).map(|(status, _)| status)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn config(name: &str, ip: &str, key: Option<&str>) -> PoolConfig {
    let bind = SocketAddr::new(ip.parse().unwrap(), PORT);
    let tags = Tags::from([("role".into(), "db".into()), ("zone".into(), "north".into())]);
    let mut config = PoolConfig::local(name, bind).tags(tags);
    config.serf.deliver_queries = true;
    config.serf.leave_propagate_delay = Duration::from_millis(200);
    config.swim.keyring = key.map(|k| Keyring::new(&keyring_file::key_from_text(k).unwrap()).unwrap());
    config
}

fn status(pool: &PoolHandle, name: &str) -> Option<MemberStatus> {
    pool.member(name).map(|m| m.status)
}

/// Answers queries called `hello`, and keeps the names of user events.
fn serve(pool: &PoolHandle) -> tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)> {
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    let (mut events, pool) = (pool.events(), pool.clone());
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                // A test that is over does not listen any more.
                PoolEvent::User(e) => drop(sender.send((e.name.clone(), e.payload.to_vec()))),
                PoolEvent::Query(q) if q.name == "hello" => {
                    let answer = [b"you said ", &q.payload[..]].concat();
                    pool.respond(&q.reply, answer).await.unwrap().unwrap();
                }
                _ => {}
            }
        }
    });
    seen
}

/// Members, tags, events, queries, deaths and leaves, in both directions.
async fn everything(subnet: u8, key: Option<String>, more: &[&str]) {
    if !have_serf() {
        return;
    }
    let ip = |host: u8| format!("127.22.{subnet}.{host}");
    let key = key.as_deref();
    let mut args = more.to_vec();
    if let Some(key) = key {
        args.extend(["-encrypt", key]);
    }
    let ours = Pool::start(config("ours", &ip(1), key)).await.unwrap();
    let second = Pool::start(config("second", &ip(2), key)).await.unwrap();
    let mut seen = serve(&ours);
    second.join(&[ours.addr().to_string()], true).await;

    // Theirs joins ours.
    let join = ours.addr().to_string();
    let mut first_args = args.clone();
    first_args.extend(["-join", &join, "-event-handler", "query:load=echo 0.42"]);
    let mut theirs = Agent::start("theirs", &ip(3), &first_args);
    until("theirs sees us and our tags", || {
        let members = theirs.members();
        ["ours", "second"]
            .iter()
            .all(|n| members.get(*n).is_some_and(|(s, tags)| s == "alive" && tags["zone"] == "north"))
    })
    .await;
    until("we see theirs", || {
        [&ours, &second].iter().all(|p| status(p, "theirs") == Some(MemberStatus::Alive))
    })
    .await;
    assert_eq!(second.member("theirs").unwrap().tag("role"), Some("web"));

    // Ours joins theirs: a third pool, by way of another agent.
    let other = Agent::start("other", &ip(4), &args);
    until("other answers", || other.status_of("other").is_some()).await;
    let mut report = second.join(&[other.addr()], true).await;
    assert_eq!(report.joined(), 1, "{:?}", report.results.pop());
    until("all see all", || {
        ours.members().len() == 4 && theirs.members().len() == 4 && other.members().len() == 4
    })
    .await;

    // Events.
    theirs.text(&["event", "deploy", "v1"]);
    let event = tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
    assert_eq!(event, ("deploy".to_owned(), b"v1".to_vec()));
    let log = std::env::temp_dir().join(format!("gossip-interop-{}-{subnet}", std::process::id()));
    let handler = format!("user:ping=cat > {}", log.display());
    let mut listener_args = args.clone();
    let third = second.addr().to_string();
    listener_args.extend(["-join", &third, "-event-handler", &handler]);
    let listener = Agent::start("listener", &ip(5), &listener_args);
    until("listener joined", || listener.members().len() == 5).await;
    ours.user_event("ping", b"from us", false).await.unwrap().unwrap();
    until("the handler ran", || std::fs::read(&log).is_ok_and(|text| text.starts_with(b"from us"))).await;
    std::fs::remove_file(&log).unwrap();

    // Queries.
    let answer = theirs.text(&["query", "-timeout=3s", "-node=ours", "hello", "there"]);
    assert!(answer.contains("Response from 'ours': you said there"), "{answer}");
    let options = QueryOptions {
        want_ack: true,
        relay_factor: 1,
        timeout: Some(Duration::from_secs(3)),
        ..QueryOptions::default()
    };
    let mut question = ours.query("load", b"", options).await.unwrap().unwrap();
    let (mut acks, mut answers) = (Vec::new(), Vec::new());
    while let Some(update) = question.next().await {
        match update {
            QueryUpdate::Ack { from } => acks.push(from),
            QueryUpdate::Response { from, payload } => answers.push((from, payload)),
            QueryUpdate::Done => unreachable!("hidden by Question"),
        }
    }
    acks.sort_unstable();
    assert_eq!(acks, ["listener", "other", "ours", "second", "theirs"]);
    assert_eq!(answers, [("theirs".to_owned(), "0.42\n".into())]);

    // Coordinates travel on their acks.
    let start = Instant::now();
    while ours.cached_coordinate("theirs").await.unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "no coordinate from theirs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Deaths.
    theirs.child.kill().unwrap();
    until("we notice its death", || status(&ours, "theirs") == Some(MemberStatus::Failed)).await;
    second.shutdown().await;
    until("it notices a death of ours", || other.status_of("second").as_deref() == Some("failed")).await;

    // Leaves.
    other.text(&["leave"]);
    until("we see it leave", || status(&ours, "other") == Some(MemberStatus::Left)).await;
    listener.text(&["force-leave", "second"]);
    until("forced out", || status(&ours, "second") == Some(MemberStatus::Left)).await;
    ours.leave().await.unwrap();
    until("it sees us leave", || listener.status_of("ours").as_deref() == Some("left")).await;
    ours.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_pool() {
    everything(11, None, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_pool() {
    everything(12, Some(generate_key().unwrap()), &["-disable-compression"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_from_either_side() {
    if !have_serf() {
        return;
    }
    let (old, new) = (generate_key().unwrap(), generate_key().unwrap());
    let ours = Pool::start(config("ours", "127.22.13.1", Some(&old))).await.unwrap();
    // It changes keys only when it has a file for them.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keyring");
    std::fs::write(&file, format!("[\"{old}\"]")).unwrap();
    let join = ours.addr().to_string();
    let args = ["-join", &join, "-keyring-file", file.to_str().unwrap()];
    let theirs = Agent::start("theirs", "127.22.13.2", &args);
    until("both see both", || theirs.members().len() == 2 && ours.members().len() == 2).await;

    let key = keyring_file::key_from_text(&new).unwrap();
    let installed = ours.install_key(&key, 0).await.unwrap();
    assert_eq!((installed.error(), installed.num_resp), (None, 2), "{installed:?}");
    let listed = theirs.text(&["keys", "-list"]);
    assert!(listed.contains(&new), "{listed}");
    let used = theirs.text(&["keys", "-use", &new]);
    assert!(used.contains("Successfully"), "{used}");
    let listed = ours.list_keys(0).await.unwrap();
    assert_eq!(listed.primary_keys, BTreeMap::from([(new.clone(), 2)]));
    let removed = ours.remove_key(&keyring_file::key_from_text(&old).unwrap(), 0).await.unwrap();
    assert_eq!(removed.error(), None, "{removed:?}");
    assert_eq!(keyring_file::load(&file).unwrap(), [key]);
    ours.shutdown().await;
}

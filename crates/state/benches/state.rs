//! What reads, writes and waiting cost, and how much memory the state takes.
//!
//! `cargo bench -p state -- [quick] [catalog] [keys] [waiting]`; `quick` makes a smaller round.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::catalog::{NodeService, RegisterRequest};
use model::health::HealthCheck;
use model::kv::{DirEntry, KvsRequest};
use model::ops::KvVerb;
use model::options::ServiceSpecificRequest;
use state::{Select, Store, WatchSet, command};

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Time that this thread ran, which a busy machine disturbs less than the time that passed.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

fn report(what: &str, times: u64, took: Duration) {
    let each = took.as_nanos() as f64 / times as f64 / 1000.0;
    println!("{what:<58} {each:>10.2} us");
}

fn measure(what: &str, times: u64, mut run: impl FnMut(u64)) {
    (0..times / 10).for_each(&mut run);
    let start = cpu_time();
    (0..times).for_each(&mut run);
    report(what, times, cpu_time() - start);
}

fn set(key: &str, value: &[u8]) -> Bytes {
    let dir_ent = DirEntry { key: key.into(), value: value.into(), ..Default::default() };
    let request = KvsRequest { op: KvVerb::Set, dir_ent, datacenter: "dc1".into(), ..Default::default() };
    command::encode(command::KVS, &request).expect("encodes").into()
}

fn register(node: usize, service: &str, id: &str, status: &str) -> Bytes {
    let node = format!("node-{node:05}");
    let request = RegisterRequest {
        datacenter: "dc1".into(),
        node: node.clone(),
        id: format!("00000000-0000-4000-8000-0000000{}", &node[5..]),
        address: "10.11.12.13".into(),
        tagged_addresses: BTreeMap::from([("wan".into(), "10.11.12.13".into())]),
        service: Some(NodeService {
            service: service.into(),
            id: id.into(),
            tags: vec!["v1".into()],
            port: 8080,
            ..Default::default()
        }),
        check: Some(HealthCheck {
            node,
            check_id: format!("service:{id}"),
            name: "Service check".into(),
            status: status.into(),
            output: "HTTP GET: 200 OK".into(),
            service_id: id.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    command::encode(command::REGISTER, &request).expect("encodes").into()
}

fn keys(quick: bool) {
    let count = if quick { 10_000 } else { 100_000 };
    let before = resident_kib();
    let store = Store::new();
    let commands: Vec<Bytes> = (0..count)
        .map(|n| set(&format!("app/config/service-{:04}/key-{n:06}", n % 1000), &[7; 128]))
        .collect();
    let with_commands = resident_kib();
    let start = cpu_time();
    for (at, command) in commands.iter().enumerate() {
        store.apply_batch(&[(at as u64 + 1, command.clone())]);
    }
    report("KV set, growing, one a batch", count as u64, cpu_time() - start);
    println!(
        "{:<58} {:>10} KiB (commands besides: {} KiB)",
        format!("{count} keys of 128 B"),
        resident_kib() - with_commands,
        with_commands - before
    );
    let mut index = count as u64;
    let other: Vec<Bytes> = (0..count)
        .map(|n| set(&format!("app/config/service-{:04}/key-{n:06}", n % 1000), &[8; 128]))
        .collect();
    measure("KV set, existing key, one a batch", count as u64 / 2, |n| {
        index += 1;
        let commands = if index.is_multiple_of(2) { &commands } else { &other };
        store.apply_batch(&[(index, commands[(n * 7919) as usize % count].clone())]);
    });
    let mut batch = Vec::new();
    measure("KV set, existing key, 64 a batch (per batch)", count as u64 / 64, |n| {
        batch.clear();
        for within in 0..64 {
            index += 1;
            let commands = if index.is_multiple_of(3) { &commands } else { &other };
            batch.push((index, commands[((n * 64 + within) * 7919) as usize % count].clone()));
        }
        store.apply_batch(&batch);
    });
    measure("view", 1_000_000, |_| drop(black_box(store.view())));
    measure("KV get", 200_000, |n| {
        let n = (n as usize * 7919) % count;
        let key = format!("app/config/service-{:04}/key-{n:06}", n % 1000);
        black_box(store.view().kv_get(&mut WatchSet::none(), &key));
    });
    measure("KV list of 100", 10_000, |n| {
        let key = format!("app/config/service-{:04}/", n % 1000);
        black_box(store.view().kv_list(&mut WatchSet::none(), &key));
    });
    measure("snapshot", 3, |_| {
        let mut bytes = Vec::new();
        store.view().write_snapshot(&mut bytes, 1).expect("written");
        black_box(bytes);
    });
}

fn catalog(quick: bool) {
    let nodes = if quick { 500 } else { 5_000 };
    let before = resident_kib();
    let store = Store::new();
    let mut index = 0;
    let start = cpu_time();
    for node in 0..nodes {
        for service in 0..4 {
            index += 1;
            let name = match service {
                0 if node < 20 => "twenty".to_owned(),
                1 if node < 1000 => "thousand".to_owned(),
                _ => format!("service-{:03}", (node * 4 + service) % 500),
            };
            store.apply_batch(&[(index, register(node, &name, &format!("{name}-{service}"), "passing"))]);
        }
    }
    report("register node, service and check", index, cpu_time() - start);
    println!(
        "{:<58} {:>10} KiB of {} KiB in all",
        format!("{nodes} nodes x 4 services x 1 check"),
        resident_kib() - before,
        resident_kib()
    );
    let read = |name: &str| {
        let request = ServiceSpecificRequest { service_name: name.into(), ..Default::default() };
        black_box(store.view().check_service_nodes(&mut WatchSet::none(), &Select::from(&request))).1.len()
    };
    println!("instances: twenty {}, thousand {}", read("twenty"), read("thousand"));
    measure("health of 20 instances", 50_000, |_| {
        read("twenty");
    });
    measure("health of 1000 instances", 1000, |_| {
        read("thousand");
    });
    measure("catalog services", 50, |_| {
        black_box(store.view().services(&mut WatchSet::none(), &BTreeMap::new()));
    });
    measure("check flips, service of 1000", 5_000, |n| {
        index += 1;
        let status = if index.is_multiple_of(2) { "critical" } else { "passing" };
        store.apply_batch(&[(
            index,
            register(n as usize % nodes.min(1000), "thousand", "thousand-1", status),
        )]);
    });
    measure("register again, nothing new", 20_000, |n| {
        index += 1;
        let node = n as usize % 20;
        store.apply_batch(&[(index, register(node, "twenty", "twenty-0", "passing"))]);
    });
}

fn waiting() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let store = std::sync::Arc::new(Store::new());
    runtime.block_on(async {
        let before = resident_kib();
        let far = tokio::time::Instant::now() + Duration::from_secs(600);
        let mut crowd = tokio::task::JoinSet::new();
        for waiter in 0..12_000 {
            let store = std::sync::Arc::clone(&store);
            let name = if waiter < 2000 { "watched".to_owned() } else { format!("quiet-{waiter}") };
            crowd.spawn(async move {
                let mut ws = WatchSet::new();
                let request = ServiceSpecificRequest { service_name: name, ..Default::default() };
                store.view().check_service_nodes(&mut ws, &Select::from(&request));
                drop(request);
                ws.changed(far).await
            });
        }
        while store.waiting() < 12_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("{:<58} {:>10} KiB", "12000 waiters", resident_kib() - before);
        let start = Instant::now();
        for index in 1..=10_000 {
            store.apply_batch(&[(index, register(1, "other", &format!("o-{}", index % 50), "passing"))]);
        }
        report("register while 12000 sleep", 10_000, start.elapsed());
        let start = Instant::now();
        store.apply_batch(&[(20_000, register(1, "watched", "w", "passing"))]);
        let applied = start.elapsed();
        for _ in 0..2000 {
            crowd.join_next().await;
        }
        println!(
            "{:<58} {applied:>10.1?}, all awake after {:.1?}, {} still asleep",
            "apply that wakes 2000",
            start.elapsed(),
            store.waiting()
        );
        crowd.abort_all();
    });
}

fn main() {
    let quick = cfg!(debug_assertions) || std::env::args().any(|arg| arg == "quick" || arg == "--test");
    println!("at start {:>10} KiB", resident_kib());
    let named = |part: &str| std::env::args().any(|arg| arg == part);
    let all = !["catalog", "keys", "waiting"].into_iter().any(named);
    if all || named("catalog") {
        catalog(quick);
    }
    if all || named("keys") {
        keys(quick);
    }
    if all || named("waiting") {
        waiting();
    }
}

//! CPU time of answers, from request to bytes, over a road that answers from memory.
//!
//! `cargo bench -p http-api`. Sockets and the servers' part are not in it.

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::sync::Arc;

use fake::{FakeRoad, bench};
use model::catalog::{IndexedServices, Node, NodeService, Weights};
use model::health::{CheckServiceNode, HealthCheck, IndexedCheckServiceNodes};

/// CPU time of this thread, nanoseconds.
fn cpu() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn entries(count: usize) -> IndexedCheckServiceNodes {
    let nodes = (0..count)
        .map(|n| {
            let check = |id: &str, service: &str| {
                Arc::new(HealthCheck {
                    node: format!("node-{n}"),
                    check_id: id.to_owned(),
                    name: "Service 'web' check".to_owned(),
                    status: "passing".to_owned(),
                    output: "HTTP GET http://10.0.0.1:8080/: 200 OK Output: ok".to_owned(),
                    service_id: service.to_owned(),
                    service_name: "web".to_owned(),
                    ..HealthCheck::default()
                })
            };
            let tagged = [("lan", "10.0.0.1"), ("wan", "10.0.0.1")];
            CheckServiceNode {
                node: Arc::new(Node {
                    id: "7f000101-0000-4000-8000-00007f000101".to_owned(),
                    node: format!("node-{n}"),
                    address: "10.0.0.1".to_owned(),
                    datacenter: "dc1".to_owned(),
                    tagged_addresses: tagged.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                    meta: [("consul-network-segment".to_owned(), String::new())].into(),
                    create_index: 1234,
                    modify_index: 1234,
                }),
                service: Arc::new(NodeService {
                    id: format!("web-{n}"),
                    service: "web".to_owned(),
                    tags: vec!["v1".to_owned(), "primary".to_owned()],
                    port: 8080,
                    weights: Some(Weights { passing: 1, warning: 1 }),
                    ..NodeService::default()
                }),
                checks: vec![check("serfHealth", ""), check("service:web", "web")],
            }
        })
        .collect();
    IndexedCheckServiceNodes { nodes, ..IndexedCheckServiceNodes::default() }
}

/// The same entries with parts that nobody shares, as a client agent gets them.
fn unshared(entries: &IndexedCheckServiceNodes) -> IndexedCheckServiceNodes {
    let mut copy = entries.clone();
    for entry in &mut copy.nodes {
        entry.service = Arc::new((*entry.service).clone());
    }
    copy
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let services = IndexedServices {
        services: (0..5000).map(|n| (format!("service-{n:05}"), vec!["v1".to_owned()])).collect(),
        ..IndexedServices::default()
    };
    let cases: [(&str, FakeRoad, &str, u32); 4] = [
        (
            "20 instances",
            FakeRoad::default().on("Health.ServiceNodes", entries(20)),
            "/v1/health/service/web?passing",
            5000,
        ),
        (
            "1000 instances",
            FakeRoad::default().on("Health.ServiceNodes", entries(1000)),
            "/v1/health/service/web?passing",
            200,
        ),
        (
            "5000 names (the copy of the map is in it)",
            FakeRoad::default().on("Catalog.ListServices", services),
            "/v1/catalog/services",
            200,
        ),
        (
            "status",
            FakeRoad::default().on("Status.Leader", "127.0.1.1:8300".to_owned()),
            "/v1/status/leader",
            5000,
        ),
    ];
    for (name, road, path, rounds) in cases {
        let bench = bench(road);
        runtime.block_on(async {
            let line = format!("GET {path}");
            let size = bench.send(&line, "").await.body.len();
            let start = cpu();
            for _ in 0..rounds {
                bench.send(&line, "").await;
                bench.road.calls.lock().clear();
            }
            println!("{name}: {:.1} us, {size} bytes", (cpu() - start) as f64 / 1000.0 / f64::from(rounds));
        });
    }
    for count in [20, 1000] {
        let shared = entries(count);
        let rounds = 20_000 / count as u32;
        let copies: Vec<_> = (0..rounds).map(|_| unshared(&shared)).collect();
        let mut total = 0;
        for copy in copies {
            let bench = bench(FakeRoad::default().once("Health.ServiceNodes", copy));
            runtime.block_on(async {
                let start = cpu();
                bench.send("GET /v1/health/service/web?passing", "").await;
                total += cpu() - start;
            });
        }
        println!("{count} instances, written anew: {:.1} us", total as f64 / 1000.0 / f64::from(rounds));
    }
}

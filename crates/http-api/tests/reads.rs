//! Reads over the road: parameters in, JSON and headers out.

mod fake;

use std::sync::Arc;

use fake::{FakeRoad, bench};
use http_api::FaceConfig;
use model::catalog::{IndexedNodes, IndexedServices, Node, NodeService, Weights};
use model::duration::GoDuration;
use model::health::{CheckServiceNode, HealthCheck, IndexedCheckServiceNodes};
use model::kv::{DirEntry, IndexedDirEntries, IndexedKeyList, KeyListRequest};
use model::options::{DcSpecificRequest, QueryMeta, ServiceSpecificRequest};
use serde_json::json;

fn meta() -> QueryMeta {
    QueryMeta {
        index: 42,
        known_leader: true,
        last_contact: GoDuration::from_millis(7),
        ..QueryMeta::default()
    }
}

fn nodes() -> IndexedNodes {
    let node = Node {
        node: "n1".to_owned(),
        address: "10.0.0.1".to_owned(),
        tagged_addresses: [("wan".to_owned(), "9.9.9.9".to_owned())].into(),
        ..Node::default()
    };
    IndexedNodes { nodes: vec![Arc::new(node)], meta: meta() }
}

fn entries() -> IndexedCheckServiceNodes {
    let entry = |id: &str, status: &str| CheckServiceNode {
        node: Arc::new(Node { node: "n1".to_owned(), ..Node::default() }),
        service: Arc::new(NodeService {
            id: id.to_owned(),
            service: "web".to_owned(),
            weights: Some(Weights { passing: 1, warning: 1 }),
            ..NodeService::default()
        }),
        checks: vec![Arc::new(HealthCheck { status: status.to_owned(), ..HealthCheck::default() })],
    };
    IndexedCheckServiceNodes { nodes: vec![entry("w1", "passing"), entry("w2", "critical")], meta: meta() }
}

#[tokio::test]
async fn a_read_tells_its_figures_and_prints_absent_maps_as_null() {
    let bench = bench(FakeRoad::default().on("Catalog.ListNodes", nodes()));
    let told = bench.send("GET /v1/catalog/nodes?stale&node-meta=a:b&near=_agent&filter=x&token=t", "").await;
    assert_eq!(told.status, 200);
    assert_eq!(
        told.json(),
        json!([{
            "ID": "", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "", "Meta": null,
            "TaggedAddresses": {"wan": "9.9.9.9"}, "CreateIndex": 0, "ModifyIndex": 0,
        }])
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-consul-index", "42"),
        ("x-consul-knownleader", "true"),
        ("x-consul-lastcontact", "7"),
        ("x-consul-effective-consistency", "stale"),
        ("x-consul-default-acl-policy", "allow"),
        ("x-consul-translate-addresses", "<missing>"),
    ] {
        assert_eq!(told.header(name), value, "{name}");
    }
    let args: DcSpecificRequest = bench.road.last();
    assert_eq!((args.datacenter.as_str(), args.source.node.as_str()), ("dc1", "s1"));
    assert_eq!(args.node_meta_filters["a"], "b");
    assert!(args.options.allow_stale);
    assert_eq!((args.options.filter.as_str(), args.options.token.as_str()), ("x", "t"));
}

#[tokio::test]
async fn parameters_are_checked() {
    let bench = bench(FakeRoad::default().on("Catalog.ListNodes", nodes()));
    for (query, text) in [
        ("index=foo", "Invalid index"),
        ("index=1&wait=bar", "Invalid wait time"),
        ("wait=10", "Invalid wait time"),
        ("max_stale=soon", "Invalid max_stale value \"soon\""),
        ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
        ("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics."),
    ] {
        let told = bench.send(&format!("GET /v1/catalog/nodes?{query}"), "").await;
        assert_eq!((told.status, told.text()), (400, text), "{query}");
        assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
    }
    let told = bench.send("GET /v1/kv/a?ns=x", "").await;
    let text = "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature";
    assert_eq!((told.status, told.text()), (400, text));
    assert_eq!(bench.send("GET /v1/catalog/nodes?ns=x", "").await.status, 200);
    let told = bench.send_with("GET /v1/catalog/nodes", "", &[("Cache-Control", "max-age=bogus")]).await;
    assert_eq!((told.status, told.text()), (400, "Invalid Cache-Control header."));
}

#[tokio::test]
async fn a_head_may_be_as_large_as_configured_and_a_little_more() {
    let bench = bench(FakeRoad::default());
    *bench.agent.config.lock() = Arc::new(FaceConfig { max_header_bytes: 1000, ..FaceConfig::default() });
    let filled = |size| "a".repeat(size);
    let told = bench.send_with("GET /v1/agent/services", "", &[("X-A", &filled(4500))]).await;
    assert_eq!(told.status, 200);
    let told = bench.send_with("GET /v1/agent/services", "", &[("X-A", &filled(5100))]).await;
    assert_eq!((told.status, told.text()), (431, "431 Request Header Fields Too Large"));
    assert_eq!(told.header("connection"), "close");
    assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn errors_of_the_road_keep_their_text() {
    let bench = bench(
        FakeRoad::default()
            .fails("Catalog.ListNodes", "No path to datacenter")
            .fails("KVS.Get", "rpc error making call: Permission denied")
            .fails("PreparedQuery.Get", "Query not found"),
    );
    let told = bench.send("GET /v1/catalog/nodes?dc=dc9", "").await;
    assert_eq!((told.status, told.text()), (500, "No path to datacenter"));
    assert_eq!((told.header("x-consul-index"), told.header("x-consul-knownleader")), ("1", "false"));
    assert_eq!(told.header("x-consul-effective-consistency"), "<missing>");
    let told = bench.send("GET /v1/kv/x", "").await;
    assert_eq!((told.status, told.text()), (403, "rpc error making call: Permission denied"));
    assert_eq!(told.header("x-consul-index"), "<missing>");
    let told = bench.send("GET /v1/query/aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb", "").await;
    assert_eq!((told.status, told.text()), (404, "Query not found"));
}

#[tokio::test]
async fn passing_keeps_only_instances_without_trouble() {
    let bench = bench(FakeRoad::default().on("Health.ServiceNodes", entries()));
    let ids = |told: &fake::Told| -> Vec<String> {
        told.json()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["Service"]["ID"].as_str().unwrap().to_owned())
            .collect()
    };
    let told = bench.send("GET /v1/health/service/web?passing&tag=a&tag=b", "").await;
    assert_eq!(ids(&told), ["w1"]);
    let args: ServiceSpecificRequest = bench.road.last();
    assert_eq!((args.service_name.as_str(), args.tag_filter), ("web", true));
    assert_eq!(args.service_tags, ["a", "b"]);
    let told = bench.send("GET /v1/health/service/web?passing=false", "").await;
    assert_eq!(ids(&told), ["w1", "w2"]);
    let told = bench.send("GET /v1/health/service/web?passing=maybe", "").await;
    assert_eq!((told.status, told.text()), (400, "Invalid value for ?passing"));
    assert_eq!(told.header("x-consul-index"), "42");
    let told = bench.send("GET /v1/health/service/", "").await;
    assert_eq!((told.status, told.text()), (400, "Missing service name"));
}

#[tokio::test]
async fn the_shape_of_a_health_entry() {
    let bench = bench(FakeRoad::default().on("Health.ServiceNodes", entries()));
    let told = bench.send("GET /v1/health/service/web", "").await;
    assert_eq!(
        told.json()[0]["Service"],
        json!({
            "ID": "w1", "Service": "web", "Tags": [], "Address": "", "Meta": null, "Port": 0,
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
            "Proxy": {"MeshGateway": {}, "Expose": {}}, "Connect": {}, "CreateIndex": 0, "ModifyIndex": 0,
        })
    );
    assert_eq!(told.json()[0]["Checks"][0]["Definition"], json!({}));
}

#[tokio::test]
async fn cached_reads_are_marked() {
    let services = IndexedServices { services: [("web".to_owned(), vec![])].into(), meta: meta() };
    let bench = bench(FakeRoad::default().on("Catalog.ListServices", services));
    let told = bench.send("GET /v1/catalog/services?cached", "").await;
    assert_eq!((told.header("x-cache"), told.header("age")), ("MISS", "<missing>"));
    let told = bench.send("GET /v1/catalog/services?cached", "").await;
    assert_eq!((told.header("x-cache"), told.header("age")), ("HIT", "0"));
    assert_eq!((told.text(), told.header("x-consul-index")), ("{\"web\":[]}", "42"));
}

#[tokio::test]
async fn far_addresses_are_translated_when_asked_for() {
    let bench = bench(FakeRoad::default().on("Catalog.ListNodes", nodes()));
    *bench.agent.config.lock() = Arc::new(FaceConfig { translate_wan_addrs: true, ..FaceConfig::default() });
    let told = bench.send("GET /v1/catalog/nodes?dc=dc2", "").await;
    assert_eq!(told.json()[0]["Address"], "9.9.9.9");
    assert_eq!(told.header("x-consul-translate-addresses"), "true");
    let told = bench.send("GET /v1/catalog/nodes", "").await;
    assert_eq!(told.json()[0]["Address"], "10.0.0.1");
}

#[tokio::test]
async fn a_stale_answer_that_is_too_old_is_asked_for_again() {
    let bench = bench(FakeRoad::default().on("Catalog.ListNodes", nodes()));
    bench.send("GET /v1/catalog/nodes?max_stale=10s", "").await;
    assert_eq!(bench.road.calls.lock().len(), 1);
    bench.send("GET /v1/catalog/nodes?max_stale=5ms", "").await;
    assert_eq!(bench.road.calls.lock().len(), 3);
    let args: DcSpecificRequest = bench.road.last();
    assert!(!args.options.allow_stale);
}

#[tokio::test]
async fn keys() {
    let entry = DirEntry { key: "a".into(), value: b"hi".as_slice().into(), ..DirEntry::default() };
    let bench = bench(
        FakeRoad::default()
            .on("KVS.Get", IndexedDirEntries { entries: vec![Arc::new(entry)], meta: meta() })
            .on("KVS.List", IndexedDirEntries { entries: vec![], meta: meta() })
            .on("KVS.ListKeys", IndexedKeyList { keys: vec![], meta: meta() }),
    );
    let told = bench.send("GET /v1/kv/a", "").await;
    assert_eq!(
        told.json(),
        json!([{"LockIndex": 0, "Key": "a", "Flags": 0, "Value": "aGk=", "CreateIndex": 0, "ModifyIndex": 0}])
    );
    let told = bench.send("GET /v1/kv/a?raw", "").await;
    assert_eq!((told.text(), told.header("content-type")), ("hi", "text/plain"));
    assert_eq!(told.header("x-content-type-options"), "nosniff");
    let told = bench.send("GET /v1/kv/a?recurse", "").await;
    assert_eq!((told.status, told.text(), told.header("x-consul-index")), (404, "", "42"));
    assert_eq!(told.header("content-type"), "<missing>");
    let told = bench.send("GET /v1/kv/a?keys&separator=/", "").await;
    assert_eq!(told.status, 404);
    let args: KeyListRequest = bench.road.last();
    assert_eq!((args.prefix.as_str(), args.seperator.as_str()), ("a", "/"));
    let told = bench.send("GET /v1/kv/?keys", "").await;
    assert_eq!((told.status, told.text()), (200, "[]"));
    let told = bench.send("GET /v1/kv/", "").await;
    assert_eq!((told.status, told.text()), (400, "Missing key name"));
}

#[tokio::test]
async fn pretty_and_gzip() {
    let bench = bench(FakeRoad::default().on("Status.Peers", vec!["127.0.1.1:8300".to_owned()]));
    let told = bench.send("GET /v1/status/peers?pretty", "").await;
    assert_eq!(told.text(), "[\n    \"127.0.1.1:8300\"\n]\n");
    let gzip = [("Accept-Encoding", "deflate, gzip;q=0.5")];
    let told = bench.send_with("GET /v1/status/peers", "", &gzip).await;
    assert_eq!(told.header("content-encoding"), "<missing>");

    let many: Vec<String> = (0..200).map(|n| format!("127.0.1.{n}:8300")).collect();
    let bench = fake::bench(FakeRoad::default().on("Status.Peers", many.clone()));
    let told = bench.send_with("GET /v1/status/peers", "", &gzip).await;
    assert_eq!(told.header("content-encoding"), "gzip");
    let plain: Vec<String> =
        serde_json::from_reader(flate2::read::GzDecoder::new(told.body.as_ref())).unwrap();
    assert_eq!(plain, many);
}

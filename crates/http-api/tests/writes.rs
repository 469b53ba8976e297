//! Writes over the road and requests to the agent itself.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{FakeRoad, bench};
use http_api::FaceConfig;
use http_api::api::types::UserEvent;
use model::catalog::{NodeService, RegisterRequest};
use model::event::FireEvent;
use model::health::HealthCheck;
use model::internal::{EventFireRequest, EventFireResponse};
use model::kv::KvsRequest;
use model::ops::{KvVerb, SessionOp};
use model::scalar::Empty;
use model::session::SessionRequest;
use model::txn::{TxnError, TxnReadResponse, TxnResponse};
use serde_json::json;

#[tokio::test]
async fn registrations_are_routed_by_their_body() {
    let bench = bench(FakeRoad::default().on("Catalog.Register", Empty {}));
    let told = bench.send("PUT /v1/catalog/register?dc=dc9", r#"{"node":"n","Address":"10.0.0.1"}"#).await;
    assert_eq!((told.status, told.text()), (200, "true"));
    assert_eq!(bench.road.last::<RegisterRequest>().datacenter, "dc1");
    bench.send("PUT /v1/catalog/register", r#"{"Node":"n","Datacenter":"dc2"}"#).await;
    assert_eq!(bench.road.last::<RegisterRequest>().datacenter, "dc2");
    for body in ["", "{not json", r#"{"Node":"n","Service":{"Port":"80"}}"#] {
        assert_eq!(bench.send("PUT /v1/catalog/register", body).await.status, 400, "{body}");
    }
    assert!(bench.road.calls.lock().is_empty());
}

#[tokio::test]
async fn tokens_have_an_order() {
    let bench = bench(FakeRoad::default().on("KVS.Apply", true));
    let all = [("X-Consul-Token", "header"), ("Authorization", "Bearer bearer")];
    for (path, headers, expected) in [
        ("PUT /v1/kv/a?token=param", &all[..], "param"),
        ("PUT /v1/kv/a?token=", &all[..], "header"),
        ("PUT /v1/kv/a", &all[1..], "bearer"),
        ("PUT /v1/kv/a", &[("Authorization", "Basic x")][..], ""),
        ("PUT /v1/kv/a", &[][..], ""),
    ] {
        bench.send_with(path, "v", headers).await;
        assert_eq!(bench.road.last::<KvsRequest>().token, expected, "{path}");
    }
}

#[tokio::test]
async fn kv_writes() {
    let bench = bench(FakeRoad::default().on("KVS.Apply", false));
    let told = bench.send("PUT /v1/kv/gr%C3%BC%C3%9Fe/%2F?flags=3&cas=7", "v").await;
    assert_eq!(told.status, 301, "an empty path element is cleaned away");
    let told = bench.send("PUT /v1/kv/gr%C3%BC%C3%9Fe?flags=3&cas=7", "v").await;
    assert_eq!((told.status, told.text()), (200, "false"));
    let args: KvsRequest = bench.road.last();
    assert_eq!((args.op, &*args.dir_ent.key), (KvVerb::Cas, "grüße"));
    assert_eq!((args.dir_ent.flags, args.dir_ent.modify_index), (3, 7));
    bench.send("DELETE /v1/kv/?recurse", "").await;
    assert_eq!(bench.road.last::<KvsRequest>().op, KvVerb::DeleteTree);
    bench.send("PUT /v1/kv/a?acquire=s", "").await;
    assert_eq!(bench.road.last::<KvsRequest>().op, KvVerb::Lock);
    for (line, status, text) in [
        ("PUT /v1/kv/", 400, "Missing key name"),
        ("DELETE /v1/kv/", 400, "Missing key name"),
        ("PUT /v1/kv/z?cas=1&acquire=s", 400, "Conflicting flags: acquire=s&cas=1"),
        ("DELETE /v1/kv/z?recurse&cas=1", 400, "Conflicting flags: cas=1&recurse="),
    ] {
        let told = bench.send(line, "").await;
        assert_eq!((told.status, told.text()), (status, text), "{line}");
    }
    assert_eq!(bench.send("PUT /v1/kv/f?flags=-1", "").await.status, 500);
    let told = bench.send("PUT /v1/kv/big", &"x".repeat(512 * 1024 + 1)).await;
    assert_eq!(
        (told.status, told.text()),
        (413, "Request body(524289 bytes) too large, max size: 524288 bytes.")
    );
}

#[tokio::test]
async fn transactions() {
    let refused = TxnResponse {
        errors: vec![TxnError { op_index: 0, what: "no".to_owned() }],
        ..TxnResponse::default()
    };
    let bench =
        bench(FakeRoad::default().on("Txn.Apply", refused).on("Txn.Read", TxnReadResponse::default()));
    let told = bench.send("PUT /v1/txn", r#"[{"KV":{"Verb":"set","Key":"a","Value":"YQ=="}}]"#).await;
    assert_eq!(told.status, 409);
    assert_eq!(told.json(), json!({"Results": null, "Errors": [{"OpIndex": 0, "What": "no"}]}));
    let told = bench.send("PUT /v1/txn", "[]").await;
    assert_eq!(told.json()["Results"], json!([]));
    assert_eq!(told.json()["ConsistencyLevel"], "");
    assert_eq!((told.header("x-consul-knownleader"), told.header("x-consul-index")), ("false", "<missing>"));
    let op = r#"{"KV":{"Verb":"get","Key":"a"}}"#;
    let told = bench.send("PUT /v1/txn", &format!("[{}]", [op; 65].join(","))).await;
    assert_eq!((told.status, told.text()), (413, "Transaction contains too many operations (65 > 64)"));
    let told = bench.send("PUT /v1/txn", r#"[{"KV":{"Verb":"get","Name":"a"}}]"#).await;
    assert_eq!((told.status, told.text()), (400, "Failed to parse body: json: unknown field \"Name\""));
    assert_eq!(bench.send("PUT /v1/txn", "\"nonsense\"").await.status, 400);
}

#[tokio::test]
async fn sessions() {
    let bench = bench(FakeRoad::default().on("Session.Apply", "the-id".to_owned()));
    let told = bench.send("PUT /v1/session/create", "").await;
    assert_eq!(told.text(), "{\"ID\":\"the-id\"}");
    let args: SessionRequest = bench.road.last();
    assert_eq!((args.op, args.session.node.as_str()), (SessionOp::Create, "s1"));
    let told = bench.send("PUT /v1/session/destroy/", "").await;
    assert_eq!((told.status, told.text()), (400, "Missing session"));
}

#[tokio::test(start_paused = true)]
async fn events_are_fired_listed_and_awaited() {
    let bench = bench(FakeRoad::default().on("Internal.EventFire", EventFireResponse::default()));
    let told = bench.send("PUT /v1/event/fire/deploy?service=web&tag=a&dc=dc2", "v1").await;
    assert_eq!((told.status, told.json()["Payload"].clone()), (200, json!("djE=")));
    let args: EventFireRequest = bench.road.last();
    assert_eq!((args.datacenter.as_str(), args.name.as_str()), ("dc2", "deploy"));
    let wire = FireEvent::decode(args.payload.as_slice()).unwrap();
    assert_eq!((wire.service_filter.as_str(), wire.tag_filter.as_str(), wire.version), ("web", "a", 1));
    let told = bench.send("PUT /v1/event/fire/x?tag=a", "").await;
    assert_eq!((told.status, told.text()), (500, "Cannot provide tag filter without service filter"));

    let told = bench.send("GET /v1/event/list", "").await;
    assert_eq!((told.text(), told.header("x-consul-index")), ("[]", "1"));
    let line = "GET /v1/event/list?index=1&wait=60s";
    let (told, ()) = tokio::join!(bench.send(line, ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.agent.events.lock().push(Arc::new(UserEvent { id: wire.id.clone(), ..UserEvent::default() }));
        bench.agent.changes.send_modify(|version| *version += 1);
    });
    assert_eq!(told.json().as_array().unwrap().len(), 1);
    assert_ne!(told.header("x-consul-index"), "1");
}

#[tokio::test(start_paused = true)]
async fn local_services_are_watched_by_hash() {
    let bench = bench(FakeRoad::default());
    let service =
        NodeService { id: "a".to_owned(), service: "a".to_owned(), port: 1, ..NodeService::default() };
    bench.agent.services.lock().insert("a".to_owned(), Arc::new(service.clone()));
    let told = bench.send("GET /v1/agent/service/a", "").await;
    let hash = told.header("x-consul-contenthash").to_owned();
    assert_eq!(
        told.json(),
        json!({
            "ID": "a", "Service": "a", "Tags": [], "Meta": {}, "Port": 1, "Address": "", "Datacenter": "dc1",
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "ContentHash": hash,
        })
    );
    let line = format!("GET /v1/agent/service/a?hash={hash}&wait=10s");
    let (told, ()) = tokio::join!(bench.send(&line, ""), async {
        // A change that leaves the service as it is wakes nobody.
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.agent.changes.send_modify(|version| *version += 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let changed = NodeService { port: 2, ..service.clone() };
        bench.agent.services.lock().insert("a".to_owned(), Arc::new(changed));
        bench.agent.changes.send_modify(|version| *version += 1);
    });
    assert_eq!(told.json()["Port"], 2);
    let told = bench.send("GET /v1/agent/service/none", "").await;
    assert_eq!((told.status, told.text()), (404, "unknown service ID: none"));
    let told = bench.send("GET /v1/agent/services?filter=Port==2", "").await;
    assert_eq!(told.json().as_object().unwrap().len(), 1);
    let told = bench.send("GET /v1/agent/services?filter=Foo==1", "").await;
    assert_eq!(
        (told.status, told.text()),
        (500, "Failed to create boolean expression evaluator: Selector \"Foo\" is not valid")
    );
}

#[tokio::test]
async fn local_health_by_id_and_name() {
    let bench = bench(FakeRoad::default());
    let service = NodeService { id: "w1".to_owned(), service: "web".to_owned(), ..NodeService::default() };
    bench.agent.services.lock().insert("w1".to_owned(), Arc::new(service));
    let check = HealthCheck {
        check_id: "a".to_owned(),
        service_id: "w1".to_owned(),
        status: "warning".to_owned(),
        ..HealthCheck::default()
    };
    bench.agent.checks.lock().insert("a".to_owned(), Arc::new(check));
    let told = bench.send("GET /v1/agent/health/service/id/w1?format=text", "").await;
    assert_eq!((told.status, told.text(), told.header("x-consul-reason")), (429, "warning", "warning"));
    let told = bench.send("GET /v1/agent/health/service/name/web", "").await;
    assert_eq!((told.status, told.json()[0]["AggregatedStatus"].clone()), (429, json!("warning")));
    assert_eq!(told.json()[0]["Checks"][0]["Definition"]["Interval"], "0s");
    let told = bench.send("GET /v1/agent/health/service/name/none", "").await;
    assert_eq!((told.status, told.text()), (404, "[]"));
}

#[tokio::test]
async fn agent_requests() {
    let bench = bench(FakeRoad::default());
    for (line, body, log) in [
        ("PUT /v1/agent/join/10.0.0.1?wan=1", "", "join 10.0.0.1 true"),
        ("PUT /v1/agent/force-leave/n1?prune", "", "force-leave n1 true"),
        ("PUT /v1/agent/maintenance?enable=true&reason=up", "", "maintenance true up"),
        ("PUT /v1/agent/service/maintenance/w?enable=false", "", "maintenance of w false "),
        ("PUT /v1/agent/check/warn/c?note=hot", "", "ttl c warning hot"),
        ("PUT /v1/agent/check/update/c", r#"{"Status":"passing","Output":"o"}"#, "ttl c passing o"),
        ("PUT /v1/agent/check/register", r#"{"Name":"c","TTL":"10s","ServiceID":"w"}"#, "check c w"),
    ] {
        let told = bench.send(line, body).await;
        assert_eq!((told.status, told.text(), told.header("content-type")), (200, "", "<missing>"), "{line}");
        assert_eq!(bench.agent.log.lock().pop().as_deref(), Some(log));
    }
    for (line, body, status, text) in [
        ("PUT /v1/agent/maintenance", "", 400, "Missing value for enable"),
        ("PUT /v1/agent/maintenance?enable=huh", "", 400, "Invalid value for enable: \"huh\""),
        ("PUT /v1/agent/check/register", "{}", 400, "Missing check name"),
        (
            "PUT /v1/agent/check/register",
            r#"{"Name":"c"}"#,
            400,
            "Invalid check: TTL must be > 0 for TTL checks",
        ),
        ("PUT /v1/agent/check/register", r#"{"Name":"c","TTL":"1s","Status":"x"}"#, 400, "Bad check status"),
        ("PUT /v1/agent/check/update/c", r#"{"Status":"fine"}"#, 400, "Invalid check status: 'fine'"),
        ("GET /v1/agent/monitor?loglevel=no", "", 400, "Bad request: Unknown log level: no"),
        ("GET /v1/acl/tokens", "", 401, "ACL support disabled"),
        ("POST /v1/internal/acl/authorize", "[]", 401, "ACL support disabled"),
        ("GET /v1/connect/ca/roots", "", 500, "Connect must be enabled in order to use this endpoint"),
        (
            "GET /v1/agent/members?segment=x",
            "",
            500,
            "Network segments are not supported in this version of Consul",
        ),
    ] {
        let told = bench.send(line, body).await;
        assert_eq!((told.status, told.text()), (status, text), "{line} {body}");
    }
    assert_eq!(bench.send("GET /v1/agent/monitor", "").await.text(), "one\ntwo\n");
    assert_eq!(bench.send("GET /v1/agent/members?wan=1", "").await.text(), "null");
}

#[tokio::test]
async fn paths_methods_and_settings() {
    let bench = bench(FakeRoad::default().on("Status.Leader", "a".to_owned()));
    for (line, status) in [
        ("GET /", 200),
        ("GET /v1", 404),
        ("GET /v1/", 404),
        ("GET /v1/catalog", 404),
        ("GET /v1/catalog/nodes/", 404),
        ("OPTIONS /v1/nothing", 404),
        ("GET /v1/kv/%ff", 400),
        ("GET /v1/kv/a%0ab", 400),
    ] {
        let told = bench.send(line, "").await;
        assert_eq!(told.status, status, "{line}");
        assert_eq!(told.header("x-consul-default-acl-policy"), "<missing>", "{line}");
    }
    let told = bench.send("PUT /v1/kv?a=b", "").await;
    assert_eq!((told.status, told.header("location")), (301, "/v1/kv/?a=b"));
    let told = bench.send("GET /v1//catalog/nodes", "").await;
    assert_eq!((told.status, told.header("location")), (301, "/v1/catalog/nodes"));
    let told = bench.send("OPTIONS /v1/kv/a", "").await;
    assert_eq!((told.status, told.header("allow")), (200, "OPTIONS,GET,PUT,DELETE"));
    let told = bench.send("HEAD /v1/status/leader", "").await;
    assert_eq!((told.status, told.header("allow")), (405, "OPTIONS,GET"));
    let told = bench.send("POST /v1/query/abc", "").await;
    assert_eq!((told.status, told.header("allow")), (405, "GET,PUT,DELETE"));
    let told = bench.send("PUT /v1/query/abc/execute", "").await;
    assert_eq!((told.text(), told.header("allow")), ("method PUT not allowed", "GET"));

    // A key that cannot be shown is refused before anybody looks for it.
    let told = bench.send("GET /v1/kv/a%01b", "").await;
    assert_eq!((told.status, told.text(), told.header("x-consul-index")), (400, "", "<missing>"));
    *bench.agent.config.lock() = Arc::new(FaceConfig { unprintable_paths: true, ..FaceConfig::default() });
    assert_eq!(bench.send("GET /v1/no%01where", "").await.status, 404);

    *bench.agent.config.lock() = Arc::new(FaceConfig {
        block_endpoints: vec!["/v1/agent/s".to_owned()],
        response_headers: vec![("X-Site".to_owned(), "here".to_owned())],
        allow_write_http_from: vec![([10, 0, 0, 0].into(), 8)],
        ..FaceConfig::default()
    });
    let told = bench.send("GET /v1/agent/self", "").await;
    assert_eq!((told.status, told.text()), (403, "Endpoint is blocked by agent configuration"));
    let told = bench.send("GET /v1/status/leader", "").await;
    assert_eq!((told.text(), told.header("x-site")), ("\"a\"", "here"));
    let told = bench.send("PUT /v1/kv/a", "").await;
    assert_eq!((told.status, told.text()), (403, "Access is restricted"));
}

#[tokio::test]
async fn snapshots_stream() {
    let bench = bench(FakeRoad::default());
    let told = bench.send("GET /v1/snapshot?stale&consistent", "").await;
    assert_eq!((told.text(), told.header("content-type")), ("snap", "application/x-gzip"));
    assert_eq!(told.header("x-consul-index"), "9");
    assert_eq!(bench.send("PUT /v1/snapshot", "good").await.status, 200);
    let told = bench.send("PUT /v1/snapshot", "broken").await;
    assert_eq!((told.status, told.text()), (500, "the archive is broken"));
}

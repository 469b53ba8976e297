//! Registrations from the call to the local state and the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http_api::api::types::{CheckRegistration, ServiceRegistration};
use model::catalog::ServiceConnect;
use model::definition::{CheckType, ServiceDefinition};
use model::duration::GoDuration;
use model::error::RpcError;
use model::health::{HealthCheck, IndexedHealthChecks};
use model::options::NodeSpecificRequest;
use model::road::{ErasedCall, ErasedReply, Road, RoadBackend};
use tokio_util::sync::CancellationToken;

use super::{Services, ServicesConfig};
use crate::config::{self, ChecksPolicy, RuntimeConfig};
use crate::local::{Local, NodeRecord, Trigger};

/// A catalog that knows the checks of one other node.
struct Elsewhere;

impl RoadBackend for Elsewhere {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        Box::pin(async move {
            let Ok(request) = call.args.into_any().downcast::<NodeSpecificRequest>() else {
                return Err(RpcError::no_leader());
            };
            if request.options.min_query_index > 0 {
                std::future::pending::<()>().await;
            }
            let mut reply = IndexedHealthChecks::default();
            reply.meta.index = 7;
            if request.node == "other" {
                let check = |id: &str, service: &str, status: &str| HealthCheck {
                    check_id: id.into(),
                    name: id.into(),
                    service_id: service.into(),
                    status: status.into(),
                    ..HealthCheck::default()
                };
                reply.health_checks = vec![
                    Arc::new(check("serfHealth", "", "passing")),
                    Arc::new(check("db", "db", "warning")),
                ];
            }
            Ok(Box::new(reply) as ErasedReply)
        })
    }
}

fn policy() -> ChecksPolicy {
    ChecksPolicy {
        enable_remote_scripts: false,
        enable_local_scripts: true,
        update_interval: Duration::from_secs(300),
        discard_output: false,
        output_max_size: 4096,
        deregister_interval_min: Duration::from_secs(60),
        reap_interval: Duration::from_secs(30),
    }
}

fn agent(data_dir: Option<&Path>) -> (Arc<Services>, Arc<Local>) {
    let local = Local::new(NodeRecord::default(), Trigger::default());
    let config = ServicesConfig {
        node_name: "n".into(),
        datacenter: "dc1".into(),
        policy: policy(),
        data_dir: data_dir.map(Path::to_owned),
        sidecar_ports: Some((21000, 21001)),
        road: Road::new(Arc::new(Elsewhere)),
        default_token: Arc::new(String::new),
        tls: http_client::TlsOptions::default(),
    };
    (Services::new(config, local.clone()), local)
}

/// A configuration with these definitions.
fn defining(hcl: &str) -> RuntimeConfig {
    let flags = config::AgentFlags {
        dev: Some(true),
        hcl: vec![hcl.to_owned(), "advertise_addr = \"127.28.4.1\"".to_owned()],
        ..config::AgentFlags::default()
    };
    config::load(&config::Sources::from_flags(flags)).unwrap().config
}

fn ttl(id: &str, seconds: i64) -> CheckType {
    CheckType { check_id: id.into(), ttl: GoDuration::from_secs(seconds), ..CheckType::default() }
}

fn service(id: &str, checks: Vec<CheckType>) -> ServiceRegistration {
    let service = ServiceDefinition { name: id.into(), checks, ..ServiceDefinition::default() };
    ServiceRegistration { service, ..ServiceRegistration::default() }
}

fn check(definition: CheckType, service_id: &str) -> CheckRegistration {
    let check = CheckType { name: definition.check_id.clone(), ..definition };
    CheckRegistration { check, service_id: service_id.into(), ..CheckRegistration::default() }
}

fn status(local: &Local, id: &str) -> (String, String) {
    local.checks().get(id).map(|check| (check.status.clone(), check.output.clone())).unwrap_or_default()
}

fn ids(local: &Local) -> (Vec<String>, Vec<String>) {
    (local.services().into_keys().collect(), local.checks().into_keys().collect())
}

#[tokio::test]
async fn what_was_registered_survives_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let (services, _local) = agent(Some(temp.path()));
    services.register_service(service("keep", vec![ttl("kc", 600)])).await.unwrap();
    services.register_service(service("drop", vec![ttl("dc", 600)])).await.unwrap();
    services.register_check(check(ttl("node", 600), "")).await.unwrap();
    services.register_check(check(ttl("short", 1), "keep")).await.unwrap();
    services.update_ttl("kc", "passing", "was fine", "").await.unwrap();
    services.update_ttl("node", "warning", "so so", "").await.unwrap();
    services.deregister_check("node", "").await.unwrap();
    services.register_check(check(ttl("node", 600), "")).await.unwrap();
    services.deregister_service("drop", "").await.unwrap();
    services.node_maintenance(true, "stay", "").await.unwrap();

    let (services, local) = agent(Some(temp.path()));
    services.load(&defining("")).await.unwrap();
    let (found, checks) = ids(&local);
    assert_eq!(found, ["keep"]);
    assert_eq!(checks, ["_node_maintenance", "kc", "node", "short"]);
    assert_eq!(status(&local, "kc"), ("passing".into(), "was fine".into()));
    assert_eq!(status(&local, "node"), ("critical".into(), String::new()));
    assert_eq!(local.checks()["_node_maintenance"].notes, "stay");
    services.node_maintenance(false, "", "").await.unwrap();
    services.deregister_service("keep", "").await.unwrap();

    let (services, local) = agent(Some(temp.path()));
    services.load(&defining("")).await.unwrap();
    assert_eq!(ids(&local), (vec![], vec!["node".to_owned()]));
}

#[tokio::test]
async fn a_file_wins_over_what_was_registered() {
    let temp = tempfile::tempdir().unwrap();
    let (services, _local) = agent(Some(temp.path()));
    services.register_service(service("web", vec![])).await.unwrap();
    let (services, local) = agent(Some(temp.path()));
    let config = defining(
        r#"service { name = "web" port = 80 check { ttl = "60s" } }
           check { id = "s" name = "s" args = ["true"] interval = "10s" service_id = "web" }"#,
    );
    services.load(&config).await.unwrap();
    assert_eq!(local.services()["web"].port, 80);
    assert_eq!(local.checks()["s"].service_name, "web");
    assert_eq!(local.checks()["s"].r#type, "");
    assert_eq!(local.checks()["service:web"].r#type, "ttl");
    assert!(std::fs::read_dir(temp.path().join("services")).unwrap().next().is_none());
    assert_eq!(services.stats()["check_monitors"], "1");
    assert_eq!(services.stats()["check_ttls"], "1");
}

#[tokio::test]
async fn a_definition_that_breaks_a_rule_is_named() {
    let (services, _local) = agent(None);
    let config = defining(r#"check { id = "x" name = "x" ttl = "1s" service_id = "none" }"#);
    let error = services.load(&config).await.unwrap_err().to_string();
    assert_eq!(error, "Failed to register check \"x\": ServiceID \"none\" does not exist");
}

#[tokio::test]
async fn a_reload_touches_only_what_differs() {
    let (services, local) = agent(None);
    let old = r#"services { name = "same" check { id = "sc" ttl = "60s" } }
                 services { name = "web" port = 80 checks = [{ id = "a" ttl = "60s" }, { id = "b" ttl = "60s" }] }
                 services { name = "gone" }
                 checks { id = "n" name = "n" ttl = "60s" }"#;
    services.load(&defining(old)).await.unwrap();
    services.register_service(service("api", vec![])).await.unwrap();
    for id in ["sc", "a", "b"] {
        services.update_ttl(id, "passing", "", "").await.unwrap();
    }
    services.service_maintenance("web", true, "", "").await.unwrap();
    let new = r#"services { name = "same" check { id = "sc" ttl = "60s" } }
                 services { name = "web" port = 81 checks = [{ id = "a" ttl = "60s" }] }
                 services { name = "extra" }"#;
    services.reload(&defining(new)).await.unwrap();
    let (found, checks) = ids(&local);
    assert_eq!(found, ["api", "extra", "same", "web"]);
    assert_eq!(checks, ["_service_maintenance:web", "a", "sc"]);
    assert_eq!(local.services()["web"].port, 81);
    assert_eq!(status(&local, "a").0, "passing");
    assert_eq!(status(&local, "sc").0, "passing");
}

#[tokio::test]
async fn checks_keep_their_status_and_leave_when_replaced() {
    let (services, local) = agent(None);
    services.register_service(service("a", vec![ttl("x", 60), ttl("y", 60)])).await.unwrap();
    services.update_ttl("x", "passing", "fine", "").await.unwrap();
    services.service_maintenance("a", true, "why", "").await.unwrap();
    let mut again = service("a", vec![ttl("x", 90)]);
    again.replace_existing_checks = true;
    services.register_service(again).await.unwrap();
    assert_eq!(ids(&local).1, ["_service_maintenance:a", "x"]);
    assert_eq!(status(&local, "x"), ("passing".into(), "fine".into()));

    // Another service takes the id over, and keeps it when the first one goes.
    services.register_service(service("b", vec![ttl("x", 60)])).await.unwrap();
    assert_eq!(local.checks()["x"].service_id, "b");
    services.deregister_service("a", "").await.unwrap();
    assert_eq!(ids(&local).1, ["x"]);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let (services, local) = agent(None);
    let script = CheckType {
        check_id: "s".into(),
        script_args: vec!["true".into()],
        interval: GoDuration::from_secs(1),
        ..CheckType::default()
    };
    let error = services.register_service(service("y", vec![script.clone()])).await.unwrap_err();
    assert_eq!(error.status, 500);
    assert!(error.text.starts_with("Scripts are disabled on this agent from remote calls"), "{error}");
    services.register_check(check(script, "")).await.unwrap_err();
    let error = services.register_check(check(ttl("c", 1), "none")).await.unwrap_err();
    assert_eq!((error.status, error.text.as_str()), (500, "ServiceID \"none\" does not exist"));
    let error = services.update_ttl("none", "passing", "", "").await.unwrap_err();
    assert_eq!((error.status, error.text.as_str()), (500, "CheckID \"none\" does not have associated TTL"));
    let error = services.service_maintenance("none", true, "", "").await.unwrap_err();
    assert_eq!((error.status, error.text.as_str()), (404, "No service registered with ID \"none\""));
    assert_eq!(ids(&local), (vec![], vec![]));
    services.deregister_service("none", "").await.unwrap();
    services.deregister_check("none", "").await.unwrap();
}

#[tokio::test]
async fn sidecars_come_and_go_with_their_service() {
    let (services, local) = agent(None);
    let with_sidecar = |id: &str| {
        let mut registration = service(id, vec![]);
        registration.service.connect =
            Some(ServiceConnect { native: false, sidecar_service: Some(Box::default()) });
        registration
    };
    services.register_service(with_sidecar("web")).await.unwrap();
    services.register_service(with_sidecar("web")).await.unwrap();
    assert_eq!(local.services()["web-sidecar-proxy"].port, 21000);
    services.register_service(with_sidecar("api")).await.unwrap();
    assert_eq!(local.services()["api-sidecar-proxy"].port, 21001);
    let error = services.register_service(with_sidecar("third")).await.unwrap_err();
    assert!(error.text.contains("none left in the configured sidecar port range"), "{error}");
    assert_eq!(status(&local, "service:web-sidecar-proxy:2"), ("passing".into(), "No checks found.".into()));
    services.deregister_service("web", "").await.unwrap();
    assert_eq!(ids(&local).0, ["api", "api-sidecar-proxy"]);
    assert_eq!(ids(&local).1.len(), 2);
}

async fn until(local: &Local, id: &str, wanted: &str) -> String {
    let mut changes = local.changes();
    let wait = async {
        loop {
            let (status, output) = status(local, id);
            if status == wanted {
                return output;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(600), wait).await.expect("the status does not come")
}

#[tokio::test]
async fn checks_run_expire_and_mirror() {
    let (services, local) = agent(None);
    let stop = CancellationToken::new();
    let running = tokio::spawn(services.clone().run(stop.clone()));
    let listener = tokio::net::TcpListener::bind("127.28.4.2:0").await.unwrap();
    let tcp = CheckType {
        check_id: "tcp".into(),
        tcp: listener.local_addr().unwrap().to_string(),
        interval: GoDuration::from_secs(1),
        ..CheckType::default()
    };
    let alias = CheckType { check_id: "alias".into(), alias_service: "main".into(), ..CheckType::default() };
    services.register_service(service("main", vec![tcp])).await.unwrap();
    services.register_service(service("side", vec![alias])).await.unwrap();
    assert_eq!(status(&local, "alias").0, "critical");
    until(&local, "tcp", "passing").await;
    assert_eq!(until(&local, "alias", "passing").await, "All checks passing.");
    drop(listener);
    until(&local, "tcp", "critical").await;
    assert!(
        until(&local, "alias", "critical")
            .await
            .starts_with("Aliased check \"Service 'main' check\" failing: ")
    );

    services.register_check(check(ttl("ttl", 1), "")).await.unwrap();
    services.update_ttl("ttl", "passing", "alive", "").await.unwrap();
    let output = until(&local, "ttl", "critical").await;
    assert_eq!(output, "TTL expired (last output before timeout follows): alive");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn other_nodes_are_mirrored_through_the_catalog() {
    let (services, local) = agent(None);
    let alias = |id: &str, node: &str, service: &str| {
        let alias = CheckType {
            check_id: id.into(),
            alias_node: node.into(),
            alias_service: service.into(),
            ..CheckType::default()
        };
        check(alias, "")
    };
    services.register_check(alias("node", "other", "")).await.unwrap();
    services.register_check(alias("db", "other", "db")).await.unwrap();
    services.register_check(alias("none", "unknown", "")).await.unwrap();
    assert_eq!(until(&local, "node", "passing").await, "All checks passing.");
    assert_eq!(until(&local, "db", "warning").await, "Aliased check \"db\" failing: ");
    assert_eq!(until(&local, "none", "passing").await, "No checks found.");
}

#[tokio::test]
async fn a_service_that_is_critical_for_too_long_is_overdue() {
    let (services, local) = agent(None);
    let dying = |id: &str, seconds: i64| CheckType {
        deregister_critical_service_after: GoDuration::from_secs(seconds),
        ..ttl(id, 600)
    };
    services.register_service(service("bad", vec![dying("b", 1)])).await.unwrap();
    services.register_service(service("slow", vec![dying("s", 90)])).await.unwrap();
    services.register_service(service("good", vec![dying("g", 1)])).await.unwrap();
    services.register_service(service("unlimited", vec![ttl("u", 600)])).await.unwrap();
    services.update_ttl("g", "passing", "", "").await.unwrap();
    let after = |seconds| services.overdue(Instant::now() + Duration::from_secs(seconds));
    // The least time is a minute.
    assert_eq!(after(30), []);
    assert_eq!(after(61), [("b".to_owned(), "bad".to_owned())]);
    assert_eq!(after(100).len(), 2);
    services.update_ttl("b", "warning", "", "").await.unwrap();
    services.update_ttl("b", "critical", "", "").await.unwrap();
    assert!(local.read(|state| state.check("b").unwrap().critical_since.unwrap().elapsed().as_secs() < 30));
}

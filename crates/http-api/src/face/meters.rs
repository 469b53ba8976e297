//! How long requests take, by method and route, and how those to the catalog end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::RwLock;

use super::reply::Reply;
use super::route::Verb;
use crate::api::error::ApiError;

/// A meter for each method and route that was asked for.
#[derive(Default)]
pub(super) struct Meters(RwLock<HashMap<(&'static str, Verb), Arc<Meter>>>);

/// The numbers of one method and route.
pub(super) struct Meter {
    time: Histogram,
    /// Under the name of older versions, unless that is switched off.
    older: Option<Histogram>,
    catalog: Option<Catalog>,
}

struct Catalog {
    asked: Counter,
    answered: Counter,
    failed: Counter,
}

impl Meters {
    /// The meter of a request that has just come. Looked up, as handles cost more than requests.
    pub fn of(&self, pattern: &'static str, verb: Verb, node: &str, older: bool) -> Arc<Meter> {
        if let Some(meter) = self.0.read().get(&(pattern, verb)) {
            return meter.clone();
        }
        let meter = Arc::new(Meter::new(pattern, verb, node, older));
        self.0.write().entry((pattern, verb)).or_insert(meter).clone()
    }
}

impl Meter {
    fn new(pattern: &'static str, verb: Verb, node: &str, older: bool) -> Self {
        let path = pattern.trim_start_matches('/');
        let time = histogram!("api.http", "method" => verb.as_str(), "path" => path.replace('/', "_"));
        let older = older.then(|| {
            let parts: Vec<&str> =
                path.split('/').map(|part| if part.is_empty() { "_" } else { part }).collect();
            histogram!(format!("http.{}.{}", verb.as_str(), parts.join(".")))
        });
        let of =
            |kind: &str, name: &str| counter!(format!("client.{kind}.{name}"), "node" => node.to_owned());
        let catalog = catalog_name(pattern).map(|name| Catalog {
            asked: of("api", name),
            answered: of("api.success", name),
            failed: of("rpc.error", name),
        });
        Self { time, older, catalog }
    }

    /// A request reaches its endpoint.
    pub fn begin(&self) {
        if let Some(catalog) = &self.catalog {
            catalog.asked.increment(1);
        }
    }

    /// It got this from there.
    pub fn answered(&self, answer: &Result<Reply, ApiError>) {
        let Some(catalog) = &self.catalog else { return };
        match answer {
            Ok(_) => catalog.answered.increment(1),
            Err(error) if error.status >= 500 => catalog.failed.increment(1),
            Err(_) => {}
        }
    }

    /// It is over.
    pub fn end(&self, began: Instant) {
        let millis = began.elapsed().as_secs_f64() * 1e3;
        self.time.record(millis);
        if let Some(older) = &self.older {
            older.record(millis);
        }
    }
}

fn catalog_name(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        "/v1/catalog/register" => "catalog_register",
        "/v1/catalog/deregister" => "catalog_deregister",
        "/v1/catalog/datacenters" => "catalog_datacenters",
        "/v1/catalog/nodes" => "catalog_nodes",
        "/v1/catalog/services" => "catalog_services",
        "/v1/catalog/service/" => "catalog_service_nodes",
        "/v1/catalog/node/" => "catalog_node_services",
        "/v1/catalog/node-services/" => "catalog_node_service_list",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_names() {
        let (recorder, numbers) =
            telemetry::metrics::recorder(telemetry::metrics::Config::default()).unwrap();
        metrics::with_local_recorder(&recorder, || {
            let meters = Meters::default();
            meters.of("/v1/kv/", Verb::Get, "n1", true).end(Instant::now());
            meters.of("/v1/agent/self", Verb::Get, "n1", false).end(Instant::now());
            for answer in [Ok(Reply::empty()), Err(ApiError::internal("x")), Err(ApiError::bad_request("x"))]
            {
                let meter = meters.of("/v1/catalog/service/", Verb::Get, "n1", true);
                meter.begin();
                meter.answered(&answer);
            }
        });
        let shown = numbers.json();
        let of = |kind: &str| -> Vec<String> {
            let list = shown[kind].as_array().unwrap();
            list.iter().map(|m| format!("{} {} {}", m["Name"], m["Labels"], m["Count"])).collect()
        };
        assert_eq!(
            of("Samples"),
            [
                r#""consul.api.http" {"method":"GET","path":"v1_agent_self"} 1"#,
                r#""consul.api.http" {"method":"GET","path":"v1_kv_"} 1"#,
                r#""consul.http.GET.v1.kv._" {} 1"#,
            ]
        );
        assert_eq!(
            of("Counters"),
            [
                r#""consul.client.api.catalog_service_nodes" {"node":"n1"} 3"#,
                r#""consul.client.api.success.catalog_service_nodes" {"node":"n1"} 1"#,
                r#""consul.client.rpc.error.catalog_service_nodes" {"node":"n1"} 1"#,
            ]
        );
    }
}

//! `catalog datacenters`, `catalog nodes`, `catalog services`: what the servers know.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{no_arguments, pairs};
use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::columns::{columns, row};
use crate::command::{Command, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const NODES_FLAGS: &[Flag] = &[
    Flag::new("detailed", Kind::Switch, "Also show full ids, tagged addresses and metadata."),
    Flag::new("filter", Kind::Text, "Show only nodes that match this expression."),
    Flag::new("near", Kind::Text, "Sort by round-trip time from this node; _agent is the asked agent's."),
    Flag::new("node-meta", Kind::List, "Only nodes with this key=value. May be repeated."),
    Flag::new("service", Kind::Text, "Only nodes with an instance of this service."),
];

const SERVICES_FLAGS: &[Flag] = &[
    Flag::new("node", Kind::Text, "Only services of this node."),
    Flag::new("node-meta", Kind::List, "Only services on nodes with this key=value. May be repeated."),
    Flag::new("tags", Kind::Switch, "Also show the tags."),
];

/// The commands of this file.
pub const COMMANDS: [Command; 4] = [
    Command::group(
        "catalog",
        "Shows nodes, services and datacenters",
        "Shows what the catalog of a datacenter knows: its nodes, its services, and which other\ndatacenters there are.",
    ),
    Command {
        name: "catalog datacenters",
        synopsis: "Lists all known datacenters, nearest first",
        usage: "[options]",
        about: "Lists all known datacenters, nearest first.",
        flags: &[CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(datacenters(parsed))),
    },
    Command {
        name: "catalog nodes",
        synopsis: "Lists nodes of a datacenter",
        usage: "[options]",
        about: "Lists the nodes of a datacenter, or those that run a service.",
        flags: &[NODES_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(nodes(parsed))),
    },
    Command {
        name: "catalog services",
        synopsis: "Lists services of a datacenter",
        usage: "[options]",
        about: "Lists the services of a datacenter or of one node.",
        flags: &[SERVICES_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(services(parsed))),
    },
];

async fn datacenters(parsed: Parsed) -> Outcome {
    no_arguments(&parsed.args)?;
    let api = Api::from_flags(&parsed)?;
    let list: Vec<String> =
        api.get("/v1/catalog/datacenters").json().await.or_fail("Error listing datacenters")?;
    list.iter().for_each(ui::line);
    Ok(0)
}

/// A node, or an instance of a service with its node's fields.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(rename = "ID", default)]
    id: Option<String>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    datacenter: Option<String>,
    #[serde(default)]
    tagged_addresses: Option<BTreeMap<String, String>>,
    #[serde(default, alias = "NodeMeta")]
    meta: Option<BTreeMap<String, String>>,
}

async fn nodes(parsed: Parsed) -> Outcome {
    no_arguments(&parsed.args)?;
    let api = Api::from_flags(&parsed)?;
    let path = match parsed.given("service").filter(|s| !s.is_empty()) {
        Some(service) => format!("/v1/catalog/service/{service}"),
        None => "/v1/catalog/nodes".to_owned(),
    };
    let mut request = api.get(path);
    for name in ["near", "filter"] {
        if let Some(value) = parsed.given(name).filter(|v| !v.is_empty()) {
            request = request.param(name, value);
        }
    }
    for (key, value) in pairs(parsed.list("node-meta")) {
        request = request.param("node-meta", format!("{key}:{value}"));
    }
    let nodes: Option<Vec<Node>> = request.json().await.or_fail("Error listing nodes")?;
    // A node with several instances of a service comes once per instance.
    let mut seen = BTreeSet::new();
    let nodes: Vec<Node> =
        nodes.unwrap_or_default().into_iter().filter(|node| seen.insert(node.node.clone())).collect();
    if nodes.is_empty() {
        ui::error("No nodes match the given query - try expanding your search.");
        return Ok(0);
    }
    ui::line(node_table(&nodes, parsed.on("detailed")));
    Ok(0)
}

fn node_table(nodes: &[Node], detailed: bool) -> String {
    let mut header = row(["Node", "ID", "Address", "DC"]);
    if detailed {
        header.extend(row(["TaggedAddresses", "Meta"]));
    }
    let mut rows = vec![header];
    rows.extend(nodes.iter().map(|node| {
        let id = node.id.as_deref().unwrap_or_default();
        let short = if detailed { id } else { id.get(..8).unwrap_or(id) };
        let mut cells =
            row([&node.node, short, &node.address, node.datacenter.as_deref().unwrap_or_default()]);
        if detailed {
            cells.push(key_values(node.tagged_addresses.as_ref()));
            cells.push(key_values(node.meta.as_ref()));
        }
        cells
    }));
    columns(&rows)
}

fn key_values(map: Option<&BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(", ")
}

async fn services(parsed: Parsed) -> Outcome {
    no_arguments(&parsed.args)?;
    let api = Api::from_flags(&parsed)?;
    let services = match parsed.given("node").filter(|n| !n.is_empty()) {
        Some(node) => of_node(&api, node).await.or_fail("Error listing services for node")?,
        None => {
            let mut request = api.get("/v1/catalog/services");
            for (key, value) in pairs(parsed.list("node-meta")) {
                request = request.param("node-meta", format!("{key}:{value}"));
            }
            let services: BTreeMap<String, Option<Vec<String>>> =
                request.json().await.or_fail("Error listing services")?;
            services.into_iter().map(|(name, tags)| (name, tags.unwrap_or_default())).collect()
        }
    };
    if services.is_empty() {
        ui::error("No services match the given query - try expanding your search.");
        return Ok(0);
    }
    if parsed.on("tags") {
        let rows: Vec<Vec<String>> = services
            .into_iter()
            .map(|(name, mut tags)| {
                tags.sort();
                vec![name, tags.join(",")]
            })
            .collect();
        ui::line(columns(&rows));
    } else {
        services.keys().for_each(ui::line);
    }
    Ok(0)
}

async fn of_node(api: &Api, node: &str) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Service {
        service: String,
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct NodeServices {
        #[serde(default)]
        services: Option<BTreeMap<String, Service>>,
    }
    let found: Option<NodeServices> = api.get(format!("/v1/catalog/node/{node}")).json().await?;
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for service in found.and_then(|f| f.services).unwrap_or_default().into_values() {
        services.entry(service.service).or_default().extend(service.tags.unwrap_or_default());
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_short_and_detailed() {
        let nodes: Vec<Node> = serde_json::from_str(
            r#"[{"Node": "s1", "ID": "7f000101-0000-4000-8000-00007f000101", "Address": "127.0.1.1",
                 "Datacenter": "dc1", "TaggedAddresses": {"wan": "b", "lan": "a"}, "Meta": {"k": ""}},
                {"Node": "external", "ID": "", "Address": "10.0.0.1", "Datacenter": "dc1",
                 "TaggedAddresses": null, "Meta": null}]"#,
        )
        .unwrap();
        assert_eq!(
            node_table(&nodes, false),
            "Node      ID        Address    DC\n\
             s1        7f000101  127.0.1.1  dc1\n\
             external            10.0.0.1   dc1"
        );
        let detailed = node_table(&nodes[..1], true);
        assert!(
            detailed.ends_with("7f000101-0000-4000-8000-00007f000101  127.0.1.1  dc1  lan=a, wan=b     k=")
        );
    }
}

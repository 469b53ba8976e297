//! `services register` and `services deregister`: service definitions from flags or files.

use std::path::Path;

use agent::config::{AgentFlags, Sources, load};
use model::definition::ServiceDefinition;
use serde_json::{Map, Value, json};

use super::pairs;
use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const REGISTER_FLAGS: &[Flag] = &[
    Flag::new("address", Kind::Text, "Address of the service; the node's if not set."),
    Flag::new("id", Kind::Text, "Id of the service; its name if not set."),
    Flag::new("kind", Kind::Text, "Kind of the service."),
    Flag::new("meta", Kind::List, "A key=value for the service. May be repeated."),
    Flag::new("name", Kind::Text, "Name of the service."),
    Flag::new("port", Kind::Int, "Port of the service."),
    Flag::new("tag", Kind::List, "A tag. May be repeated."),
    Flag::new("tagged-address", Kind::List, "A name=address:port. May be repeated."),
];

const DEREGISTER_FLAGS: &[Flag] = &[Flag::new("id", Kind::Text, "Id of the service.")];

/// The commands of this file.
pub const COMMANDS: [Command; 3] = [
    Command::group(
        "services",
        "Registers services with the agent",
        "Registers services with the agent and takes them away again.",
    ),
    Command {
        name: "services deregister",
        synopsis: "Takes services away",
        usage: "[options] [FILE...]",
        about: "Takes a service away by its id, or those that are defined in files.",
        flags: &[DEREGISTER_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(deregister(parsed))),
    },
    Command {
        name: "services register",
        synopsis: "Registers services",
        usage: "[options] [FILE...]",
        about: "Registers a service described by flags, or those that are defined in files (HCL or JSON, in\nthe form of the agent's configuration).",
        flags: &[REGISTER_FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(register(parsed))),
    },
];

async fn register(parsed: Parsed) -> Outcome {
    let by_flags = !parsed.text("name").is_empty();
    let services = match (by_flags, parsed.args.is_empty()) {
        (false, true) => {
            return Err(Failure::new("Service registration requires at least one argument or flags."));
        }
        (true, false) => {
            return Err(Failure::new("Service registration requires arguments or -id, not both."));
        }
        (true, true) => vec![(parsed.text("name").to_owned(), Value::Object(from_flags(&parsed)?))],
        (false, false) => from_files(&parsed.args)?
            .iter()
            .map(|service| Ok((service.name.clone(), registration(service)?)))
            .collect::<Result<_, Failure>>()?,
    };
    let api = Api::from_flags(&parsed)?;
    for (name, service) in services {
        api.put("/v1/agent/service/register")
            .json_body(&service)
            .ok()
            .await
            .or_fail(&format!("Error registering service {name:?}"))?;
        ui::line(format_args!("Registered service: {name}"));
    }
    Ok(0)
}

async fn deregister(parsed: Parsed) -> Outcome {
    let id = parsed.text("id");
    let ids = match (id, parsed.args.is_empty()) {
        ("", true) => {
            return Err(Failure::new("Service deregistration requires at least one argument or -id."));
        }
        ("", false) => from_files(&parsed.args)?
            .into_iter()
            .map(|service| if service.id.is_empty() { service.name } else { service.id })
            .collect(),
        (id, true) => vec![id.to_owned()],
        _ => return Err(Failure::new("Service deregistration requires arguments or -id, not both.")),
    };
    let api = Api::from_flags(&parsed)?;
    for id in ids {
        api.put(format!("/v1/agent/service/deregister/{id}"))
            .ok()
            .await
            .or_fail(&format!("Error deregistering service {id:?}"))?;
        ui::line(format_args!("Deregistered service: {id}"));
    }
    Ok(0)
}

fn from_flags(parsed: &Parsed) -> Result<Map<String, Value>, Failure> {
    let mut service = Map::new();
    for (flag, name) in [("id", "ID"), ("name", "Name"), ("address", "Address"), ("kind", "Kind")] {
        if let Some(value) = parsed.given(flag).filter(|v| !v.is_empty()) {
            service.insert(name.to_owned(), json!(value));
        }
    }
    if parsed.int("port") != 0 {
        service.insert("Port".to_owned(), json!(parsed.int("port")));
    }
    if parsed.is_set("tag") {
        service.insert("Tags".to_owned(), json!(parsed.list("tag")));
    }
    if parsed.is_set("meta") {
        let meta: Map<String, Value> =
            pairs(parsed.list("meta")).into_iter().map(|(k, v)| (k, json!(v))).collect();
        service.insert("Meta".to_owned(), Value::Object(meta));
    }
    if parsed.is_set("tagged-address") {
        let mut addresses = Map::new();
        for (name, address) in pairs(parsed.list("tagged-address")) {
            let (host, port) = match address.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => (
                    host.trim_matches(['[', ']']).to_owned(),
                    port.parse::<u16>().or_fail(&format!("Invalid tagged address {address:?}"))?,
                ),
                _ => (address, 0),
            };
            addresses.insert(name, json!({"Address": host, "Port": port}));
        }
        service.insert("TaggedAddresses".to_owned(), Value::Object(addresses));
    }
    Ok(service)
}

/// The services that configuration files define, as the agent would read them.
fn from_files(paths: &[String]) -> Result<Vec<ServiceDefinition>, Failure> {
    let mut services = Vec::new();
    for path in paths {
        services.extend(definitions(path)?);
    }
    Ok(services)
}

fn definitions(path: &str) -> Result<Vec<ServiceDefinition>, Failure> {
    let known = Path::new(path).is_dir() || path.ends_with(".json") || path.ends_with(".hcl");
    let format = if known {
        None
    } else {
        let text = crate::files::read_text(path).or_fail("Error")?;
        Some(if text.trim_start().starts_with('{') { "json" } else { "hcl" }.to_owned())
    };
    let sources = Sources {
        // With the settings of a development agent a file needs to have nothing but services.
        flags: AgentFlags { dev: Some(true), config_format: format, ..AgentFlags::default() },
        paths: vec![path.into()],
        ..Sources::default()
    };
    Ok(load(&sources).or_fail("Error")?.config.services)
}

/// A definition in the form of the agent's API, without what it does not say.
fn registration(service: &ServiceDefinition) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(service).or_fail("Error")?;
    prune(&mut value);
    Ok(value)
}

/// Takes away what is empty. Commands of checks get the name that they have in requests.
fn prune(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    if let Some(args) = fields.remove("ScriptArgs") {
        fields.insert("Args".to_owned(), args);
    }
    for (name, field) in fields.iter_mut() {
        match field {
            // Somebody else's settings.
            _ if name == "Config" => {}
            Value::Array(items) => items.iter_mut().for_each(prune),
            other => prune(other),
        }
    }
    fields.retain(|_, field| match field {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "0s",
        Value::Number(number) => number.as_i64() != Some(0),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_in_hcl_and_json() {
        let temp = tempfile::tempdir().unwrap();
        let registered = |name: &str, text: &str| -> Result<Vec<Value>, String> {
            let path = temp.path().join(name);
            std::fs::write(&path, text).unwrap();
            let services = definitions(path.to_str().unwrap()).map_err(|failure| format!("{failure:?}"))?;
            Ok(services.iter().map(|service| registration(service).unwrap()).collect())
        };
        let weights = json!({"Passing": 1, "Warning": 1});
        let hcl = "services {\n name = \"api\"\n id = \"api-1\"\n port = 9090\n check { id = \"c\" args = [\"a\"] interval = \"60s\" }\n}\nservices { name = \"db\" }\n";
        assert_eq!(
            registered("svc.hcl", hcl).unwrap(),
            [
                json!({"Name": "api", "ID": "api-1", "Port": 9090, "Weights": weights,
                       "Check": {"CheckID": "c", "Args": ["a"], "Interval": "1m0s"}}),
                json!({"Name": "db", "Weights": weights}),
            ]
        );
        // Names of fields in either way of writing; what is not a service does not matter.
        let json = r#"{"Service": {"Name": "js", "EnableTagOverride": true, "Checks": [{"ttl": "1s"}],
            "proxy": {"config": {"empty": ""}}}, "check": {"name": "c", "ttl": "1s"}}"#;
        assert_eq!(
            registered("s", json).unwrap(),
            [json!({"Name": "js", "EnableTagOverride": true, "Checks": [{"TTL": "1s"}], "Weights": weights,
                    "Proxy": {"Config": {"empty": ""}}})]
        );
        assert!(registered("x.json", r#"{"services": [{"bogus": 1}]}"#).unwrap_err().contains("bogus"));
        assert!(registered("x.hcl", "service {").is_err());
        assert!(definitions("/no/such.json").is_err());
    }

    #[test]
    fn flags_become_a_definition() {
        let args = ["-name=web", "-port=80", "-tag=a", "-meta=k=v", "-tagged-address=wan=1.2.3.4:5"]
            .map(str::to_owned);
        let parsed = crate::flags::parse(&[REGISTER_FLAGS], &args).unwrap();
        assert_eq!(
            Value::Object(from_flags(&parsed).unwrap()),
            json!({"Name": "web", "Port": 80, "Tags": ["a"], "Meta": {"k": "v"},
                   "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 5}}})
        );
    }
}

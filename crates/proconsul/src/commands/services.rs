//! `services register` and `services deregister`: service definitions from flags or files.

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
        (true, true) => vec![from_flags(&parsed)?],
        (false, false) => from_files(&parsed.args)?,
    };
    let api = Api::from_flags(&parsed)?;
    for service in services {
        let name = field(&service, "name").unwrap_or_default();
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
            .iter()
            .map(|service| field(service, "id").or_else(|| field(service, "name")).unwrap_or_default())
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

/// A text field, whatever the case of its name.
fn field(service: &Map<String, Value>, name: &str) -> Option<String> {
    service
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| value.as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
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

fn from_files(paths: &[String]) -> Result<Vec<Map<String, Value>>, Failure> {
    let mut services = Vec::new();
    for path in paths {
        let text = crate::files::read_text(path).or_fail("Error")?;
        services.extend(parse(path, &text).or_fail(&format!("Error parsing {path}"))?);
    }
    Ok(services)
}

/// The services a file defines under `service` and `services`.
fn parse(path: &str, text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let json = path.ends_with(".json") || text.trim_start().starts_with('{');
    let file: Value = if json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        hcl::parse(text).map_err(|e| e.to_string())?.to_json()
    };
    let mut services = Vec::new();
    for (key, value) in file.as_object().into_iter().flatten() {
        match key.as_str() {
            "service" | "services" => match value {
                Value::Array(items) => services.extend(items.iter().cloned()),
                one => services.push(one.clone()),
            },
            other => return Err(format!("only services can be registered, not {other:?}")),
        }
    }
    services
        .into_iter()
        .map(|service| match plain(service, "services") {
            Value::Object(fields) => Ok(fields),
            _ => Err("a service must be an object".to_owned()),
        })
        .collect()
}

/// In HCL every block is a list; the API wants lists only where there can be several.
fn plain(value: Value, name: &str) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(k, v)| {
                    let v = plain(v, &k);
                    (k, v)
                })
                .collect(),
        ),
        Value::Array(mut items)
            if items.len() == 1
                && items[0].is_object()
                && !["checks", "upstreams", "paths"].contains(&name.to_ascii_lowercase().as_str()) =>
        {
            plain(items.swap_remove(0), name)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| plain(item, "")).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_in_hcl_and_json() {
        let hcl = "services {\n name = \"api\"\n id = \"api-1\"\n port = 9090\n check { ttl = \"60s\" }\n}\nservices { name = \"db\" }\n";
        let services = parse("svc.hcl", hcl).unwrap();
        assert_eq!(services.len(), 2);
        assert_eq!(services[0]["check"], json!({"ttl": "60s"}));
        assert_eq!(field(&services[0], "ID").as_deref(), Some("api-1"));
        let services = parse("s.json", r#"{"service": {"Name": "js", "checks": [{"ttl": "1s"}]}}"#).unwrap();
        assert_eq!(Value::Object(services[0].clone()), json!({"Name": "js", "checks": [{"ttl": "1s"}]}));
        assert!(parse("x.json", r#"{"server": true}"#).is_err());
        assert!(parse("x.hcl", "service {").is_err());
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

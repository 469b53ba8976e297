//! What a definition makes: the service, its checks with their ids and names, its sidecar. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::catalog::{NodeService, ServiceAddress, ServiceConnect, Weights};
use model::definition::{CheckType, ServiceDefinition};
use model::duration::GoDuration;
use model::health::HealthCheck;

/// How often a sidecar's port is probed.
const SIDECAR_INTERVAL: GoDuration = GoDuration::from_secs(10);
/// Longest label of a DNS name.
const DNS_LABEL: usize = 63;

/// A service and its checks, each with what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    pub service: NodeService,
    pub checks: Vec<(HealthCheck, CheckType)>,
}

/// A service as its node holds it, with its checks.
pub fn service(definition: &ServiceDefinition, node_name: &str) -> Defined {
    let id = if definition.id.is_empty() { &definition.name } else { &definition.id };
    let service = NodeService {
        address: definition.address.clone(),
        connect: ServiceConnect {
            native: definition.connect.as_ref().is_some_and(|connect| connect.native),
            sidecar_service: None,
        },
        enable_tag_override: definition.enable_tag_override,
        id: id.clone(),
        kind: definition.kind.clone(),
        meta: definition.meta.clone(),
        port: definition.port,
        proxy: definition.proxy.clone().unwrap_or_default(),
        service: definition.name.clone(),
        tagged_addresses: tagged_addresses(definition),
        tags: definition.tags.clone(),
        weights: Some(definition.weights.clone().unwrap_or(Weights { passing: 1, warning: 1 })),
        ..NodeService::default()
    };
    let kinds: Vec<&CheckType> = std::iter::once(&definition.check)
        .filter(|check| http_api::validate::is_check(check))
        .chain(&definition.checks)
        .collect();
    let single = kinds.len() == 1;
    let checks = kinds
        .into_iter()
        .enumerate()
        .map(|(at, kind)| {
            let mut kind = kind.clone();
            if kind.check_id.is_empty() {
                kind.check_id =
                    if single { format!("service:{id}") } else { format!("service:{id}:{}", at + 1) };
            }
            let mut made = check(&kind, Some(&service), node_name, true);
            if made.name.is_empty() {
                made.name = format!("Service '{}' check", service.service);
            }
            (made, kind)
        })
        .collect();
    Defined { service, checks }
}

/// The addresses that were named, and the main one under the name of its family.
fn tagged_addresses(definition: &ServiceDefinition) -> BTreeMap<String, ServiceAddress> {
    let mut all = definition.tagged_addresses.clone();
    let names = match definition.address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => ["lan_ipv4", "wan_ipv4"],
        Ok(IpAddr::V6(_)) => ["lan_ipv6", "wan_ipv6"],
        Err(_) => return all,
    };
    for name in names {
        all.entry(name.to_owned())
            .or_insert_with(|| ServiceAddress { address: definition.address.clone(), port: definition.port });
    }
    all
}

/// A check before its first result. `typed` says its kind, which checks that stand alone in a
/// configuration file do not.
pub fn check(kind: &CheckType, service: Option<&NodeService>, node_name: &str, typed: bool) -> HealthCheck {
    let mut check = HealthCheck {
        check_id: if kind.check_id.is_empty() { kind.name.clone() } else { kind.check_id.clone() },
        name: kind.name.clone(),
        node: node_name.to_owned(),
        notes: kind.notes.clone(),
        status: if kind.status.is_empty() { "critical".to_owned() } else { kind.status.clone() },
        r#type: if typed { type_name(kind) } else { "" }.to_owned(),
        ..HealthCheck::default()
    };
    if let Some(service) = service {
        check.service_id.clone_from(&service.id);
        check.service_name.clone_from(&service.service);
        check.service_tags.clone_from(&service.tags);
    }
    check
}

/// The name of a check's kind.
pub fn type_name(kind: &CheckType) -> &'static str {
    if !kind.grpc.is_empty() {
        "grpc"
    } else if !kind.http.is_empty() {
        "http"
    } else if !kind.tcp.is_empty() {
        "tcp"
    } else if !kind.alias_node.is_empty() || !kind.alias_service.is_empty() {
        "alias"
    } else if !kind.docker_container_id.is_empty() {
        "docker"
    } else if !kind.script_args.is_empty() {
        "script"
    } else if !kind.ttl.is_zero() {
        "ttl"
    } else {
        ""
    }
}

/// The id of the sidecar that is registered with a service.
pub fn sidecar_id(service_id: &str) -> String {
    format!("{service_id}-sidecar-proxy")
}

/// The sidecar proxy that a service asks for, without checks. A port of zero is still to be found.
pub fn sidecar(definition: &ServiceDefinition, service: &NodeService) -> Option<ServiceDefinition> {
    let mut sidecar = (**definition.connect.as_ref()?.sidecar_service.as_ref()?).clone();
    sidecar.id = sidecar_id(&service.id);
    if sidecar.name.is_empty() {
        sidecar.name = format!("{}-sidecar-proxy", service.service);
    }
    if sidecar.kind.is_empty() {
        sidecar.kind = "connect-proxy".to_owned();
    }
    if sidecar.tags.is_empty() {
        sidecar.tags.clone_from(&service.tags);
    }
    if sidecar.meta.is_empty() {
        sidecar.meta.clone_from(&service.meta);
    }
    // Of a sidecar there is none.
    sidecar.connect = None;
    let proxy = sidecar.proxy.get_or_insert_default();
    if proxy.destination_service_name.is_empty() {
        proxy.destination_service_name.clone_from(&service.service);
    }
    if proxy.destination_service_id.is_empty() {
        proxy.destination_service_id.clone_from(&service.id);
    }
    if proxy.local_service_address.is_empty() {
        "127.0.0.1".clone_into(&mut proxy.local_service_address);
    }
    if proxy.local_service_port == 0 {
        proxy.local_service_port = service.port;
    }
    for upstream in &mut proxy.upstreams {
        if upstream.destination_type.is_empty() {
            "service".clone_into(&mut upstream.destination_type);
        }
    }
    Some(sidecar)
}

/// A sidecar without checks of its own gets two: that it listens, and what its service says.
pub fn sidecar_checks(sidecar: &mut ServiceDefinition, service: &NodeService) {
    if http_api::validate::is_check(&sidecar.check) || !sidecar.checks.is_empty() {
        return;
    }
    let host = if sidecar.address.is_empty() { "127.0.0.1" } else { &sidecar.address };
    let target = if host.contains(':') {
        format!("[{host}]:{}", sidecar.port)
    } else {
        format!("{host}:{}", sidecar.port)
    };
    sidecar.checks = vec![
        CheckType {
            name: "Connect Sidecar Listening".to_owned(),
            tcp: target,
            interval: SIDECAR_INTERVAL,
            ..CheckType::default()
        },
        CheckType {
            name: format!("Connect Sidecar Aliasing {}", service.id),
            alias_service: service.id.clone(),
            ..CheckType::default()
        },
    ];
}

/// Names that DNS cannot serve work everywhere else; their owner should know.
pub fn name_warnings(service: &NodeService) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut look = |what: &str, name: &str| {
        let label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(label) {
            warnings.push(format!(
                "{what} {name:?} will not be discoverable via DNS due to invalid characters. Valid characters include all alpha-numerics and dashes."
            ));
        } else if name.len() > DNS_LABEL {
            warnings.push(format!(
                "{what} {name:?} will not be discoverable via DNS due to it being too long. Valid lengths are between 1 and {DNS_LABEL} bytes."
            ));
        }
    };
    look("Service name", &service.service);
    for tag in &service.tags {
        look("Service tag", tag);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(name: &str) -> CheckType {
        CheckType { name: name.into(), ttl: GoDuration::from_secs(60), ..CheckType::default() }
    }

    fn names(defined: &Defined) -> Vec<(&str, &str)> {
        defined.checks.iter().map(|(check, _)| (check.check_id.as_str(), check.name.as_str())).collect()
    }

    #[test]
    fn checks_of_a_service_get_ids_and_names() {
        let one = ServiceDefinition {
            id: "s1".into(),
            name: "one".into(),
            check: ttl(""),
            ..ServiceDefinition::default()
        };
        assert_eq!(names(&service(&one, "n")), [("service:s1", "Service 'one' check")]);
        let two = ServiceDefinition {
            checks: vec![ttl("custom"), CheckType { check_id: "my-id".into(), ..ttl("") }],
            ..one
        };
        assert_eq!(
            names(&service(&two, "n")),
            [
                ("service:s1:1", "Service 'one' check"),
                ("service:s1:2", "custom"),
                ("my-id", "Service 'one' check")
            ]
        );
    }

    #[test]
    fn the_address_stands_under_its_family() {
        let definition = ServiceDefinition {
            name: "a".into(),
            address: "fd00::9".into(),
            port: 7,
            tagged_addresses: BTreeMap::from([(
                "lan_ipv6".into(),
                ServiceAddress { address: "fd00::1".into(), port: 1 },
            )]),
            ..ServiceDefinition::default()
        };
        let made = service(&definition, "n").service;
        assert_eq!(made.tagged_addresses["lan_ipv6"].port, 1);
        assert_eq!(made.tagged_addresses["wan_ipv6"].port, 7);
        assert_eq!(made.tagged_addresses.len(), 2);
        assert_eq!(made.weights, Some(Weights { passing: 1, warning: 1 }));
    }

    #[test]
    fn a_sidecar_follows_its_service() {
        let definition = ServiceDefinition {
            name: "api".into(),
            id: "api1".into(),
            port: 9090,
            tags: vec!["t".into()],
            connect: Some(ServiceConnect {
                native: false,
                sidecar_service: Some(Box::new(ServiceDefinition {
                    port: 20000,
                    ..ServiceDefinition::default()
                })),
            }),
            ..ServiceDefinition::default()
        };
        let main = service(&definition, "n").service;
        assert!(main.connect.sidecar_service.is_none());
        let mut made = sidecar(&definition, &main).unwrap();
        sidecar_checks(&mut made, &main);
        let made = service(&made, "n");
        assert_eq!(
            (made.service.id.as_str(), made.service.service.as_str()),
            ("api1-sidecar-proxy", "api-sidecar-proxy")
        );
        assert_eq!(made.service.proxy.local_service_port, 9090);
        assert_eq!(made.service.tags, ["t"]);
        let kinds: Vec<_> =
            made.checks.iter().map(|(check, kind)| (check.r#type.as_str(), kind.tcp.as_str())).collect();
        assert_eq!(kinds, [("tcp", "127.0.0.1:20000"), ("alias", "")]);
    }

    #[test]
    fn names_that_dns_cannot_serve_are_told() {
        let bad = NodeService {
            service: "a_b".into(),
            tags: vec!["ok".into(), "x".repeat(64)],
            ..NodeService::default()
        };
        let told = name_warnings(&bad);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("invalid characters") && told[1].contains("too long"));
    }
}

use std::sync::Arc;

use model::catalog::{Node, NodeService, ServiceAddress, Weights};
use model::health::{CheckServiceNode, HealthCheck};
use proptest::prelude::*;

use crate::schema::{CHECK_SERVICE_NODE, HEALTH_CHECK, NODE, NODE_SERVICE, SERVICE_NODE};
use crate::{AgentService, Filter, Schema};

fn node(name: &str, meta: &[(&str, &str)]) -> Node {
    Node {
        node: name.to_owned(),
        address: "10.5.0.1".to_owned(),
        meta: meta.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Node::default()
    }
}

fn on_node(text: &str, node: &Node) -> bool {
    Filter::parse(text, &NODE).unwrap_or_else(|error| panic!("{text}: {error}")).matches(node)
}

#[test]
fn nodes() {
    let f1 = node("f1", &[("rack", "r1"), ("env", "prod"), ("a.b", "x")]);
    let s1 = node("s1", &[]);
    for (text, on_f1, on_s1) in [
        ("", true, true),
        ("Meta.rack==r1", true, false),
        ("Meta.rack!=r2 and Meta.env==prod", true, false),
        ("Meta.rack != r1", false, true),
        ("rack in Meta", true, false),
        ("\"rack\" not in Meta", false, true),
        ("Node matches \"f[12]\"", true, false),
        ("Node not matches `^f\\d$`", false, true),
        ("Address contains \"10.5\"", true, true),
        ("Address not contains 10.6", true, true),
        ("Meta is empty", false, true),
        ("Meta is not empty", true, false),
        ("(Node==f1 or Node==f3) and not Node==f3", true, false),
        ("not Node == f1 or Node == f1", true, true),
        ("not (Node == f1 and Meta.rack == r1)", false, true),
        ("Meta[\"a.b\"] == x", true, false),
        ("Meta[\"a.b\"] == \"x\" and Node==f1", true, false),
        ("Node == s1 or Node == f1 and Meta.rack == r2", false, true),
        ("Meta.none == none", false, false),
    ] {
        assert_eq!((on_node(text, &f1), on_node(text, &s1)), (on_f1, on_s1), "{text}");
    }
}

#[test]
fn entries() {
    let check = |status: &str| {
        Arc::new(HealthCheck {
            status: status.to_owned(),
            check_id: "c".to_owned(),
            ..HealthCheck::default()
        })
    };
    let wan = ServiceAddress { address: "9.9.9.9".to_owned(), port: 80 };
    let entry = CheckServiceNode {
        node: Arc::new(node("n1", &[("rack", "r1")])),
        service: Arc::new(NodeService {
            port: 81,
            tags: vec!["v1".to_owned()],
            tagged_addresses: [("wan".to_owned(), wan)].into(),
            weights: Some(Weights { passing: 3, warning: 1 }),
            enable_tag_override: true,
            ..NodeService::default()
        }),
        checks: vec![check("passing"), check("warning")],
    };
    for (text, expected) in [
        ("Node.Meta.rack == r1", true),
        ("v1 in Service.Tags", true),
        ("Service.Tags contains v2", false),
        ("Service.Port != 81", false),
        ("Service.Port == 81", true),
        ("Service.EnableTagOverride == true", true),
        ("Service.Weights.Passing == 3", true),
        ("Service.TaggedAddresses.wan.Address == \"9.9.9.9\"", true),
        ("Service.TaggedAddresses.lan.Address == \"9.9.9.9\"", false),
        ("wan in Service.TaggedAddresses", true),
        ("Service.Proxy.Upstreams is empty", true),
        ("Service.Proxy.Upstreams.DestinationName == db", false),
        ("Checks.Status == passing", true),
        ("Checks.Status == critical", false),
        ("Checks.Status != passing", true),
        ("Checks is not empty", true),
    ] {
        let filter = Filter::parse(text, &CHECK_SERVICE_NODE).unwrap();
        assert_eq!(filter.matches(&entry), expected, "{text}");
    }
    let agents = AgentService { service: &entry.service, datacenter: "dc1" };
    let filter = Filter::parse("Datacenter == dc1 and Port == 81", &crate::schema::AGENT_SERVICE).unwrap();
    assert!(filter.matches(&agents));
}

#[test]
fn refusals_say_why() {
    const PREFIX: &str = "Failed to create boolean expression evaluator: ";
    let refusal = |text: &str, schema: &'static Schema| Filter::parse(text, schema).unwrap_err().to_string();
    assert_eq!(refusal("Bogus==x", &NODE), format!("{PREFIX}Selector \"Bogus\" is not valid"));
    assert_eq!(
        refusal("Service.Bogus==1", &CHECK_SERVICE_NODE),
        format!("{PREFIX}Selector \"Service.Bogus\" is not valid")
    );
    assert_eq!(
        refusal("ServiceAddress is empty", &SERVICE_NODE),
        format!("{PREFIX}Invalid match operator \"Is Empty\" for selector \"ServiceAddress\"")
    );
    assert!(refusal("Port==abc", &NODE_SERVICE).contains("\"abc\" for selector \"Port\""));
    assert!(refusal("Node matches \"(\"", &NODE).contains("regular expression"));
    for text in [
        "((",
        "Node=f1",
        "Node",
        "Node ==",
        "Node == f1 and",
        "\"x\" == y",
        "Node == \"x",
        "Node is",
        "Meta[rack] == x",
        "Meta.",
        "x in",
        "Status == a b",
    ] {
        assert!(refusal(text, &HEALTH_CHECK).starts_with(PREFIX), "{text}");
    }
    assert!(refusal(&"(".repeat(100_000), &NODE).contains("too long"));
    assert!(refusal(&"not ".repeat(1000), &NODE).contains("nested"));
}

proptest! {
    #[test]
    fn random_text_never_panics(text in ".{0,200}") {
        let _ = Filter::parse(&text, &NODE).map(|filter| filter.matches(&node("n", &[])));
    }

    #[test]
    fn random_tokens_never_panic(tokens in proptest::collection::vec(
        prop_oneof![
            Just("("), Just(")"), Just("not"), Just("and"), Just("or"), Just("is"), Just("empty"), Just("in"),
            Just("contains"), Just("matches"), Just("=="), Just("!="), Just("Node"), Just("Service.Port"),
            Just("Checks.Status"), Just("Service.Meta"), Just("[\"k\"]"), Just("\"v\""), Just("80"), Just("`x`"),
        ],
        0..24,
    )) {
        let entry = CheckServiceNode { checks: vec![Arc::default()], ..CheckServiceNode::default() };
        let text = tokens.join(" ");
        let _ = Filter::parse(&text, &CHECK_SERVICE_NODE).map(|filter| filter.matches(&entry));
    }

    #[test]
    fn connectives_follow_logic(a in 0..3_i64, b in 0..3_i64, x in 0..3_i64, y in 0..3_i64) {
        let service = NodeService { port: x, weights: Some(Weights { passing: y, warning: 0 }), ..NodeService::default() };
        let holds = |text: String| Filter::parse(&text, &NODE_SERVICE).unwrap().matches(&service);
        let (p, q) = (format!("Port == {a}"), format!("Weights.Passing == {b}"));
        prop_assert_eq!(holds(format!("{p} and {q}")), x == a && y == b);
        prop_assert_eq!(holds(format!("{p} or {q}")), x == a || y == b);
        prop_assert_eq!(holds(format!("not ({p} or {q})")), !(x == a || y == b));
        prop_assert_eq!(holds(format!("not {p}")), x != a);
        prop_assert_eq!(holds(format!("Port != {a}")), x != a);
    }
}

//! Nodes, services, checks, coordinates and queries.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use model::catalog::{NodeService, RegisterRequest, Weights};
use model::coordinate::{Coord, Coordinate};
use model::operator::{AutopilotConfig, AutopilotSetConfigRequest};
use model::ops::{PreparedQueryOp, SessionBehavior};
use model::options::ServiceSpecificRequest;
use model::query::{PreparedQuery, PreparedQueryRequest, QueryTemplateOptions};
use state::{Answer, Resolved, Select, WatchSet, command};

fn none() -> WatchSet {
    WatchSet::none()
}

fn meta() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn by_name(service: &str) -> ServiceSpecificRequest {
    ServiceSpecificRequest { service_name: service.into(), ..Default::default() }
}

fn ids(m: &Machine, request: &ServiceSpecificRequest) -> Vec<String> {
    let (_, nodes) = m.store.view().check_service_nodes(&mut none(), &Select::from(request));
    nodes.iter().map(|node| node.service.id.clone()).collect()
}

fn index(m: &Machine, service: &str) -> u64 {
    m.store.view().check_service_nodes(&mut none(), &Select::from(&by_name(service))).0
}

fn error(answer: Answer) -> String {
    match answer {
        Answer::Error(text) => text,
        other => panic!("accepted: {other:?}"),
    }
}

#[test]
fn registering_again_changes_nothing() {
    let mut m = Machine::default();
    let full = || RegisterRequest {
        check: Some(check("n1", "c1", "w1", "passing")),
        ..with_service("n1", service("web", "w1"))
    };
    assert_eq!(m.register(full()), Answer::Nil);
    let first = m.index;
    assert_eq!(m.register(full()), Answer::Nil);
    let view = m.store.view();
    assert_eq!(view.nodes(&mut none(), &meta()).0, first);
    assert_eq!(view.services(&mut none(), &meta()).0, first);
    assert_eq!(view.checks_in_state(&mut none(), "any", &meta()).0, first);
    assert_eq!(index(&m, "web"), first);
    let weights = view.node_service(&mut none(), "n1", "w1").1.unwrap().weights.clone();
    assert_eq!(weights, Some(Weights { passing: 1, warning: 1 }));
}

#[test]
fn each_service_has_its_own_index() {
    let mut m = Machine::default();
    m.register(with_service("n1", service("web", "w1")));
    m.register(with_service("n2", service("other", "o1")));
    let web = index(&m, "WEB");
    assert!(web < m.index);
    m.register(with_check(check("n2", "c", "o1", "critical")));
    assert_eq!(index(&m, "web"), web);
    m.register(with_check(check("n1", "nc", "", "passing")));
    assert_eq!(index(&m, "web"), m.index, "a check of the node counts for its services");
    m.register(RegisterRequest { address: "10.9.9.9".into(), ..node("n1") });
    assert_eq!(index(&m, "web"), m.index, "so does the node's address");
    let (_, nodes) = m.store.view().check_service_nodes(&mut none(), &Select::from(&by_name("web")));
    assert_eq!((&*nodes[0].node.address, nodes[0].checks.len()), ("10.9.9.9", 1));
    m.deregister("n1", "w1", "");
    let gone = m.index;
    assert_eq!(index(&m, "web"), gone);
    m.register(with_check(check("n2", "c", "o1", "passing")));
    assert_eq!(index(&m, "web"), gone, "the last extinction, whatever else goes on");
    assert_eq!(index(&m, "never"), gone);
}

#[test]
fn selecting_instances() {
    let mut m = Machine::default();
    let tagged = |id: &str, tags: &[&str], address: &str| NodeService {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        address: address.into(),
        ..service("Web", id)
    };
    m.register(RegisterRequest {
        node_meta: BTreeMap::from([("rack".into(), "r1".into())]),
        ..with_service("n1", tagged("a", &["v1", "Main"], ""))
    });
    m.register(with_service("n22", tagged("b", &["v1"], "10.1.1.1")));
    let with = |tags: &[&str]| ServiceSpecificRequest {
        tag_filter: true,
        service_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..by_name("web")
    };
    assert_eq!(ids(&m, &by_name("WEB")), ["a", "b"]);
    assert_eq!(ids(&m, &with(&["V1"])), ["a", "b"]);
    assert_eq!(ids(&m, &with(&["v1", "main"])), ["a"]);
    assert!(ids(&m, &with(&[""])).is_empty());
    assert!(ids(&m, &with(&[])).is_empty(), "the old single tag, empty");
    let single = ServiceSpecificRequest { service_tag: "main".into(), ..with(&[]) };
    assert_eq!(ids(&m, &single), ["a"]);
    let address =
        |address: &str| ServiceSpecificRequest { service_address: address.into(), ..by_name("web") };
    assert_eq!(ids(&m, &address("10.1.1.1")), ["b"]);
    assert_eq!(ids(&m, &address("10.0.0.2")), ["a"]);
    let rack = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
    let racked = ServiceSpecificRequest { node_meta_filters: rack.clone(), ..by_name("web") };
    assert_eq!(ids(&m, &racked), ["a"]);
    let view = m.store.view();
    assert_eq!(view.nodes(&mut none(), &rack).1.len(), 1);
    assert_eq!(view.services(&mut none(), &rack).1["Web"], ["Main", "v1"]);
    assert_eq!(view.service_names(&mut none()).1[0].name, "Web");
    let flat = view.service_nodes(&mut none(), &Select::from(&racked)).1;
    assert_eq!((&*flat[0].service_id, &*flat[0].node_meta["rack"]), ("a", "r1"));
}

#[test]
fn the_map_of_services_follows_the_tags() {
    let mut m = Machine::default();
    let tagged = |id: &str, tags: &[&str]| NodeService {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..service("web", id)
    };
    let tags =
        |m: &Machine| m.store.view().services(&mut none(), &meta()).1.remove("web").unwrap_or_default();
    m.register(with_service("n1", tagged("a", &["x", "y", "x"])));
    m.register(with_service("n1", tagged("b", &["y", "z"])));
    assert_eq!(tags(&m), ["x", "y", "z"]);
    m.register(with_check(check("n1", "c", "a", "passing")));
    m.register(with_service("n1", tagged("a", &["w"])));
    assert_eq!(tags(&m), ["w", "y", "z"]);
    m.register(with_service("n1", NodeService { tags: vec!["q".into()], ..service("other", "b") }));
    assert_eq!(tags(&m), ["w"]);
    m.deregister("n1", "a", "");
    assert_eq!(m.store.view().services(&mut none(), &meta()).1["other"], ["q"]);
    assert_eq!(m.store.view().counts().services, 1);
}

#[test]
fn connect_finds_proxies_and_natives() {
    let mut m = Machine::default();
    let mut proxy = service("web-sidecar", "p");
    proxy.kind = "connect-proxy".into();
    proxy.proxy.destination_service_name = "web".into();
    let mut native = service("web", "nat");
    native.connect.native = true;
    m.register(with_service("n1", service("web", "plain")));
    let connect = ServiceSpecificRequest { connect: true, ..by_name("web") };
    assert!(ids(&m, &connect).is_empty());
    m.register(with_service("n1", proxy.clone()));
    m.register(with_service("n1", native.clone()));
    assert_eq!(ids(&m, &connect), ["nat", "p"]);
    native.connect.native = false;
    m.register(with_service("n1", native));
    assert_eq!(ids(&m, &connect), ["p"]);
    proxy.proxy.destination_service_name = "db".into();
    m.register(with_service("n1", proxy));
    assert!(ids(&m, &connect).is_empty());
    assert_eq!(ids(&m, &ServiceSpecificRequest { connect: true, ..by_name("DB") }), ["p"]);
    let view = m.store.view();
    let kinds = |kind| view.service_dump(&mut none(), kind).1.len();
    assert_eq!((kinds(None), kinds(Some("connect-proxy")), kinds(Some(""))), (3, 1, 2));
    m.deregister("n1", "", "");
    assert_eq!(m.store.view().counts(), Default::default());
}

#[test]
fn an_instance_may_change_its_service() {
    let mut m = Machine::default();
    m.register(with_service("n1", service("old", "x")));
    m.register(with_service("n1", service("new", "x")));
    assert!(ids(&m, &by_name("old")).is_empty());
    assert_eq!(ids(&m, &by_name("new")), ["x"]);
    assert_eq!(m.store.view().counts().instances, 1);
    assert_eq!(index(&m, "old"), m.index);
}

#[test]
fn nodes_are_known_by_name_and_id() {
    const ID: &str = "bbbbbbbb-1111-4222-8333-444444444444";
    const ID2: &str = "cccccccc-1111-4222-8333-444444444444";
    let mut m = Machine::default();
    let with_id = |name: &str, id: &str| RegisterRequest { id: id.into(), ..node(name) };
    m.register(RegisterRequest { service: Some(service("carried", "c")), ..with_id("old-name", ID) });
    m.register(with_id("new-name", ID));
    let view = m.store.view();
    assert_eq!(view.node(&mut none(), "old-name").1, None);
    assert_eq!(view.node_by_id(&mut none(), &ID.to_uppercase()).1.unwrap().node, "new-name");
    assert!(ids(&m, &by_name("carried")).is_empty());
    assert_eq!(view.node_services(&mut none(), "bbbbbb").1.unwrap().node.unwrap().node, "new-name");
    assert!(view.node_services(&mut none(), "x").1.is_none());

    // Held by a living member.
    m.register(with_id("s1", ID2));
    m.register(with_check(check("s1", "serfHealth", "", "passing")));
    let taken = error(m.register(with_id("S1", "dddddddd-1111-4222-8333-444444444444")));
    assert_eq!(
        taken,
        format!(
            "failed inserting node: Error while renaming Node ID: \"dddddddd-1111-4222-8333-444444444444\": \
             Node name S1 is reserved by node {ID2} with name s1 (10.0.0.2)"
        )
    );
    assert!(error(m.register(with_id("s1", ID))).contains("is reserved by node"));
    assert!(m.store.view().node(&mut none(), "new-name").1.is_some());
    // A dead one gives its name away.
    m.register(with_check(check("s1", "serfHealth", "", "critical")));
    assert_eq!(m.register(with_id("s1", "dddddddd-1111-4222-8333-444444444444")), Answer::Nil);
    assert_eq!(m.store.view().node_by_id(&mut none(), ID2).1, None);
}

#[test]
fn refused_registrations_leave_nothing() {
    let mut m = Machine::default();
    let before = m.store.view().counts();
    let request = RegisterRequest { check: Some(check("n1", "c", "ghost", "passing")), ..node("n1") };
    assert_eq!(
        error(m.register(request)),
        "failed inserting check: Missing service registration on node \"n1\""
    );
    let request =
        RegisterRequest { checks: vec![Arc::new(check("other", "c", "", "passing"))], ..node("x1") };
    assert_eq!(error(m.register(request)), "check node \"other\" does not match node \"x1\"");
    assert_eq!(m.store.view().counts(), before);
    assert_eq!(m.store.view().nodes(&mut none(), &meta()).0, 0);
}

#[test]
fn skipping_the_node_keeps_its_data() {
    let mut m = Machine::default();
    m.register(node("n9"));
    m.register(RegisterRequest {
        skip_node_update: true,
        address: "elsewhere".into(),
        ..with_service("n9", service("s", "s"))
    });
    let node = m.store.view().node_services(&mut none(), "n9").1.unwrap();
    assert_eq!(node.node.unwrap().address, "10.0.0.2");
    assert!(node.services.contains_key("s"));
}

#[test]
fn deregistration_cascades() {
    let mut m = Machine::default();
    m.register(RegisterRequest {
        checks: vec![
            Arc::new(check("m1", "ca", "a1", "passing")),
            Arc::new(check("m1", "cn", "", "passing")),
        ],
        ..with_service("m1", service("a", "a1"))
    });
    m.session(session("s", "m1", SessionBehavior::Release));
    m.run(command::COORDINATES, &[coordinate("m1"), coordinate("ghost")]);
    assert_eq!(m.store.view().coordinates(&mut none()).1.len(), 1);
    m.deregister("m1", "a1", "");
    let view = m.store.view();
    let left: Vec<_> = view.node_checks(&mut none(), "m1").1.iter().map(|c| c.check_id.clone()).collect();
    assert_eq!(left, ["cn"]);
    assert_eq!(m.deregister("m1", "nope", ""), Answer::Nil);
    assert_eq!(m.deregister("m1", "", "nope"), Answer::Nil);
    assert_eq!(m.deregister("nope", "", ""), Answer::Nil);
    m.deregister("M1", "", "");
    let view = m.store.view();
    assert_eq!(view.counts(), Default::default());
    assert_eq!(view.coordinates(&mut none()), (m.index, vec![]));
    assert!(view.checks_in_state(&mut none(), "passing", &meta()).1.is_empty());
    assert!(view.node_dump(&mut none()).1.is_empty());
}

fn coordinate(node: &str) -> Coordinate {
    Coordinate { node: node.into(), coord: Some(Coord::default()), segment: String::new() }
}

#[test]
fn checks_by_state_and_service() {
    let mut m = Machine::default();
    m.register(with_service("n1", NodeService { tags: vec!["t".into()], ..service("web", "w1") }));
    m.register(with_check(check("n1", "c1", "w1", "passing")));
    m.register(with_check(check("n1", "c2", "", "")));
    let state = |m: &Machine, state: &str| {
        let (_, checks) = m.store.view().checks_in_state(&mut none(), state, &meta());
        checks.iter().map(|check| check.check_id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(state(&m, "any"), ["c1", "c2"]);
    assert_eq!(state(&m, "critical"), ["c2"], "a check without a status is critical");
    assert!(state(&m, "CRITICAL").is_empty(), "states have one spelling");
    let (_, checks) = m.store.view().service_checks(&mut none(), "Web", &meta());
    assert_eq!((&*checks[0].service_name, &*checks[0].service_tags[0], checks.len()), ("web", "t", 1));
    m.register(with_check(check("n1", "c1", "w1", "critical")));
    assert_eq!(state(&m, "passing"), Vec::<String>::new());
    assert_eq!(state(&m, "critical"), ["c1", "c2"]);
    m.deregister("n1", "", "c1");
    assert_eq!(state(&m, "critical"), ["c2"]);
    let info = m.store.view().node_info(&mut none(), "n1").1.remove(0);
    assert_eq!((info.services.len(), info.checks.len()), (1, 1));
}

#[test]
fn queries_resolve_by_id_name_and_longest_prefix() {
    const Q: &str = "f0000000-0000-4000-8000-00000000000";
    let mut m = Machine::default();
    let set = |m: &mut Machine, n: u8, name: &str, template: &str| {
        let query = PreparedQuery {
            id: format!("{Q}{n}"),
            name: name.into(),
            template: QueryTemplateOptions { r#type: template.into(), ..Default::default() },
            ..Default::default()
        };
        let op = PreparedQueryOp::Create;
        m.run(command::PREPARED_QUERY, &PreparedQueryRequest { op, query: Some(query), ..Default::default() })
    };
    assert_eq!(set(&mut m, 1, "Ok", ""), Answer::Nil);
    assert_eq!(error(set(&mut m, 2, "ok", "")), "name 'ok' aliases an existing query name");
    assert_eq!(
        error(set(&mut m, 2, &format!("{Q}1"), "")),
        format!("name '{Q}1' aliases an existing query ID")
    );
    assert_eq!(error(set(&mut m, 2, "bad", "bogus")), "failed compiling template: Bad Template.Type 'bogus'");
    assert_eq!(set(&mut m, 3, "", "name_prefix_match"), Answer::Nil);
    assert_eq!(
        error(set(&mut m, 4, "", "name_prefix_match")),
        "a query template with an empty name already exists"
    );
    assert_eq!(set(&mut m, 5, "geo-", "name_prefix_match"), Answer::Nil);
    let resolve = |name: &str| m.store.view().query_resolve(&mut none(), name).1;
    let id = |resolved: Resolved| match resolved {
        Resolved::Unknown => "unknown".to_owned(),
        Resolved::Query(query) => format!("query {}", &query.id[35..]),
        Resolved::Template(query) => format!("template {}", &query.id[35..]),
        Resolved::TemplateById(query) => format!("by id {}", &query.id[35..]),
    };
    assert_eq!(id(resolve("OK")), "query 1");
    assert_eq!(id(resolve(&format!("{Q}1"))), "query 1");
    assert_eq!(id(resolve("GEO-db")), "template 5");
    assert_eq!(id(resolve("geo-")), "template 5");
    assert_eq!(id(resolve("geo")), "template 3");
    assert_eq!(id(resolve(&format!("{Q}5"))), "by id 5");
    assert_eq!(id(resolve("")), "unknown");
    assert_eq!(set(&mut m, 5, "renamed", ""), Answer::Nil);
    let resolve = |name: &str| m.store.view().query_resolve(&mut none(), name).1;
    assert_eq!(id(resolve("geo-db")), "template 3");
    assert_eq!(id(resolve("renamed")), "query 5");
}

#[test]
fn queries_end_with_their_session() {
    let mut m = Machine::default();
    m.register(node("n"));
    m.session(session("s", "n", SessionBehavior::Release));
    let query = |session: &str| PreparedQueryRequest {
        op: PreparedQueryOp::Create,
        query: Some(PreparedQuery { id: "q".into(), session: session.into(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(error(m.run(command::PREPARED_QUERY, &query("x"))), "invalid session \"x\"");
    assert_eq!(m.run(command::PREPARED_QUERY, &query("s")), Answer::Nil);
    m.destroy("s");
    assert_eq!(m.store.view().query(&mut none(), "q"), (m.index, None));
}

#[test]
fn autopilot_is_set_and_compared() {
    let mut m = Machine::default();
    let request = |cas, index| AutopilotSetConfigRequest {
        cas,
        config: AutopilotConfig { modify_index: index, max_trailing_logs: 7, ..Default::default() },
        ..Default::default()
    };
    assert_eq!(m.run(command::AUTOPILOT, &request(true, 0)), Answer::Bool(false));
    assert_eq!(m.run(command::AUTOPILOT, &request(false, 0)), Answer::Nil);
    let index = m.index;
    assert_eq!(m.run(command::AUTOPILOT, &request(true, index)), Answer::Bool(true));
    assert_eq!(m.run(command::AUTOPILOT, &request(true, index)), Answer::Bool(false));
    let config = m.store.view().autopilot(&mut none()).1.unwrap();
    assert_eq!((config.create_index, config.modify_index), (index, index + 1));
}

#[test]
fn unknown_commands_are_told_or_passed_over() {
    let mut m = Machine::default();
    assert_eq!(m.raw(vec![0x80 | 50, 0x80].into()), Answer::Nil);
    assert!(error(m.raw(vec![17, 0x80].into())).contains("command type not supported"));
    assert!(error(m.raw(vec![].into())).contains("empty command"));
    assert!(error(m.raw(vec![0, 0xc1].into())).contains("type 0"));
    assert_eq!(m.store.view().index(), m.index);
}

#[test]
fn instances_are_found_by_an_address_of_their_own() {
    let mut m = Machine::default();
    let at = |address: &str, id: &str| NodeService { address: address.into(), ..service("web", id) };
    let mut tagged = service("db", "tagged");
    let wan = model::catalog::ServiceAddress { address: "10.9.0.1".into(), port: 1 };
    tagged.tagged_addresses.insert("wan".into(), wan);
    m.register(with_service("n1", at("10.9.0.1", "one")));
    m.register(with_service("n1", at("10.9.0.2", "two")));
    m.register(with_service("n1", tagged));
    m.register(with_service("n1", service("web", "at-its-node")));
    let found = |address: &str| {
        let request = ServiceSpecificRequest { service_address: address.into(), ..Default::default() };
        let (_, nodes) = m.store.view().service_nodes(&mut none(), &Select::from(&request));
        let mut ids: Vec<_> = nodes.into_iter().map(|node| node.service_id).collect();
        ids.sort();
        ids
    };
    assert_eq!(found("10.9.0.1"), ["one", "tagged"]);
    assert_eq!(found("10.9.0.2"), ["two"]);
    assert!(found("10.9.0.3").is_empty());
    let node = m.store.view().nodes(&mut none(), &meta()).1[0].address.clone();
    assert!(found(&node).is_empty());
}

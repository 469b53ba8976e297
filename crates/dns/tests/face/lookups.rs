//! Every form of lookup, from the query's bytes to the answer's, against a catalog in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Catalog, ask, ask_by, client, config, face, instance, negative, question, read};
use dns::{Config, Face, ServiceTtl, Transport, parse_name};
use domain::base::iana::{Rcode, Rtype};
use domain::base::opt::ClientSubnet;
use model::catalog::ServiceAddress;
use tokio::sync::Semaphore;

fn two() -> Face {
    face(
        config(),
        Catalog::with([
            instance("dc1", "web", "n1", "10.1.0.1", 80)
                .service(|service| service.tags = vec!["blue".into()])
                .node(|node| node.meta = [("role".into(), "front".into())].into()),
            instance("dc1", "web", "n2", "10.1.0.2", 81)
                .service(|service| service.address = "fd00::7".into()),
        ]),
    )
}

#[tokio::test]
async fn a_service_by_address_and_by_srv() {
    let face = two();
    let seen = ask(&face, "web.service.consul", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.flags.as_str()), ("NOERROR", "AA RD"));
    assert_eq!(seen.answer, ["web.service.consul 0 A 10.1.0.1"]);
    assert!(seen.additional.is_empty());
    let seen = ask(&face, "web.service.consul", Rtype::AAAA).await;
    assert_eq!(seen.answer, ["web.service.consul 0 AAAA fd00::7"]);
    let seen = ask(&face, "WEB.service.dc1.consul", Rtype::SRV).await;
    let six = "fd000000000000000000000000000007.addr.dc1.consul";
    assert_eq!(
        seen.answer,
        [
            "WEB.service.dc1.consul 0 SRV 1 1 80 n1.node.dc1.consul".to_owned(),
            format!("WEB.service.dc1.consul 0 SRV 1 1 81 {six}"),
        ]
    );
    assert_eq!(
        seen.additional,
        [
            format!("{six} 0 AAAA fd00::7"),
            "n1.node.dc1.consul 0 A 10.1.0.1".to_owned(),
            "n1.node.dc1.consul 0 TXT \"role=front\"".to_owned(),
        ]
    );
    for one in ["blue.web.service.consul", "_web._blue.service.consul", "_web._blue.consul"] {
        assert_eq!(ask(&face, one, Rtype::SRV).await.answer.len(), 1, "{one}");
    }
    assert_eq!(ask(&face, "_web._tcp.service.consul", Rtype::SRV).await.answer.len(), 2);
}

#[tokio::test]
async fn what_there_is_not() {
    let face = two();
    let same = |mut seen: crate::common::Seen| {
        seen.length = 0;
        seen
    };
    for (name, qtype, rcode) in [
        ("nope.service.consul", Rtype::A, Rcode::NXDOMAIN),
        ("green.web.service.consul", Rtype::A, Rcode::NXDOMAIN),
        ("web.service.dc9.consul", Rtype::A, Rcode::NXDOMAIN),
        ("nope.node.consul", Rtype::A, Rcode::NXDOMAIN),
        ("n1.node.dc9.consul", Rtype::A, Rcode::NXDOMAIN),
        ("nope.query.consul", Rtype::A, Rcode::NXDOMAIN),
        ("web.ingress.consul", Rtype::A, Rcode::NXDOMAIN),
        ("web.connect.consul", Rtype::A, Rcode::NXDOMAIN),
        ("n1.consul", Rtype::A, Rcode::NXDOMAIN),
        ("web.service.consul", Rtype::MX, Rcode::NOERROR),
    ] {
        assert_eq!(same(ask(&face, name, qtype).await), negative(rcode), "{name}");
    }
    // A node of another type is nothing at all.
    let seen = ask(&face, "n1.node.consul", Rtype::SRV).await;
    assert_eq!((seen.rcode.as_str(), seen.authority.len()), ("NOERROR", 0));
    // A datacenter that is there but does not answer.
    let seen = ask(&face, "web.service.slow.consul", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.authority.len()), ("SERVFAIL", 0));
    let seen = ask(&face, "consul", Rtype::AXFR).await;
    assert_eq!(seen.rcode, "NOTIMP");
    let seen = ask(&face, "example.com", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.flags.as_str()), ("REFUSED", "RD"));
}

#[tokio::test]
async fn nodes() {
    let face = face(
        Config { node_ttl: Duration::from_secs(10), ..config() },
        Catalog::with([
            instance("dc1", "s", "my.host", "10.1.0.1", 0).node(|node| {
                node.meta = [("RFC1035-k".into(), "v".repeat(300)), ("a=b".into(), "c".into())].into();
            }),
            instance("dc2", "s", "six", "fd00::5", 0)
                .node(|node| node.tagged_addresses = [("lan_ipv4".into(), "10.1.0.6".into())].into()),
        ]),
    );
    let long = format!("my.host.node.consul 10 TXT {:?}", "v".repeat(300));
    let seen = ask_by(&face, "my.host.node.consul", Rtype::ANY, Transport::Tcp).await;
    assert_eq!(
        seen.answer,
        ["my.host.node.consul 10 A 10.1.0.1", "my.host.node.consul 10 TXT \"a`=b=c\"", &long]
    );
    let seen = ask_by(&face, "my.host.node.consul", Rtype::TXT, Transport::Tcp).await;
    assert_eq!(seen.answer, ["my.host.node.consul 10 TXT \"a`=b=c\"", &long]);
    let seen = ask(&face, "my.host.node.consul", Rtype::AAAA).await;
    assert_eq!((seen.answer.len(), seen.additional.len()), (0, 2));
    let seen = ask(&face, "Six.node.dc2.consul", Rtype::AAAA).await;
    assert_eq!(seen.answer, ["Six.node.dc2.consul 10 AAAA fd00::5"]);
    let seen = ask(&face, "six.node.dc2.consul", Rtype::A).await;
    assert_eq!(seen.answer, ["six.node.dc2.consul 10 A 10.1.0.6"]);
}

#[tokio::test]
async fn health_and_weights() {
    let entries = || {
        Catalog::with([
            instance("dc1", "web", "n1", "10.1.0.1", 1).weights(100, 7).check("passing"),
            instance("dc1", "web", "n2", "10.1.0.2", 2).weights(50, 3).check("passing").check("warning"),
            instance("dc1", "web", "n3", "10.1.0.3", 3).check("passing").check("critical"),
            instance("dc1", "web", "n4", "10.1.0.4", 4).weights(70_000, 1),
        ])
    };
    let seen = ask(&face(config(), entries()), "web.service.consul", Rtype::SRV).await;
    assert_eq!(
        seen.answer,
        [
            "web.service.consul 0 SRV 1 100 1 n1.node.dc1.consul",
            "web.service.consul 0 SRV 1 3 2 n2.node.dc1.consul",
            "web.service.consul 0 SRV 1 65535 4 n4.node.dc1.consul",
        ]
    );
    let strict = Config { only_passing: true, ..config() };
    assert_eq!(ask(&face(strict, entries()), "web.service.consul", Rtype::A).await.answer.len(), 2);
}

#[tokio::test]
async fn prepared_queries_keep_their_order_and_know_the_client() {
    let face = two();
    let seen = ask(&face, "front.query.consul", Rtype::SRV).await;
    assert_eq!(
        seen.answer,
        [
            "front.query.consul 17 SRV 1 1 81 for-127.29.1.9.node.dc2.consul",
            "front.query.consul 17 SRV 1 1 82 second.node.dc2.consul",
        ]
    );
    let subnet = ClientSubnet::new(24, 0, "198.18.7.0".parse().unwrap());
    let message = question("front.query.dc1.consul", Rtype::SRV, Some((1232, Some(subnet))));
    let seen = read(&face.answer(&message, client(), Transport::Udp).await.unwrap());
    assert!(seen.answer[0].contains("for-198.18.7.0"), "{seen:?}");
    // Good for this subnet only.
    assert_eq!(seen.edns, Some((1232, Some(ClientSubnet::new(24, 24, "198.18.7.0".parse().unwrap())))));
    let message = question("web.service.consul", Rtype::A, Some((4096, Some(subnet))));
    let seen = read(&face.answer(&message, client(), Transport::Udp).await.unwrap());
    assert_eq!(seen.edns, Some((4096, Some(subnet))));
}

#[tokio::test]
async fn the_zone() {
    let face = face(
        config(),
        Catalog::with(
            (1..=5).map(|n| instance("dc1", "consul", &format!("s{n}"), &format!("10.0.0.{n}"), 8300)),
        ),
    );
    let seen = ask_by(&face, "consul", Rtype::NS, Transport::Tcp).await;
    assert_eq!((seen.answer.len(), seen.additional.len()), (3, 3));
    assert!(seen.answer[0].starts_with("consul 0 NS s"), "{seen:?}");
    let seen = ask(&face, "dc2.consul", Rtype::SOA).await;
    assert_eq!(seen.answer, ["consul 0 SOA ns.consul hostmaster.consul 0"]);
    assert_eq!((seen.authority.len(), seen.additional.len()), (3, 3));
}

#[tokio::test]
async fn addresses_and_back() {
    let face = face(
        config(),
        Catalog::with([
            instance("dc1", "svc", "n1", "10.1.0.1", 1)
                .service(|service| service.address = "10.9.9.9".into()),
            instance("dc1", "six", "n6", "fd00:0:0::5", 1),
        ]),
    );
    let seen = ask(&face, "0a000001.addr.consul", Rtype::AAAA).await;
    assert_eq!(seen.answer, ["0a000001.addr.consul 0 A 10.0.0.1"]);
    let seen = ask(&face, "zzzz.addr.consul", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.answer.len(), seen.authority.len()), ("NOERROR", 0, 0));
    let seen = ask(&face, "1.0.1.10.in-addr.arpa", Rtype::PTR).await;
    assert_eq!(seen.answer, ["1.0.1.10.in-addr.arpa 0 PTR n1.node.dc1.consul"]);
    let seen = ask(&face, "9.9.9.10.in-addr.arpa", Rtype::ANY).await;
    assert_eq!(seen.answer, ["9.9.9.10.in-addr.arpa 0 PTR svc.service.dc1.consul"]);
    let six = format!("5.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    let seen = ask(&face, &six, Rtype::PTR).await;
    assert_eq!(seen.answer, [format!("{six} 0 PTR n6.node.dc1.consul")]);
    // The name is all there is, whatever type is asked.
    let seen = ask(&face, "1.0.1.10.in-addr.arpa", Rtype::SOA).await;
    assert_eq!(seen.answer, ["1.0.1.10.in-addr.arpa 0 PTR n1.node.dc1.consul"]);
    assert_eq!(seen.authority, negative(Rcode::NOERROR).authority);
    let seen = ask(&face, "8.8.8.8.in-addr.arpa", Rtype::PTR).await;
    assert_eq!((seen.rcode.as_str(), seen.flags.as_str()), ("SERVFAIL", "RD RA"));
}

#[tokio::test]
async fn names_instead_of_addresses() {
    let named = |service: &str, address: &str| {
        let address = address.to_owned();
        instance("dc1", service, "n1", "10.1.0.1", 3).service(|service| service.address = address)
    };
    let face = face(
        config(),
        Catalog::with([
            instance("dc1", "web", "n2", "10.1.0.2", 4),
            named("inner", "web.service.consul"),
            named("own", "own.service.consul"),
            named("loop", "pool.service.consul"),
            named("pool", "loop.service.consul"),
            named("outer", "www.example.net"),
            named("outer", "www.example.org"),
            instance("dc1", "extern", "named", "www.example.net", 5),
        ]),
    );
    let seen = ask(&face, "inner.service.consul", Rtype::A).await;
    assert_eq!(
        seen.answer,
        ["inner.service.consul 0 CNAME web.service.consul", "web.service.consul 0 A 10.1.0.2"]
    );
    let seen = ask(&face, "inner.service.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["inner.service.consul 0 SRV 1 1 3 web.service.consul"]);
    assert_eq!(seen.additional, ["web.service.consul 0 A 10.1.0.2"]);
    let seen = ask(&face, "own.service.consul", Rtype::A).await;
    assert_eq!(seen.answer, ["own.service.consul 0 A 10.1.0.1"]);
    // A circle ends.
    let seen = ask(&face, "loop.service.consul", Rtype::A).await;
    assert_eq!(seen.rcode, "NOERROR");
    assert!(seen.answer.len() <= 4, "{seen:?}");
    // One alias only.
    let seen = ask(&face, "outer.service.consul", Rtype::A).await;
    assert_eq!(seen.answer.len(), 1, "{seen:?}");
    let seen = ask(&face, "extern.service.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["extern.service.consul 0 SRV 1 1 5 www.example.net"]);
    let seen = ask(&face, "named.node.consul", Rtype::A).await;
    assert_eq!(seen.answer, ["named.node.consul 0 CNAME www.example.net"]);
}

#[tokio::test]
async fn addresses_from_outside() {
    let catalog = || {
        let wan = |address: &str, port| ServiceAddress { address: address.into(), port };
        Catalog::with([
            instance("dc2", "far", "n1", "10.3.0.1", 9)
                .node(|node| node.tagged_addresses = [("wan".into(), "99.1.2.3".into())].into())
                .service(|service| {
                    service.address = "10.3.3.3".into();
                    service.tagged_addresses = [("wan".into(), wan("99.3.3.3", 99))].into();
                }),
            instance("dc2", "plain", "n2", "10.3.0.2", 5)
                .node(|node| node.tagged_addresses = [("wan".into(), "99.1.2.4".into())].into()),
        ])
    };
    let outside = face(Config { translate_wan_addrs: true, ..config() }, catalog());
    let seen = ask(&outside, "n1.node.dc2.consul", Rtype::A).await;
    assert_eq!(seen.answer, ["n1.node.dc2.consul 0 A 99.1.2.3"]);
    let seen = ask(&outside, "far.service.dc2.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["far.service.dc2.consul 0 SRV 1 1 99 63030303.addr.dc2.consul"]);
    let seen = ask(&outside, "plain.service.dc2.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["plain.service.dc2.consul 0 SRV 1 1 5 63010204.addr.dc2.consul"]);
    let inside = Config { translate_wan_addrs: true, datacenter: "dc2".into(), ..config() };
    let seen = ask(&face(inside, catalog()), "far.service.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["far.service.consul 0 SRV 1 1 9 0a030303.addr.dc2.consul"]);
    assert_eq!(
        ask(&face(config(), catalog()), "n1.node.dc2.consul", Rtype::A).await.answer,
        ["n1.node.dc2.consul 0 A 10.3.0.1"]
    );
}

#[tokio::test]
async fn other_domains() {
    let settings = Config {
        domain: parse_name("corp.internal").unwrap(),
        alt_domain: Some(parse_name("test").unwrap()),
        service_ttl: ServiceTtl::new([("web", Duration::from_secs(9))]),
        ..config()
    };
    let face = face(settings, Catalog::with([instance("dc1", "web", "n1", "10.1.0.1", 80)]));
    for name in ["web.service.corp.internal", "web.service.test"] {
        let seen = ask(&face, name, Rtype::SRV).await;
        assert_eq!(seen.answer, [format!("{name} 9 SRV 1 1 80 n1.node.dc1.corp.internal")]);
    }
    assert_eq!(ask(&face, "web.service.consul", Rtype::A).await.rcode, "REFUSED");
}

#[tokio::test]
async fn too_old_an_answer_is_fetched_from_the_leader() {
    let catalog = || Catalog {
        age: Duration::from_secs(60),
        ..Catalog::with([instance("dc1", "fresh", "n1", "10.1.0.1", 80)])
    };
    let lax = face(config(), catalog());
    assert_eq!(ask(&lax, "fresh.service.consul", Rtype::A).await.rcode, "NXDOMAIN");
    let tight = face(Config { max_stale: Duration::from_secs(59), ..config() }, catalog());
    assert_eq!(ask(&tight, "fresh.service.consul", Rtype::A).await.answer.len(), 1);
    let strict = face(Config { allow_stale: false, ..config() }, catalog());
    assert_eq!(ask(&strict, "fresh.service.consul", Rtype::A).await.answer.len(), 1);
}

#[tokio::test]
async fn a_node_is_described_beside_whatever_its_services_point_to() {
    let entry = instance("dc1", "web", "n1", "10.1.0.1", 80)
        .node(|node| drop(node.meta.insert("rack".to_owned(), "r1".to_owned())))
        .service(|service| service.address = "10.9.9.9".to_owned());
    let seen = ask(&face(config(), Catalog::with([entry])), "web.service.consul", Rtype::SRV).await;
    assert_eq!(seen.answer, ["web.service.consul 0 SRV 1 1 80 0a090909.addr.dc1.consul"]);
    assert_eq!(
        seen.additional,
        ["0a090909.addr.dc1.consul 0 A 10.9.9.9", "n1.node.dc1.consul 0 TXT \"rack=r1\""]
    );
}

#[tokio::test]
async fn name_servers_are_host_names() {
    let face = face(
        config(),
        Catalog::with([
            instance("dc1", "consul", "Server1", "10.1.0.1", 8300),
            instance("dc1", "consul", "server_2", "10.1.0.2", 8300),
            instance("dc1", "consul", "server.3", "10.1.0.3", 8300),
        ]),
    );
    assert_eq!(ask(&face, "consul", Rtype::NS).await.answer, ["consul 0 NS server1.node.dc1.consul"]);
}

#[tokio::test]
async fn a_node_that_is_another_ones_alias_has_its_metadata() {
    let entry = instance("dc1", "web", "n1", "10.1.0.1", 80)
        .node(|node| drop(node.meta.insert("rack".to_owned(), "r1".to_owned())));
    let alias = instance("dc1", "alias", "n2", "n1.node.consul", 80);
    let face = face(config(), Catalog::with([entry, alias]));
    let all = [
        "n1.node.consul 0 A 10.1.0.1",
        "n1.node.consul 0 TXT \"rack=r1\"",
        "n2.node.consul 0 CNAME n1.node.consul",
    ];
    assert_eq!(ask(&face, "n2.node.consul", Rtype::A).await.answer, all);
    // Of a service only addresses are told.
    let seen = ask(&face, "alias.service.consul", Rtype::A).await.answer;
    assert_eq!(seen, ["alias.service.consul 0 CNAME n1.node.consul", "n1.node.consul 0 A 10.1.0.1"]);
}

#[tokio::test]
async fn remembered_answers() {
    let settings = Config { cache: Some(Duration::ZERO), ..config() };
    let mut catalog = Catalog::with([instance("dc1", "web", "n1", "10.1.0.1", 80)]);
    let gate = Arc::new(Semaphore::new(100));
    catalog.gate = Some(gate.clone());
    let face = face(settings, catalog);
    // After one answer each the catalog cannot be asked any more: the cache still knows.
    for _ in 0..3 {
        assert_eq!(ask(&face, "web.service.consul", Rtype::A).await.answer.len(), 1);
        assert_eq!(ask(&face, "n1.node.consul", Rtype::A).await.answer.len(), 1);
        assert_eq!(ask(&face, "front.query.consul", Rtype::A).await.answer.len(), 2);
        gate.forget_permits(100);
    }
}

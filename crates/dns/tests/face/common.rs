//! A catalog in memory behind the road, and a client's view of answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cache::Cache;
use dns::{Config, Face, ServiceTtl, Soa, Transport, parse_name};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::opt::ClientSubnet;
use domain::base::{Message, MessageBuilder, ParsedName};
use domain::rdata::AllRecordData;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::catalog::{
    IndexedNodeServices, IndexedNodes, IndexedServiceNodes, Node, NodeService, NodeServices, ServiceNode,
    Weights,
};
use model::duration::GoDuration;
use model::error::{ErrorKind, RpcError};
use model::health::{CheckServiceNode, HealthCheck, IndexedCheckServiceNodes};
use model::options::{
    DcSpecificRequest, NodeSpecificRequest, QueryMeta, QueryOptions, ServiceSpecificRequest,
};
use model::query::{PreparedQueryExecuteRequest, PreparedQueryExecuteResponse, QueryDnsOptions};
use model::road::{ErasedCall, ErasedReply, Road, RoadBackend};

/// The defaults, in `dc1`.
pub fn config() -> Config {
    Config {
        datacenter: "dc1".to_owned(),
        node_name: "agent".to_owned(),
        domain: parse_name("consul").unwrap(),
        alt_domain: None,
        recursors: Vec::new(),
        recursor_timeout: Duration::from_secs(2),
        allow_stale: true,
        max_stale: Duration::from_secs(87_600 * 3600),
        cache: None,
        a_record_limit: 0,
        udp_answer_limit: 3,
        disable_compression: false,
        enable_truncate: false,
        node_ttl: Duration::ZERO,
        service_ttl: ServiceTtl::default(),
        only_passing: false,
        node_meta_txt: true,
        soa: Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 },
        translate_wan_addrs: false,
    }
}

/// Datacenters `dc1` and `dc2` with what has been put into them. `slow` is a datacenter that cannot
/// be reached.
#[derive(Default)]
pub struct Catalog {
    pub instances: Vec<(String, CheckServiceNode)>,
    pub nodes: Vec<Arc<Node>>,
    /// Age of answers that may be stale.
    pub age: Duration,
    /// Calls wait until this lets them go.
    pub gate: Option<Arc<tokio::sync::Semaphore>>,
}

/// An instance being described.
pub struct Entry(pub CheckServiceNode, pub String);

/// `name` on a node with an address.
pub fn instance(dc: &str, name: &str, node: &str, address: &str, port: i64) -> Entry {
    let node = Node {
        node: node.to_owned(),
        address: address.to_owned(),
        datacenter: dc.to_owned(),
        ..Node::default()
    };
    let service = NodeService { service: name.to_owned(), port, ..NodeService::default() };
    Entry(
        CheckServiceNode { node: Arc::new(node), service: Arc::new(service), checks: Vec::new() },
        dc.to_owned(),
    )
}

impl Entry {
    pub fn node(mut self, change: impl FnOnce(&mut Node)) -> Self {
        change(Arc::make_mut(&mut self.0.node));
        self
    }
    pub fn service(mut self, change: impl FnOnce(&mut NodeService)) -> Self {
        change(Arc::make_mut(&mut self.0.service));
        self
    }
    pub fn check(mut self, status: &str) -> Self {
        self.0.checks.push(Arc::new(HealthCheck { status: status.to_owned(), ..HealthCheck::default() }));
        self
    }
    pub fn weights(self, passing: i64, warning: i64) -> Self {
        self.service(|service| service.weights = Some(Weights { passing, warning }))
    }
}

impl Catalog {
    pub fn with(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut this = Self::default();
        for Entry(entry, dc) in entries {
            this.nodes.push(entry.node.clone());
            this.instances.push((dc, entry));
        }
        this
    }

    fn meta(&self, options: &QueryOptions) -> QueryMeta {
        let age = if options.allow_stale { self.age } else { Duration::ZERO };
        QueryMeta { last_contact: GoDuration::from(age), ..QueryMeta::default() }
    }

    fn answer(&self, call: ErasedCall) -> Result<ErasedReply, RpcError> {
        match call.args.routing().datacenter() {
            "dc1" | "dc2" => {}
            "slow" => {
                return Err(RpcError::new(
                    ErrorKind::NoServerReachable,
                    "Remote DC has no server currently reachable",
                ));
            }
            _ => return Err(RpcError::no_path()),
        }
        let args = call.args.into_any();
        Ok(match call.info.name {
            "Health.ServiceNodes" => {
                let args = args.downcast::<ServiceSpecificRequest>().unwrap();
                let meta = self.meta(&args.options);
                // What is older has a service less.
                let stale = !meta.last_contact.is_zero() && args.service_name == "fresh";
                let nodes = self
                    .instances
                    .iter()
                    .filter(|(dc, entry)| {
                        *dc == args.datacenter
                            && entry.service.service == args.service_name
                            && args.service_tags.iter().all(|tag| entry.service.tags.contains(tag))
                            && !args.ingress
                            && (!args.connect || entry.service.connect.native)
                            && !stale
                    })
                    .map(|(_, entry)| entry.clone())
                    .collect();
                Box::new(IndexedCheckServiceNodes { nodes, meta })
            }
            "Catalog.NodeServices" => {
                let args = args.downcast::<NodeSpecificRequest>().unwrap();
                let node = self.nodes.iter().find(|node| {
                    node.node.eq_ignore_ascii_case(&args.node) && node.datacenter == args.datacenter
                });
                let node_services =
                    node.map(|node| NodeServices { node: Some(node.clone()), services: BTreeMap::new() });
                Box::new(IndexedNodeServices { node_services, meta: self.meta(&args.options) })
            }
            "Catalog.ListNodes" => {
                let args = args.downcast::<DcSpecificRequest>().unwrap();
                let nodes =
                    self.nodes.iter().filter(|node| node.datacenter == args.datacenter).cloned().collect();
                Box::new(IndexedNodes { nodes, meta: self.meta(&args.options) })
            }
            "Catalog.ServiceNodes" => {
                let args = args.downcast::<ServiceSpecificRequest>().unwrap();
                let service_nodes = self
                    .instances
                    .iter()
                    .filter(|(dc, entry)| {
                        *dc == args.datacenter && entry.service.address == args.service_address
                    })
                    .map(|(_, entry)| ServiceNode {
                        service_name: entry.service.service.clone(),
                        ..ServiceNode::default()
                    })
                    .collect();
                Box::new(IndexedServiceNodes { service_nodes, meta: self.meta(&args.options) })
            }
            "PreparedQuery.Execute" => {
                let args = args.downcast::<PreparedQueryExecuteRequest>().unwrap();
                if args.query_id_or_name != "front" {
                    return Err(RpcError::from_text("Query not found"));
                }
                // Tells who asked in the instance's name.
                let nodes = vec![
                    instance("dc2", "web", &format!("for-{}", args.source.ip), "10.2.0.1", 81).0,
                    instance("dc2", "web", "second", "10.2.0.2", 82).0,
                ];
                Box::new(PreparedQueryExecuteResponse {
                    nodes,
                    datacenter: "dc2".to_owned(),
                    service: "web".to_owned(),
                    dns: QueryDnsOptions { ttl: "17s".to_owned() },
                    ..PreparedQueryExecuteResponse::default()
                })
            }
            other => panic!("unexpected call of {other}"),
        })
    }
}

impl RoadBackend for Catalog {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        async move {
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            self.answer(call)
        }
        .boxed()
    }
}

/// A face over a catalog.
pub fn face(config: Config, catalog: Catalog) -> Face {
    let road = Road::new(Arc::new(catalog));
    let cache = Arc::new(Cache::new(road.clone()));
    Face::new(Arc::new(ArcSwap::from_pointee(config)), road, cache, Arc::new(String::new))
}

/// A query message.
pub fn question(name: &str, qtype: Rtype, edns: Option<(u16, Option<ClientSubnet>)>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((&parse_name(name).unwrap(), qtype, Class::IN)).unwrap();
    let mut builder = builder.additional();
    if let Some((payload, subnet)) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(payload);
                subnet.map_or(Ok(()), |subnet| opt.push(&subnet))
            })
            .unwrap();
    }
    builder.finish()
}

/// An answer as a client reads it.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    pub rcode: String,
    pub flags: String,
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
    pub edns: Option<(u16, Option<ClientSubnet>)>,
    pub length: usize,
}

/// Reads an answer; records sorted.
pub fn read(bytes: &[u8]) -> Seen {
    let message = Message::from_octets(bytes).unwrap();
    let header = message.header();
    assert!(header.qr());
    let flags = [(header.aa(), "AA"), (header.tc(), "TC"), (header.rd(), "RD"), (header.ra(), "RA")];
    let flags: Vec<_> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    let section = |section: domain::base::message::RecordSection<'_, &[u8]>| {
        let mut all: Vec<String> = section
            .limit_to::<AllRecordData<&[u8], ParsedName<&[u8]>>>()
            .map(|record| record.unwrap())
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| {
                let text = match record.data() {
                    AllRecordData::Txt(txt) => {
                        format!("{:?}", String::from_utf8(txt.text::<Vec<u8>>()).unwrap())
                    }
                    AllRecordData::Srv(srv) => {
                        format!("{} {} {} {}", srv.priority(), srv.weight(), srv.port(), srv.target())
                    }
                    AllRecordData::Soa(soa) => {
                        format!("{} {} {}", soa.mname(), soa.rname(), soa.minimum().as_secs())
                    }
                    data => data.to_string().trim_end_matches('.').to_owned(),
                };
                format!("{} {} {} {text}", record.owner(), record.ttl().as_secs(), record.rtype())
            })
            .collect();
        all.sort();
        all
    };
    let edns = message.opt().map(|opt| {
        let subnet = opt.opt().iter::<ClientSubnet>().next().map(Result::unwrap);
        (opt.udp_payload_size(), subnet)
    });
    Seen {
        rcode: header.rcode().to_string(),
        flags: flags.join(" "),
        answer: section(message.answer().unwrap()),
        authority: section(message.authority().unwrap()),
        additional: section(message.additional().unwrap()),
        edns,
        length: bytes.len(),
    }
}

/// Who asks in tests.
pub fn client() -> SocketAddr {
    "127.29.1.9:4000".parse().unwrap()
}

/// Asks over a transport, without sockets.
pub async fn ask_by(face: &Face, name: &str, qtype: Rtype, transport: Transport) -> Seen {
    read(&face.answer(&question(name, qtype, None), client(), transport).await.unwrap())
}

/// Asks over UDP, without sockets.
pub async fn ask(face: &Face, name: &str, qtype: Rtype) -> Seen {
    ask_by(face, name, qtype, Transport::Udp).await
}

/// The negative answer of the zone.
pub fn negative(rcode: Rcode) -> Seen {
    Seen {
        rcode: rcode.to_string(),
        flags: "AA RD".to_owned(),
        authority: vec!["consul 0 SOA ns.consul hostmaster.consul 0".to_owned()],
        ..Seen::default()
    }
}

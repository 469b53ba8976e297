//! Commands by hand.
#![allow(dead_code)]

use bytes::Bytes;
use model::catalog::{DeregisterRequest, NodeService, RegisterRequest};
use model::health::HealthCheck;
use model::kv::{DirEntry, KvsRequest};
use model::ops::{KvVerb, SessionBehavior, SessionOp, SessionVerb};
use model::session::{Session, SessionRequest};
use model::txn::{TxnKvOp, TxnOp, TxnRequest, TxnResponse, TxnSessionOp};
use serde::Serialize;
use state::{Answer, Applied, Effect, Store, command};

pub fn encode<T: Serialize>(kind: u8, request: &T) -> Bytes {
    command::encode(kind, request).unwrap().into()
}

/// A store with the index of the last command.
pub struct Machine {
    pub store: Store,
    pub index: u64,
    pub effects: Vec<Effect>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { store: Store::new(), index: 9, effects: Vec::new() }
    }
}

impl Machine {
    pub fn raw(&mut self, command: Bytes) -> Answer {
        self.index += 1;
        let Applied { mut answers, effects } = self.store.apply_batch(&[(self.index, command)]);
        self.effects.extend(effects);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    pub fn run<T: Serialize>(&mut self, kind: u8, request: &T) -> Answer {
        self.raw(encode(kind, request))
    }

    pub fn register(&mut self, request: RegisterRequest) -> Answer {
        self.run(command::REGISTER, &request)
    }

    pub fn deregister(&mut self, node: &str, service: &str, check: &str) -> Answer {
        let request = DeregisterRequest {
            node: node.into(),
            service_id: service.into(),
            check_id: check.into(),
            ..Default::default()
        };
        self.run(command::DEREGISTER, &request)
    }

    pub fn kv(&mut self, op: KvVerb, entry: DirEntry) -> Answer {
        self.run(command::KVS, &KvsRequest { op, dir_ent: entry, ..Default::default() })
    }

    pub fn set(&mut self, key: &str, value: &str) -> u64 {
        assert_eq!(self.kv(KvVerb::Set, entry(key, value)), Answer::Nil);
        self.index
    }

    pub fn session(&mut self, session: Session) -> Answer {
        let request = SessionRequest { op: SessionOp::Create, session, ..Default::default() };
        self.run(command::SESSION, &request)
    }

    pub fn destroy(&mut self, id: &str) -> Answer {
        let session = Session { id: id.into(), ..Default::default() };
        self.run(command::SESSION, &SessionRequest { op: SessionOp::Destroy, session, ..Default::default() })
    }

    pub fn txn(&mut self, ops: Vec<TxnOp>) -> TxnResponse {
        match self.run(command::TXN, &TxnRequest { ops, ..Default::default() }) {
            Answer::Txn(response) => response,
            other => panic!("not a transaction's answer: {other:?}"),
        }
    }
}

pub fn entry(key: &str, value: &str) -> DirEntry {
    DirEntry { key: key.into(), value: value.as_bytes().into(), ..Default::default() }
}

pub fn node(name: &str) -> RegisterRequest {
    RegisterRequest {
        node: name.into(),
        address: format!("10.0.0.{}", name.len()),
        datacenter: "dc1".into(),
        ..Default::default()
    }
}

pub fn service(name: &str, id: &str) -> NodeService {
    NodeService { service: name.into(), id: id.into(), port: 80, ..Default::default() }
}

pub fn check(node: &str, id: &str, service: &str, status: &str) -> HealthCheck {
    HealthCheck {
        node: node.into(),
        check_id: id.into(),
        name: id.into(),
        service_id: service.into(),
        status: status.into(),
        ..Default::default()
    }
}

pub fn with_service(node_name: &str, instance: NodeService) -> RegisterRequest {
    RegisterRequest { service: Some(instance), ..node(node_name) }
}

pub fn with_check(check: HealthCheck) -> RegisterRequest {
    RegisterRequest { check: Some(check.clone()), skip_node_update: true, ..node(&check.node) }
}

pub fn session(id: &str, node: &str, behavior: SessionBehavior) -> Session {
    Session { id: id.into(), node: node.into(), behavior, ..Default::default() }
}

pub fn kv_op(verb: KvVerb, dir_ent: DirEntry) -> TxnOp {
    TxnOp { kv: Some(TxnKvOp { verb, dir_ent }), ..Default::default() }
}

pub fn session_op(id: &str) -> TxnOp {
    let session = Session { id: id.into(), ..Default::default() };
    TxnOp { session: Some(TxnSessionOp { session, verb: SessionVerb::Delete }), ..Default::default() }
}

//! Operations on the keyring of every member, carried by queries.

use super::keyring_file::key_to_text;
use super::layer::Layer;
use super::message::{KeyResponse, Message};
use std::collections::BTreeMap;

/// What is done to a keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOp {
    /// Add a key.
    Install,
    /// Make a known key the primary one.
    Use,
    /// Drop a key that is not the primary one.
    Remove,
    /// Tell the keys.
    List,
}

impl KeyOp {
    /// Name of the query carrying it.
    pub(super) fn query_name(self) -> &'static str {
        match self {
            KeyOp::Install => "_serf_install-key",
            KeyOp::Use => "_serf_use-key",
            KeyOp::Remove => "_serf_remove-key",
            KeyOp::List => "_serf_list-keys",
        }
    }

    pub(super) fn from_query_name(name: &str) -> Option<Self> {
        [KeyOp::Install, KeyOp::Use, KeyOp::Remove, KeyOp::List]
            .into_iter()
            .find(|op| op.query_name() == name)
    }
}

/// What the members answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Members asked.
    pub num_nodes: usize,
    /// Members that answered.
    pub num_resp: usize,
    /// Members that answered with an error.
    pub num_err: usize,
    /// Errors and remarks by member.
    pub messages: BTreeMap<String, String>,
    /// Keys (base64) and how many members have them.
    pub keys: BTreeMap<String, usize>,
    /// Primary keys (base64) and how many members use them.
    pub primary_keys: BTreeMap<String, usize>,
}

impl KeyReport {
    /// What went wrong, if anything.
    pub fn error(&self) -> Option<String> {
        if self.num_err != 0 {
            return Some(format!("{}/{} nodes reported failure", self.num_err, self.num_nodes));
        }
        if self.num_resp != self.num_nodes {
            return Some(format!("{}/{} nodes reported success", self.num_resp, self.num_nodes));
        }
        None
    }

    /// Whether everybody answered.
    pub(super) fn is_complete(&self) -> bool {
        self.num_resp >= self.num_nodes
    }

    pub(super) fn add(&mut self, from: &str, payload: &[u8]) {
        self.num_resp += 1;
        let answer = match KeyResponse::decode(payload) {
            Ok(answer) => answer,
            Err(error) => {
                self.num_err += 1;
                self.messages
                    .insert(from.to_owned(), format!("Failed to decode key query response: {error}"));
                return;
            }
        };
        if !answer.result {
            self.num_err += 1;
        }
        if !answer.message.is_empty() {
            self.messages.insert(from.to_owned(), answer.message);
        }
        for key in answer.keys.unwrap_or_default() {
            *self.keys.entry(key).or_default() += 1;
        }
        if !answer.primary_key.is_empty() {
            *self.primary_keys.entry(answer.primary_key).or_default() += 1;
        }
    }
}

impl Layer {
    /// The answer to a request for our keys, cut so that it fits into one response.
    pub fn list_keys_answer(&self, keys: &[Vec<u8>], room: usize) -> Option<Vec<u8>> {
        let texts: Vec<String> = keys.iter().map(|k| key_to_text(k)).collect();
        for shown in (0..=texts.len()).rev() {
            let answer = KeyResponse {
                keys: Some(texts[..shown].to_vec()),
                message: if shown == texts.len() {
                    String::new()
                } else {
                    format!("truncated key list response, showing first {shown} of {} keys", texts.len())
                },
                primary_key: texts.first().cloned().unwrap_or_default(),
                result: true,
            };
            match answer.encode() {
                Ok(bytes) if bytes.len() <= room => return Some(bytes),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "serf: Failed to encode key response");
                    return None;
                }
            }
        }
        None
    }
}

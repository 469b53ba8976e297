//! `meta.json`: the fields of the reference's snapshot directories, plus one of
//! our own for what the engine needs to resume exactly.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::SnapshotData;
use crate::types::alias::SnapshotMeta;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetaFile {
    #[serde(rename = "Version")]
    pub version: u64,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Index")]
    pub index: u64,
    #[serde(rename = "Term")]
    pub term: u64,
    #[serde(rename = "Peers", default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<String>,
    #[serde(rename = "Configuration", default)]
    pub configuration: Configuration,
    #[serde(rename = "ConfigurationIndex", default)]
    pub configuration_index: u64,
    #[serde(rename = "Size")]
    pub size: u64,
    /// Base64 of the big-endian CRC-64 of the state.
    #[serde(rename = "CRC", default)]
    pub crc: Option<String>,
    #[serde(rename = "Proconsul", default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    #[serde(rename = "Servers", default)]
    pub servers: Vec<Server>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// 0 voter, 1 nonvoter.
    #[serde(rename = "Suffrage")]
    pub suffrage: u8,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Address")]
    pub address: String,
}

/// What only this program writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Own {
    /// Index of the entry in the log; `Index` above is this plus `offset`.
    pub log_index: u64,
    pub offset: u64,
    /// Base64 of the msgpack form of the stored membership.
    pub membership: String,
}

impl MetaFile {
    pub fn new(id: String, meta: &SnapshotMeta, offset: u64, size: u64, crc: u64) -> io::Result<Self> {
        let (term, log_index) = meta.last_log_id.map_or((0, 0), |l| (l.leader_id.term, l.index));
        let membership = rmp_serde::to_vec_named(&meta.last_membership).map_err(io::Error::other)?;
        let voters: Vec<_> = meta.last_membership.voter_ids().collect();
        let servers = meta
            .last_membership
            .nodes()
            .map(|(id, peer)| Server {
                suffrage: u8::from(!voters.contains(id)),
                id: id.to_string(),
                address: peer.address.to_string(),
            })
            .collect();
        Ok(Self {
            version: 1,
            id,
            index: log_index + offset,
            term,
            peers: None,
            configuration: Configuration { servers },
            configuration_index: meta.last_membership.log_id().map_or(0, |l| l.index + offset),
            size,
            crc: Some(STANDARD.encode(crc.to_be_bytes())),
            own: Some(Own { log_index, offset, membership: STANDARD.encode(membership) }),
        })
    }

    /// The checksum, if the file names one.
    pub fn crc(&self) -> io::Result<Option<u64>> {
        let Some(text) = &self.crc else { return Ok(None) };
        let bytes = STANDARD.decode(text).map_err(invalid)?;
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| invalid("CRC is not 8 bytes"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// What the engine knew about the snapshot.
    ///
    /// # Errors
    /// When the directory was written by another program: its state can be
    /// restored, but its log and its membership are not ours.
    pub fn engine_meta(&self) -> io::Result<(SnapshotMeta, u64)> {
        let Some(own) = &self.own else {
            return Err(invalid("snapshot was written by another program"));
        };
        let membership = STANDARD.decode(&own.membership).map_err(invalid)?;
        let meta = SnapshotMeta {
            last_log_id: Some(crate::types::alias::log_id(self.term, own.log_index)),
            last_membership: rmp_serde::from_slice(&membership).map_err(invalid)?,
        };
        Ok((meta, own.offset))
    }

    pub fn matches(&self, data: &SnapshotData) -> bool {
        self.size == data.size
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

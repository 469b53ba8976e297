//! Writes that were acknowledged, to be found again.

use std::collections::BTreeMap;

use e2e::{Datacenter, Http, LONG, until};

/// Keys with the value of the last write that was acknowledged. Each key is written once.
#[derive(Default)]
pub struct Ledger {
    acknowledged: BTreeMap<String, String>,
    next: usize,
}

impl Ledger {
    /// Writes one more key; `Err` tells why it was not acknowledged.
    pub fn write(&mut self, http: &Http) -> Result<(), String> {
        self.next += 1;
        let (key, value) = (format!("ledger/{:06}", self.next), format!("value-{}", self.next).repeat(20));
        let answer = http.write(&format!("/v1/kv/{key}"), &value)?;
        if answer.trim() != "true" {
            return Err(format!("answered {answer}"));
        }
        self.acknowledged.insert(key, value);
        Ok(())
    }

    /// Tries until one is acknowledged.
    pub fn write_soon(&mut self, what: &str, http: &Http) {
        until(what, LONG, || self.write(http));
    }

    /// Every one of them is there, as a linearizable read through each server tells it.
    pub fn check(&self, dc: &Datacenter) {
        for server in dc.servers.iter().filter(|s| s.running()) {
            let rows = until("all keys are read", LONG, || {
                server
                    .http()
                    .json("/v1/kv/ledger/?recurse&consistent")
                    .map(|rows| rows.as_array().cloned().unwrap_or_default())
            });
            let found: BTreeMap<&str, &str> =
                rows.iter().filter_map(|row| Some((row["Key"].as_str()?, row["Value"].as_str()?))).collect();
            for (key, value) in &self.acknowledged {
                let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value);
                let there = found.get(key.as_str()).is_some_and(|found| *found == expected);
                assert!(there, "{key} was acknowledged and is not read through {}", server.spec.name);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }
}

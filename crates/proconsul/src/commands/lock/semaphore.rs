//! A lock for several: every contender owns `<prefix>/<session>`, and `<prefix>/.lock` lists those
//! who hold a slot. That list is only ever changed by check-and-set.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{LockError, WAIT, wait_until};
use crate::api::Api;

/// Marks keys that belong to a semaphore.
const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    session: String,
    #[serde(default)]
    value: Option<String>,
    modify_index: u64,
}

/// The list in `.lock`, reduced to holders that are alive.
#[derive(Debug, PartialEq, Eq)]
struct Slots {
    limit: u64,
    holders: BTreeSet<String>,
    /// For check-and-set; 0 if the list does not exist.
    modify_index: u64,
}

impl Slots {
    /// Reads the list out of everything under the prefix.
    fn read(entries: &[Entry], lock_key: &str, ours: u64) -> Result<Self, LockError> {
        let Some(lock) = entries.iter().find(|entry| entry.key == lock_key) else {
            return Ok(Self { limit: ours, holders: BTreeSet::new(), modify_index: 0 });
        };
        if lock.flags != FLAGS {
            return Err(LockError::OtherUse);
        }
        let bytes = BASE64_STANDARD
            .decode(lock.value.as_deref().unwrap_or_default())
            .map_err(|_| LockError::OtherUse)?;
        let list: Value = serde_json::from_slice(&bytes).map_err(|_| LockError::OtherUse)?;
        let stored = list["Limit"].as_u64().ok_or(LockError::OtherUse)?;
        if stored != ours {
            return Err(LockError::Limit { stored, ours });
        }
        let alive: BTreeSet<&str> =
            entries.iter().map(|entry| entry.session.as_str()).filter(|s| !s.is_empty()).collect();
        // A set, written as an object; a list is understood too.
        let listed: Vec<&str> = match &list["Holders"] {
            Value::Object(set) => set.keys().map(String::as_str).collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let holders = listed.into_iter().filter(|h| alive.contains(h)).map(str::to_owned).collect();
        Ok(Self { limit: stored, holders, modify_index: lock.modify_index })
    }

    fn to_json(&self) -> String {
        let holders: serde_json::Map<String, Value> =
            self.holders.iter().map(|holder| (holder.clone(), json!(true))).collect();
        json!({"Limit": self.limit, "Holders": holders}).to_string()
    }
}

pub(super) struct Semaphore<'a> {
    api: &'a Api,
    prefix: String,
    session: String,
    limit: u64,
    index: u64,
    announced: bool,
}

impl<'a> Semaphore<'a> {
    pub(super) fn new(api: &'a Api, prefix: &str, session: String, limit: u64) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self { api, prefix, session, limit, index: 0, announced: false }
    }

    fn lock_key(&self) -> String {
        format!("{}/.lock", self.prefix)
    }

    fn contender(&self) -> String {
        format!("/v1/kv/{}/{}", self.prefix, self.session)
    }

    async fn look(&mut self, wait: std::time::Duration) -> Result<Slots, LockError> {
        let mut request =
            self.api.get(format!("/v1/kv/{}/", self.prefix)).param("recurse", "").param("consistent", "");
        if self.index > 0 {
            request = request.param("index", self.index).param("wait", format!("{}ms", wait.as_millis()));
        }
        let (entries, index) = request.json_or_absent::<Vec<Entry>>().await?;
        self.index = if index < self.index { 0 } else { index };
        Slots::read(&entries.unwrap_or_default(), &self.lock_key(), self.limit)
    }

    /// Writes the list if nobody else did since it was read.
    async fn write(&self, slots: &Slots) -> Result<bool, LockError> {
        Ok(self
            .api
            .put(format!("/v1/kv/{}", self.lock_key()))
            .param("cas", slots.modify_index)
            .param("flags", FLAGS)
            .body(slots.to_json())
            .json()
            .await?)
    }

    pub(super) async fn acquire(&mut self, deadline: Option<Instant>) -> Result<bool, LockError> {
        let announced: bool = self
            .api
            .put(self.contender())
            .param("acquire", &self.session)
            .param("flags", FLAGS)
            .json()
            .await?;
        if !announced {
            return Err(LockError::Contender);
        }
        self.announced = true;
        loop {
            let Some(wait) = wait_until(deadline) else {
                return Ok(false);
            };
            let mut slots = self.look(wait).await?;
            if slots.holders.len() as u64 >= slots.limit {
                continue;
            }
            slots.holders.insert(self.session.clone());
            if self.write(&slots).await? {
                return Ok(true);
            }
            self.index = 0;
        }
    }

    pub(super) async fn still_held(&mut self) -> Result<bool, LockError> {
        Ok(self.look(WAIT).await?.holders.contains(&self.session))
    }

    pub(super) async fn release(&mut self) -> Result<(), LockError> {
        if !std::mem::take(&mut self.announced) {
            return Ok(());
        }
        loop {
            self.index = 0;
            let mut slots = match self.look(WAIT).await {
                Ok(slots) => slots,
                Err(LockError::Limit { .. } | LockError::OtherUse) => break,
                Err(error) => return Err(error),
            };
            if !slots.holders.remove(&self.session) {
                break;
            }
            if slots.holders.is_empty() {
                let gone: bool = self
                    .api
                    .delete(format!("/v1/kv/{}", self.lock_key()))
                    .param("cas", slots.modify_index)
                    .json()
                    .await?;
                if gone {
                    break;
                }
            } else if self.write(&slots).await? {
                break;
            }
        }
        self.api.delete(self.contender()).ok().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(list: &str) -> Vec<Entry> {
        let value = BASE64_STANDARD.encode(list);
        serde_json::from_value(json!([
            {"Key": "p/.lock", "Flags": FLAGS, "Value": value, "ModifyIndex": 9},
            {"Key": "p/a", "Flags": FLAGS, "Session": "a", "ModifyIndex": 1},
            {"Key": "p/b", "Flags": FLAGS, "Session": "b", "ModifyIndex": 2},
            {"Key": "p/dead", "Flags": FLAGS, "ModifyIndex": 3},
        ]))
        .unwrap()
    }

    #[test]
    fn dead_holders_do_not_count() {
        let slots =
            Slots::read(&entries(r#"{"Limit":2,"Holders":{"a":true,"dead":true}}"#), "p/.lock", 2).unwrap();
        assert_eq!(slots.holders, BTreeSet::from(["a".to_owned()]));
        assert_eq!(slots.modify_index, 9);
        assert_eq!(slots.to_json(), r#"{"Holders":{"a":true},"Limit":2}"#);
        let slots = Slots::read(&entries(r#"{"Limit":2,"Holders":["b"]}"#), "p/.lock", 2).unwrap();
        assert_eq!(slots.holders, BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn another_limit_or_another_use_is_refused() {
        let list = r#"{"Limit":2,"Holders":{}}"#;
        assert_eq!(
            Slots::read(&entries(list), "p/.lock", 3).unwrap_err().to_string(),
            "semaphore limit conflict (lock: 2, local: 3)"
        );
        let mut other = entries(list);
        other[0].flags = 0;
        assert!(matches!(Slots::read(&other, "p/.lock", 2), Err(LockError::OtherUse)));
        assert!(matches!(Slots::read(&entries("x"), "p/.lock", 2), Err(LockError::OtherUse)));
        assert_eq!(Slots::read(&[], "p/.lock", 4).unwrap().modify_index, 0);
    }
}

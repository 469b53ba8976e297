//! A lock for one: the key `<prefix>/.lock`, owned by the holder's session.

use serde::Deserialize;
use tokio::time::Instant;

use super::{LockError, RETRY, WAIT, wait_until};
use crate::api::Api;

/// Marks keys that are locks.
const FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    session: String,
    modify_index: u64,
}

pub(super) struct Mutex<'a> {
    api: &'a Api,
    key: String,
    session: String,
    index: u64,
    held: bool,
}

impl<'a> Mutex<'a> {
    pub(super) fn new(api: &'a Api, prefix: &str, session: String) -> Self {
        let prefix = prefix.trim_end_matches('/');
        Self { api, key: format!("/v1/kv/{prefix}/.lock"), session, index: 0, held: false }
    }

    async fn look(&mut self, wait: std::time::Duration) -> Result<Option<Entry>, LockError> {
        let mut request = self.api.get(&self.key).param("consistent", "");
        if self.index > 0 {
            request = request.param("index", self.index).param("wait", format!("{}ms", wait.as_millis()));
        }
        let (entries, index) = request.json_or_absent::<Vec<Entry>>().await?;
        self.index = if index < self.index { 0 } else { index };
        Ok(entries.unwrap_or_default().into_iter().next())
    }

    pub(super) async fn acquire(&mut self, deadline: Option<Instant>) -> Result<bool, LockError> {
        loop {
            let Some(wait) = wait_until(deadline) else {
                return Ok(false);
            };
            match self.look(wait).await? {
                Some(entry) if entry.flags != FLAGS => return Err(LockError::OtherUse),
                Some(entry) if entry.session == self.session => {
                    self.held = true;
                    return Ok(true);
                }
                Some(entry) if !entry.session.is_empty() => {}
                _free => {
                    let taken: bool = self
                        .api
                        .put(&self.key)
                        .param("acquire", &self.session)
                        .param("flags", FLAGS)
                        .body("lock")
                        .json()
                        .await?;
                    if taken {
                        self.held = true;
                        return Ok(true);
                    }
                    // Somebody was faster, or the servers hold the lock back after its holder was
                    // lost: no index tells when that is over.
                    self.index = 0;
                    let pause = wait_until(deadline).map_or(RETRY, |left| left.min(RETRY));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    pub(super) async fn still_held(&mut self) -> Result<bool, LockError> {
        let entry = self.look(WAIT).await?;
        Ok(entry.is_some_and(|entry| entry.session == self.session))
    }

    pub(super) async fn release(&mut self) -> Result<(), LockError> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        self.api.put(&self.key).param("release", &self.session).param("flags", FLAGS).ok().await?;
        self.index = 0;
        if let Some(entry) = self.look(WAIT).await?
            && entry.session.is_empty()
        {
            // Loses against anybody who took it meanwhile, as it should.
            self.api.delete(&self.key).param("cas", entry.modify_index).ok().await?;
        }
        Ok(())
    }
}

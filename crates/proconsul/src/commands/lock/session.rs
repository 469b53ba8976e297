//! The session behind a lock: created, kept alive while something goes on, destroyed.

use std::future::Future;
use std::time::Duration;

use serde_json::json;

use crate::api::{Api, ApiError};

/// Without a sign of life for this long, the servers drop the session and free its locks.
const TTL: &str = "15s";
const RENEW_EVERY: Duration = Duration::from_millis(7_500);
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Session<'a> {
    api: &'a Api,
    id: String,
}

impl<'a> Session<'a> {
    pub(super) async fn create(api: &'a Api, name: &str) -> Result<Self, ApiError> {
        let created: serde_json::Value =
            api.put("/v1/session/create").json_body(&json!({"Name": name, "TTL": TTL})).json().await?;
        Ok(Self { api, id: created["ID"].as_str().unwrap_or_default().to_owned() })
    }

    pub(super) fn id(&self) -> String {
        self.id.clone()
    }

    /// Does `work` and keeps the session alive meanwhile. A session that is gone is not renewed:
    /// whoever looks at the lock will see that it is lost.
    pub(super) async fn renewing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut pause = RENEW_EVERY;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(pause) => {}
            }
            let renewal = self.api.put(format!("/v1/session/renew/{}", self.id)).ok();
            pause = tokio::select! {
                done = &mut work => return done,
                renewed = renewal => if renewed.is_ok() { RENEW_EVERY } else { RETRY_AFTER },
            };
        }
    }

    /// Ends the session. If that fails, its TTL will end it.
    pub(super) async fn destroy(self) {
        let _ttl_will_end_it = self.api.put(format!("/v1/session/destroy/{}", self.id)).ok().await;
    }
}

//! Registrations on disk, in the folders and the form that the reference keeps them in:
//! `services/<md5 of id>`, `checks/<md5 of id>`, `checks/state/<md5 of id>`.
//!
//! Files are replaced whole, readable by their owner only. What cannot be read is passed over with
//! a warning: one damaged file does not cost the others.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::BuildHasher as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_api::ApiError;
use md5::{Digest as _, Md5};
use model::catalog::NodeService;
use model::definition::CheckType;
use model::health::HealthCheck;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Source;

/// No file of ours is larger; a check's output is the longest part.
const FILE_BYTES: u64 = 4 << 20;

/// A service as kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeptService {
    pub token: String,
    pub service: NodeService,
    /// `remote`, `local`, or empty in old files.
    pub source: String,
    pub locally_registered_as_sidecar: bool,
}

/// A check as kept; without a kind it is one of maintenance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeptCheck {
    pub check: HealthCheck,
    pub chk_type: Option<CheckType>,
    pub token: String,
    pub source: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct KeptState {
    #[serde(rename = "CheckID")]
    check_id: String,
    output: String,
    status: String,
    /// Seconds since 1970.
    expires: i64,
}

/// What the file of a TTL check says, in short.
#[derive(Clone, Copy, Debug)]
struct Told {
    digest: u64,
    expires: i64,
}

/// The folders below the data directory.
#[derive(Clone, Debug)]
pub struct Store {
    services: PathBuf,
    checks: PathBuf,
    states: PathBuf,
    told: Arc<Mutex<HashMap<String, Told>>>,
    hasher: RandomState,
}

impl Store {
    pub fn new(data_dir: PathBuf) -> Self {
        let checks = data_dir.join("checks");
        Self {
            services: data_dir.join("services"),
            states: checks.join("state"),
            checks,
            told: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    pub async fn put_service(
        &self,
        service: &NodeService,
        token: &str,
        source: Source,
    ) -> Result<(), ApiError> {
        let mut kept =
            json!({ "Token": token, "Service": service_json(service), "Source": source_name(source) });
        if service.locally_registered_as_sidecar {
            kept["LocallyRegisteredAsSidecar"] = Value::Bool(true);
        }
        self.write(&self.services, &service.id, kept, true).await
    }

    pub async fn put_check(
        &self,
        check: &HealthCheck,
        kind: Option<&CheckType>,
        token: &str,
        source: Source,
    ) -> Result<(), ApiError> {
        let kept = json!({
            "Check": check_json(check),
            "ChkType": kind.map(kind_json),
            "Token": token,
            "Source": source_name(source),
        });
        self.write(&self.checks, &check.check_id, kept, true).await
    }

    /// Notes what a TTL check was told, good until its time is over. The same again is written when half
    /// of that has passed: an application that feeds its check often does not make a file each time.
    pub async fn put_ttl_state(
        &self,
        id: &str,
        status: &str,
        output: &str,
        ttl: Duration,
    ) -> Result<(), ApiError> {
        let now = unix_now();
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(seconds);
        let digest = self.hasher.hash_one((status, output));
        if let Some(there) = self.told.lock().get(id)
            && there.digest == digest
            && there.expires <= expires
            && there.expires.saturating_sub(now) > seconds / 2
        {
            return Ok(());
        }
        let kept = json!({ "CheckID": id, "Output": output, "Status": status, "Expires": expires });
        // Worth little after a crash of the machine: such a check is fed again soon or expires.
        self.write(&self.states, id, kept, false).await?;
        self.told.lock().insert(id.to_owned(), Told { digest, expires });
        Ok(())
    }

    /// What a TTL check was told last, status and output, unless its time is over.
    pub async fn ttl_state(&self, id: &str) -> Option<(String, String)> {
        let path = self.states.join(file_name(id));
        let (path, read) = blocking(move || {
            let read = read_file::<KeptState>(&path);
            (path, read)
        })
        .await
        .ok()?;
        let state = match read {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(target: "agent", path = %path.display(), %error, "failed decoding check state");
                return None;
            }
        };
        if state.check_id != id || unix_now() >= state.expires {
            tracing::debug!(target: "agent", check = %id, "check state expired, not restoring");
            self.remove(&self.states, id).await.ok();
            return None;
        }
        Some((state.status, state.output))
    }

    pub async fn remove_service(&self, id: &str) -> Result<(), ApiError> {
        self.remove(&self.services, id).await
    }

    /// Forgets a check and what it was told.
    pub async fn remove_check(&self, id: &str) -> Result<(), ApiError> {
        self.told.lock().remove(id);
        self.remove(&self.checks, id).await?;
        self.remove(&self.states, id).await
    }

    pub async fn all_services(&self) -> Vec<KeptService> {
        self.all(&self.services).await
    }

    pub async fn all_checks(&self) -> Vec<KeptCheck> {
        self.all(&self.checks).await
    }

    async fn all<T: DeserializeOwned + Send + 'static>(&self, folder: &Path) -> Vec<T> {
        let folder = folder.to_owned();
        blocking(move || read_folder(&folder)).await.unwrap_or_default()
    }

    async fn write(&self, folder: &Path, id: &str, kept: Value, durable: bool) -> Result<(), ApiError> {
        let (folder, name) = (folder.to_owned(), file_name(id));
        let shown = folder.join(&name);
        blocking(move || write_file(&folder, &name, kept.to_string().as_bytes(), durable)).await?.map_err(
            |error| ApiError::internal(format!("failed to persist {id:?} at {}: {error}", shown.display())),
        )
    }

    async fn remove(&self, folder: &Path, id: &str) -> Result<(), ApiError> {
        let path = folder.join(file_name(id));
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ApiError::internal(format!("failed to remove {}: {error}", path.display())))
            }
            _ => Ok(()),
        })
        .await?
    }
}

/// Files are small, but disks can be slow: not on the threads that answer requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(error.to_string()))
}

fn file_name(id: &str) -> String {
    use std::fmt::Write as _;
    Md5::digest(id.as_bytes()).iter().fold(String::with_capacity(32), |mut name, byte| {
        // Writing to a String does not fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Local => "local",
        Source::Remote => "remote",
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn write_file(folder: &Path, name: &str, content: &[u8], durable: bool) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, folder.join(name))
}

fn read_folder<T: DeserializeOwned>(folder: &Path) -> Vec<T> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(target: "agent", path = %folder.display(), %error, "failed reading folder");
            }
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            continue;
        }
        // Left by a write that a crash ended.
        if path.extension().is_some_and(|extension| extension == "tmp") {
            tracing::warn!(target: "agent", path = %path.display(), "ignoring temporary file");
            continue;
        }
        match read_file(&path) {
            Ok(kept) => all.push(kept),
            Err(error) => {
                tracing::error!(target: "agent", path = %path.display(), %error, "failed decoding file");
            }
        }
    }
    all
}

fn read_file<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Err(io::Error::other("file is too large"));
    }
    let mut value: Value = serde_json::from_slice(&fs::read(path)?)?;
    drop_nulls(&mut value);
    Ok(serde_json::from_value(value)?)
}

/// `null` stands for whatever is empty.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Leaves out what is empty, for the parts whose empty fields the reference leaves out.
fn compact(value: &mut Value) {
    if let Value::Object(object) = value {
        object.values_mut().for_each(compact);
        object.retain(|_, value| match value {
            Value::Null => false,
            Value::Bool(set) => *set,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty() && text != "0s",
            Value::Array(list) => !list.is_empty(),
            Value::Object(object) => !object.is_empty(),
        });
    }
}

fn service_json(service: &NodeService) -> Value {
    let mut value = serde_json::to_value(service).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        object.remove("LocallyRegisteredAsSidecar");
        for part in ["Proxy", "Connect"] {
            if let Some(part) = object.get_mut(part) {
                compact(part);
            }
        }
        for part in ["Kind", "TaggedAddresses"] {
            if object.get(part).is_some_and(|value| value == "" || *value == json!({})) {
                object.remove(part);
            }
        }
    }
    value
}

fn check_json(check: &HealthCheck) -> Value {
    let mut value = serde_json::to_value(check).unwrap_or_default();
    if let Some(definition) = value.get_mut("Definition") {
        compact(definition);
    }
    value
}

/// With durations as nanoseconds.
fn kind_json(kind: &CheckType) -> Value {
    let mut value = serde_json::to_value(kind).unwrap_or_default();
    for (name, duration) in [
        ("Interval", kind.interval),
        ("Timeout", kind.timeout),
        ("TTL", kind.ttl),
        ("DeregisterCriticalServiceAfter", kind.deregister_critical_service_after),
    ] {
        value[name] = json!(duration.0);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::definition::ConnectProxyConfig;
    use model::duration::GoDuration;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_was_kept_comes_back() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(temp.path().to_owned());
        let service = NodeService {
            id: "web".into(),
            service: "web".into(),
            tags: vec!["a".into()],
            proxy: ConnectProxyConfig { destination_service_name: "x".into(), ..Default::default() },
            locally_registered_as_sidecar: true,
            ..NodeService::default()
        };
        let check = HealthCheck { check_id: "c".into(), status: "passing".into(), ..HealthCheck::default() };
        let kind = CheckType { ttl: GoDuration::from_secs(5), ..CheckType::default() };
        store.put_service(&service, "secret", Source::Remote).await.unwrap();
        store.put_check(&check, Some(&kind), "", Source::Remote).await.unwrap();
        store
            .put_check(
                &HealthCheck { check_id: "m".into(), ..HealthCheck::default() },
                None,
                "",
                Source::Local,
            )
            .await
            .unwrap();

        let path = temp.path().join("services/2567a5ec9705eb7ac2c984033e06189d");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let kept = store.all_services().await.remove(0);
        assert!(kept.locally_registered_as_sidecar);
        assert_eq!((kept.token.as_str(), kept.source.as_str()), ("secret", "remote"));
        assert_eq!(NodeService { locally_registered_as_sidecar: true, ..kept.service }, service);

        let mut checks = store.all_checks().await;
        checks.sort_by(|a, b| a.check.check_id.cmp(&b.check.check_id));
        assert_eq!((&checks[0].check, checks[0].chk_type.as_ref()), (&check, Some(&kind)));
        assert!(checks[1].chk_type.is_none());

        store.remove_service("web").await.unwrap();
        store.remove_service("web").await.unwrap();
        assert!(store.all_services().await.is_empty());
    }

    #[tokio::test]
    async fn files_of_the_reference_are_read_and_damaged_ones_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(temp.path().to_owned());
        fs::create_dir_all(temp.path().join("checks/state")).unwrap();
        let text = r#"{"Check":{"Node":"n","CheckID":"kc","Name":"x","Status":"critical","Notes":"","Output":"",
            "ServiceID":"keep","ServiceName":"keep","ServiceTags":null,"Type":"ttl","Definition":{},"CreateIndex":0,
            "ModifyIndex":0},"ChkType":{"CheckID":"kc","ScriptArgs":null,"Header":null,"Interval":0,
            "TTL":600000000000,"OutputMaxSize":4096},"Token":"","Source":"remote"}"#;
        fs::write(temp.path().join("checks/a"), text).unwrap();
        fs::write(temp.path().join("checks/b"), "{").unwrap();
        fs::write(temp.path().join("checks/c.tmp"), "{}").unwrap();
        let all = store.all_checks().await;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].chk_type.as_ref().unwrap().ttl, GoDuration::from_secs(600));
    }

    #[tokio::test]
    async fn a_ttl_state_lasts_as_long_as_its_ttl() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(temp.path().to_owned());
        store.put_ttl_state("c", "passing", "fine", Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.ttl_state("c").await, Some(("passing".into(), "fine".into())));
        store.put_ttl_state("c", "passing", "late", Duration::ZERO).await.unwrap();
        assert_eq!(store.ttl_state("c").await, None);
        assert_eq!(store.ttl_state("none").await, None);
    }

    #[tokio::test]
    async fn the_same_again_is_not_written_again_so_soon() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(temp.path().to_owned());
        let minute = Duration::from_secs(60);
        let file = temp.path().join("checks/state").join(file_name("c"));
        let put = async |output: &str, ttl| store.put_ttl_state("c", "passing", output, ttl).await.unwrap();
        put("fine", minute).await;
        fs::remove_file(&file).unwrap();
        put("fine", minute).await;
        assert!(!file.exists(), "nothing is new");
        put("better", minute).await;
        assert!(file.exists(), "the output is new");
        fs::remove_file(&file).unwrap();
        // Less than half of the time is left then.
        put("better", 4 * minute).await;
        assert!(file.exists());
        store.remove_check("c").await.unwrap();
        put("better", minute).await;
        assert!(file.exists(), "what was known is gone with the check");
    }
}

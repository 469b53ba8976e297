//! What a definition probes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_client::{ClientConfig, TlsOptions, client_config};
use model::definition::CheckType;

use super::docker::Docker;
use super::grpc::Grpc;
use super::http::Http;
use super::{Outcome, script, tcp};

/// How long a script may take unless its definition says.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long everything else may take, unless the definition says or the interval is shorter.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No check is probed more often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// TLS settings for probes, read when first needed and shared by all.
pub struct Tls {
    options: TlsOptions,
    verifying: OnceLock<Result<Arc<ClientConfig>, String>>,
    trusting: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// With the agent's certificates, if its checks are to show them.
    pub fn new(options: TlsOptions) -> Self {
        Self { options, verifying: OnceLock::new(), trusting: OnceLock::new() }
    }

    /// The settings; `skip_verify` takes any certificate.
    pub fn config(&self, skip_verify: bool) -> Result<Arc<ClientConfig>, String> {
        let slot = if skip_verify { &self.trusting } else { &self.verifying };
        slot.get_or_init(|| {
            let options = TlsOptions { skip_verify, ..self.options.clone() };
            client_config(&options).map_err(|error| error.to_string())
        })
        .clone()
    }
}

/// One way to find out how something is.
pub enum Probe {
    /// Run a program.
    Script {
        /// Program and arguments.
        args: Vec<String>,
        /// Until then.
        timeout: Duration,
        /// Bytes of output to keep.
        output_max: usize,
    },
    /// Connect.
    Tcp {
        /// `host:port`.
        address: String,
        /// Until then.
        timeout: Duration,
    },
    /// Make a request.
    Http(Box<Http>),
    /// Ask the health service.
    Grpc(Box<Grpc>),
    /// Run a program in a container.
    Docker(Docker),
}

impl Probe {
    /// What a definition probes; `None` for kinds that do not probe.
    pub fn new(kind: &CheckType, tls: &Tls, output_max: usize) -> Option<Self> {
        let given = (kind.timeout.0 > 0).then(|| kind.timeout.to_std());
        let timeout = given.unwrap_or_else(|| interval(kind).min(TIMEOUT));
        if !kind.grpc.is_empty() {
            let timeout = given.unwrap_or(TIMEOUT);
            return Some(Self::Grpc(Box::new(Grpc::new(kind, tls, timeout))));
        }
        if !kind.http.is_empty() {
            return Some(Self::Http(Box::new(Http::new(kind, tls, timeout, output_max))));
        }
        if !kind.tcp.is_empty() {
            return Some(Self::Tcp { address: kind.tcp.clone(), timeout });
        }
        let timeout = given.unwrap_or(SCRIPT_TIMEOUT);
        if !kind.docker_container_id.is_empty() && !kind.script_args.is_empty() {
            return Some(Self::Docker(Docker::new(kind, timeout, output_max)));
        }
        (!kind.script_args.is_empty()).then(|| Self::Script {
            args: kind.script_args.clone(),
            timeout,
            output_max,
        })
    }

    /// Whether it runs programs of this machine.
    pub fn is_script(&self) -> bool {
        matches!(self, Self::Script { .. })
    }

    /// Finds out.
    pub async fn run(&self) -> Outcome {
        match self {
            Self::Script { args, timeout, output_max } => script::probe(args, *timeout, *output_max).await,
            Self::Tcp { address, timeout } => tcp::probe(address, *timeout).await,
            Self::Http(http) => http.probe().await,
            Self::Grpc(grpc) => grpc.probe().await,
            Self::Docker(docker) => docker.probe().await,
        }
    }
}

/// Time between probes.
pub fn interval(kind: &CheckType) -> Duration {
    kind.interval.to_std().max(MIN_INTERVAL)
}

//! Handlers: a program, or an HTTP request.

use std::ops::ControlFlow;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use http_client::{Method, Request, Target, TlsOptions, Transport};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::params::Params;
use crate::{Change, Handler, PlanError};

/// How much of a program's output or of a response is kept for the log.
const KEPT_OUTPUT: usize = 4 * 1024;

/// A handler as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerSpec {
    /// Run a program.
    Script(Script),
    /// Send a request.
    Http(HttpHandler),
}

/// A program that gets the data on its standard input and the index in `CONSUL_INDEX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// A program and its arguments.
    Args(Vec<String>),
    /// A line for the shell (`$SHELL`, or `/bin/sh`).
    Shell(String),
}

/// An HTTP request with the data as its body and the index in `X-Consul-Index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHandler {
    /// The URL.
    pub path: String,
    /// The method; POST unless configured.
    pub method: String,
    /// The limit of the whole exchange; 10 s unless configured.
    pub timeout: Duration,
    /// Additional headers.
    pub header: Vec<(String, String)>,
    /// Accept any certificate.
    pub tls_skip_verify: bool,
}

/// Where a program's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptOutput {
    /// To this process's own output.
    Inherit,
    /// Into the error or the log, the first few kilobytes of it.
    Capture,
}

/// Why a handler failed.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// An empty command.
    #[error("no command to run")]
    NoCommand,
    /// The program could not be started or waited for.
    #[error("{}", model::process::not_started(.0, .1))]
    Start(String, std::io::Error),
    /// The program reported a failure.
    #[error("{}", model::process::ended(*.0))]
    Exit(std::process::ExitStatus),
    /// The request failed.
    #[error(transparent)]
    Http(#[from] http_client::Error),
    /// The response is not 2xx.
    #[error("unexpected response code: {0}")]
    Status(u16),
}

impl HandlerSpec {
    /// Takes `handler`, `args`, `handler_type` and `http_handler_config` out of the parameters.
    pub(crate) fn take(params: &mut Params) -> Result<Option<Self>, PlanError> {
        let shell = params.text("handler")?.filter(|h| !h.is_empty());
        let args = params
            .list("args")
            .map_err(|_| PlanError::Handler("Watch args must be a list of strings".to_owned()))?;
        let handler_type = params.text("handler_type")?.filter(|t| !t.is_empty());
        let http = params.0.remove("http_handler_config").filter(|c| !c.is_null());
        let mut found = Vec::new();
        found.extend(shell.map(|line| Self::Script(Script::Shell(line))));
        if !args.is_empty() {
            found.push(Self::Script(Script::Args(args)));
        }
        match handler_type.as_deref() {
            Some("http") => {
                let config = http.ok_or_else(|| {
                    PlanError::Handler("Handler type 'http' requires 'http_handler_config' to be set".into())
                })?;
                found.push(Self::Http(HttpHandler::parse(config)?));
            }
            Some("script") | None => {}
            Some(other) => {
                return Err(PlanError::Handler(format!("Handler type '{other}' not recognized")));
            }
        }
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.pop()),
            _ => Err(PlanError::ManyHandlers),
        }
    }
}

impl HttpHandler {
    fn parse(config: Value) -> Result<Self, PlanError> {
        // HCL writes a block as a list of one.
        let config = match config {
            Value::Array(mut list) if list.len() == 1 => list.swap_remove(0),
            other => other,
        };
        let Value::Object(config) = config else {
            return Err(PlanError::Type("http_handler_config", "an object"));
        };
        let mut params = Params(config);
        let path = params
            .text("path")?
            .filter(|p| !p.is_empty())
            .ok_or_else(|| PlanError::Handler("Requires 'path' to be set".to_owned()))?;
        let method = params.text("method")?.filter(|m| !m.is_empty()).unwrap_or_else(|| "POST".to_owned());
        let timeout = match params.text("timeout")? {
            None => Duration::from_secs(10),
            Some(text) => {
                parse_duration(&text).ok_or(PlanError::Type("timeout", "a duration such as \"10s\""))?
            }
        };
        let mut header = Vec::new();
        match params.0.remove("header") {
            None | Some(Value::Null) => {}
            Some(headers) => {
                let headers = match headers {
                    Value::Array(mut list) if list.len() == 1 => list.swap_remove(0),
                    other => other,
                };
                let Value::Object(headers) = headers else {
                    return Err(PlanError::Type("header", "an object of lists of strings"));
                };
                for (name, values) in headers {
                    let values = match values {
                        Value::Array(values) => values,
                        one => vec![one],
                    };
                    for value in values {
                        let Value::String(value) = value else {
                            return Err(PlanError::Type("header", "an object of lists of strings"));
                        };
                        header.push((name.clone(), value));
                    }
                }
            }
        }
        let tls_skip_verify = params.flag("tls_skip_verify")?.unwrap_or(false);
        if !params.0.is_empty() {
            return Err(PlanError::Unknown(params.0.into_iter().map(|(name, _)| name).collect()));
        }
        Ok(Self { path, method, timeout, header, tls_skip_verify })
    }

    /// Sends one change.
    ///
    /// # Errors
    /// No response in time, or one that is not 2xx.
    pub async fn call(&self, change: &Change) -> Result<(), HandlerError> {
        let exchange = async {
            let target = Target::parse(&self.path, None)?;
            let tls = TlsOptions { skip_verify: self.tls_skip_verify, ..TlsOptions::default() };
            let mut request = Request::builder()
                .method(Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::POST))
                .uri(&target.path)
                .header("Content-Type", "application/json")
                .header("X-Consul-Index", change.index);
            for (name, value) in &self.header {
                request = request.header(name, value);
            }
            let request =
                request.body(http_client::full(payload(change))).map_err(http_client::Error::from)?;
            let transport = Transport::new(target, &tls, None)?;
            let status = transport.send(request).await?.status();
            if status.is_success() { Ok(()) } else { Err(HandlerError::Status(status.as_u16())) }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(http_client::Error::Timeout(self.timeout).into()),
        }
    }
}

impl Script {
    /// Runs the program with one change and waits for its end. Returns its captured output.
    ///
    /// # Errors
    /// It cannot be started, or ends with another status than 0.
    pub async fn call(&self, change: &Change, output: ScriptOutput) -> Result<String, HandlerError> {
        let (program, args) = match self {
            Self::Args(args) => {
                let (program, args) = args.split_first().ok_or(HandlerError::NoCommand)?;
                (program.clone(), args.to_vec())
            }
            Self::Shell(line) => (
                std::env::var("SHELL").ok().filter(|s| !s.is_empty()).unwrap_or_else(|| "/bin/sh".to_owned()),
                vec!["-c".to_owned(), line.clone()],
            ),
        };
        let captured = || match output {
            ScriptOutput::Inherit => Stdio::inherit(),
            ScriptOutput::Capture => Stdio::piped(),
        };
        let failed = |e| HandlerError::Start(program.clone(), e);
        let mut child = tokio::process::Command::new(&program)
            .args(args)
            .env("CONSUL_INDEX", change.index.to_string())
            .stdin(Stdio::piped())
            .stdout(captured())
            .stderr(captured())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input closes it early: its exit status counts.
                let _closed_early = stdin.write_all(&payload(change)).await;
            }
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ((), out, err, status) = tokio::join!(feed, keep(stdout), keep(stderr), child.wait());
        let status = status.map_err(failed)?;
        if status.success() { Ok(out + &err) } else { Err(HandlerError::Exit(status)) }
    }
}

/// Reads everything, keeps the beginning.
async fn keep(source: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut source) = source else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = source.read(&mut buffer).await {
        let room = KEPT_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn payload(change: &Change) -> Vec<u8> {
    let mut json = change.value.to_string().into_bytes();
    json.push(b'\n');
    json
}

/// The handler of a watch in an agent's configuration: failures are logged and the watch goes on.
#[derive(Debug)]
pub struct AgentHandler(pub HandlerSpec);

#[async_trait]
impl Handler for AgentHandler {
    async fn changed(&mut self, change: Change) -> ControlFlow<()> {
        let result = match &self.0 {
            HandlerSpec::Script(script) => script.call(&change, ScriptOutput::Capture).await,
            HandlerSpec::Http(http) => http.call(&change).await.map(|()| String::new()),
        };
        match result {
            Ok(output) => tracing::debug!(index = change.index, %output, "watch handler done"),
            Err(error) => tracing::error!(index = change.index, %error, "watch handler failed"),
        }
        ControlFlow::Continue(())
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let parsed = model::duration::parse_go(text).ok()?;
    (parsed.0 > 0).then(|| parsed.to_std())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Plan;

    fn spec(params: Value) -> Result<Option<HandlerSpec>, String> {
        let mut params = params.as_object().unwrap().clone();
        params.insert("type".into(), "nodes".into());
        Plan::parse(params).map(|plan| plan.handler).map_err(|e| e.to_string())
    }

    #[test]
    fn handlers_as_configured() {
        assert_eq!(
            spec(json!({"handler": "cat"})),
            Ok(Some(HandlerSpec::Script(Script::Shell("cat".into()))))
        );
        assert_eq!(
            spec(json!({"args": ["cat", "-n"], "handler_type": "script"})),
            Ok(Some(HandlerSpec::Script(Script::Args(vec!["cat".into(), "-n".into()]))))
        );
        assert_eq!(
            spec(json!({"handler_type": "http", "http_handler_config":
                {"path": "http://x/h", "method": "PUT", "timeout": "5s", "header": {"X-A": ["1", "2"]}}})),
            Ok(Some(HandlerSpec::Http(HttpHandler {
                path: "http://x/h".into(),
                method: "PUT".into(),
                timeout: Duration::from_secs(5),
                header: vec![("X-A".into(), "1".into()), ("X-A".into(), "2".into())],
                tls_skip_verify: false,
            })))
        );
        assert!(spec(json!({"handler": "a", "args": ["b"]})).is_err());
        assert!(spec(json!({"handler_type": "http"})).is_err());
        assert!(spec(json!({"handler_type": "smoke"})).is_err());
        assert_eq!(
            spec(json!({"handler_type": "http", "http_handler_config": {"path": "x", "timeout": "soon"}})),
            Err("Invalid value for timeout: expecting a duration such as \"10s\"".into())
        );
    }

    fn change() -> Change {
        Change { index: 42, value: json!({"a": 1}) }
    }

    #[tokio::test]
    async fn a_program_gets_data_and_index() {
        let script = Script::Args(vec!["/bin/sh".into(), "-c".into(), "cat; echo $CONSUL_INDEX >&2".into()]);
        let output = script.call(&change(), ScriptOutput::Capture).await.unwrap();
        assert_eq!(output, "{\"a\":1}\n42\n");
    }

    #[tokio::test]
    async fn a_failing_program_is_an_error_even_if_it_reads_nothing() {
        let big = Change { index: 1, value: json!("x".repeat(1 << 20)) };
        let script = Script::Args(vec!["/bin/sh".into(), "-c".into(), "exit 3".into()]);
        let error = script.call(&big, ScriptOutput::Capture).await.unwrap_err();
        assert!(matches!(error, HandlerError::Exit(status) if status.code() == Some(3)));
        let missing = Script::Args(vec!["/no/such/program".into()]);
        assert!(matches!(missing.call(&big, ScriptOutput::Capture).await, Err(HandlerError::Start(..))));
    }

    #[tokio::test]
    async fn an_http_handler_sends_data_index_and_headers() {
        use http_body_util::BodyExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (tx, mut rx) = tokio::sync::mpsc::channel(1);
            let service =
                hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let tx = tx.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        tx.send((head, body)).await.unwrap();
                        let mut response = hyper::Response::new(http_client::empty());
                        *response.status_mut() = hyper::StatusCode::ACCEPTED;
                        Ok::<_, std::convert::Infallible>(response)
                    }
                });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await
                .unwrap();
            rx.recv().await.unwrap()
        });
        let handler = HttpHandler {
            path: format!("http://{address}/hook?x=1"),
            method: "PUT".into(),
            timeout: Duration::from_secs(5),
            header: vec![("X-Mine".into(), "v".into())],
            tls_skip_verify: false,
        };
        handler.call(&change()).await.unwrap();
        let (head, body) = server.await.unwrap();
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("PUT", "/hook?x=1"));
        assert_eq!(head.headers["X-Mine"], "v");
        assert_eq!(head.headers["X-Consul-Index"], "42");
        assert_eq!(head.headers["Content-Type"], "application/json");
        assert_eq!(&body[..], b"{\"a\":1}\n");
    }
}

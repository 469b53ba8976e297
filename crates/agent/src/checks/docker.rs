//! Docker: a program run inside a container, through the engine's API.

use std::time::Duration;

use http_body_util::BodyExt as _;
use http_client::header::{CONTENT_TYPE, HeaderValue};
use http_client::{Method, Request, StatusCode, Target, TlsOptions, Transport, full};
use model::definition::CheckType;
use model::duration::GoDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::Tail;
use super::{Outcome, WARNING};

/// Where the engine listens unless the environment says.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Answers of the engine are small.
const MAX_ANSWER: usize = 1 << 20;

/// A program in a container.
pub struct Docker {
    container: String,
    command: Vec<String>,
    engine: Result<Transport, String>,
    timeout: Duration,
    output_max: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    exit_code: Option<i64>,
}

impl Docker {
    /// The definition's arguments, through its shell if it names one.
    pub fn new(kind: &CheckType, timeout: Duration, output_max: usize) -> Self {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        Self::at(host.as_deref().unwrap_or(DEFAULT_HOST), kind, timeout, output_max)
    }

    fn at(host: &str, kind: &CheckType, timeout: Duration, output_max: usize) -> Self {
        let command = if kind.shell.is_empty() {
            kind.script_args.clone()
        } else {
            vec![kind.shell.clone(), "-c".to_owned(), kind.script_args.join(" ")]
        };
        let engine = Target::parse(host, Some(2375))
            .and_then(|target| Transport::new(target, &TlsOptions::default(), None))
            .map_err(|error| error.to_string());
        Self { container: kind.docker_container_id.clone(), command, engine, timeout, output_max }
    }

    /// Runs it: exit code 0 is passing, 1 warning, everything else critical.
    pub async fn probe(&self) -> Outcome {
        match tokio::time::timeout(self.timeout, self.exec()).await {
            Ok(Ok((0, output))) => Outcome::passing(output),
            Ok(Ok((1, output))) => Outcome { status: WARNING, output },
            Ok(Ok((_, output))) => Outcome::critical(output),
            Ok(Err(reason)) => Outcome::critical(reason),
            Err(_) => {
                Outcome::critical(format!("Timed out ({}) running check", GoDuration::from(self.timeout)))
            }
        }
    }

    async fn exec(&self) -> Result<(i64, String), String> {
        let engine = self.engine.as_ref().map_err(Clone::clone)?;
        let create = json!({ "AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": self.command });
        let path = format!("/containers/{}/exec", escape(&self.container));
        let created: Created = answer(engine, Method::POST, &path, Some(&create), StatusCode::CREATED)
            .await
            .map_err(|reason| format!("Unable to create Exec, Error: {reason}"))?;

        let id = escape(&created.id);
        let request = request(
            Method::POST,
            &format!("/exec/{id}/start"),
            Some(&json!({ "Detach": false, "Tty": true })),
        )?;
        let (head, mut body) =
            engine.send(request).await.map_err(|e| format!("Unable to start Exec: {e}"))?.into_parts();
        let mut tail = Tail::new(self.output_max);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("Unable to start Exec: {error}"))?;
            if let Some(data) = frame.data_ref() {
                tail.write(data);
            }
        }
        if !head.status.is_success() {
            return Err(format!("Unable to start Exec: {} {}", head.status, tail.text()));
        }
        let inspected: Inspected =
            answer(engine, Method::GET, &format!("/exec/{id}/json"), None, StatusCode::OK)
                .await
                .map_err(|reason| format!("Unable to inspect Exec: {reason}"))?;
        let code = inspected.exit_code.ok_or("Unable to inspect Exec: it has no exit code")?;
        Ok((code, tail.remarked()))
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Result<Request<http_client::Body>, String> {
    let content = body.map_or_else(http_client::empty, |body| full(body.to_string()));
    let mut request = Request::new(content);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| format!("invalid path: {error}"))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request)
}

async fn answer<T: serde::de::DeserializeOwned>(
    engine: &Transport,
    method: Method,
    path: &str,
    body: Option<&Value>,
    expected: StatusCode,
) -> Result<T, String> {
    let response =
        engine.fetch(request(method, path, body)?, MAX_ANSWER).await.map_err(|error| error.to_string())?;
    if response.status() != expected {
        let said = String::from_utf8_lossy(response.body());
        return Err(format!("{}: {}", response.status(), said.trim()));
    }
    serde_json::from_slice(response.body()).map_err(|error| error.to_string())
}

/// A name as one part of a path.
fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Response;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixListener;

    use super::*;

    /// An engine with one container, whose program ends with the code in its first argument.
    fn engine(path: &std::path::Path) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (status, text) = match path.as_str() {
                        "/containers/box/exec" => {
                            let asked: Value = serde_json::from_slice(&body).unwrap();
                            (201, format!(r#"{{"Id":"{}"}}"#, asked["Cmd"][0].as_str().unwrap()))
                        }
                        "/containers/none/exec" => {
                            (404, r#"{"message":"No such container: none"}"#.to_owned())
                        }
                        _ if path.ends_with("/start") => (200, "said".to_owned()),
                        _ => {
                            let code = path.trim_start_matches("/exec/").trim_end_matches("/json");
                            (200, format!(r#"{{"ExitCode":{code},"Running":false}}"#))
                        }
                    };
                    let body = Full::new(Bytes::from(text));
                    Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    async fn probe(host: &str, container: &str, code: &str) -> Outcome {
        let kind = CheckType {
            docker_container_id: container.into(),
            script_args: vec![code.into()],
            ..CheckType::default()
        };
        Docker::at(host, &kind, Duration::from_secs(5), 100).probe().await
    }

    #[tokio::test]
    async fn exit_codes_in_a_container_decide() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("d.sock");
        engine(&socket);
        let host = format!("unix://{}", socket.display());
        for (code, status) in [("0", "passing"), ("1", "warning"), ("9", "critical")] {
            let outcome = probe(&host, "box", code).await;
            assert_eq!((outcome.status, outcome.output.as_str()), (status, "said"));
        }
        let outcome = probe(&host, "none", "0").await;
        assert_eq!(outcome.status, "critical");
        assert!(outcome.output.contains("No such container: none"), "{}", outcome.output);
        let outcome = probe("unix:///no/such/socket", "box", "0").await;
        assert!(outcome.output.contains("dial unix /no/such/socket"), "{}", outcome.output);
    }
}

//! HTTP: what a server answers to a request.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_client::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderName, LOCATION, USER_AGENT};
use http_client::{Error, HeaderMap, Method, Request, Scheme, StatusCode, Target, Transport, empty, full};
use hyper::ext::ReasonPhrase;
use hyper::header::HeaderValue;
use model::definition::CheckType;

use super::Outcome;
use super::output::Tail;
use super::probe::Tls;

/// What a probe says it is.
const AGENT: &str = "Consul Health Check";
/// What a probe likes to get.
const ACCEPTED: &str = "text/plain, text/*, */*";
/// A chain of more redirects leads nowhere.
const MAX_REDIRECTS: usize = 10;

/// A request that is made again and again, each time over a connection of its own.
pub struct Http {
    url: String,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    /// Settings for where redirects lead, and the first transport.
    tls: TlsChoice,
    first: Result<Transport, String>,
    timeout: Duration,
    output_max: usize,
}

/// TLS settings, if any will ever be needed.
#[derive(Clone)]
struct TlsChoice(Result<std::sync::Arc<http_client::ClientConfig>, String>);

/// What came of one request.
enum Step {
    Done(Outcome),
    Redirect(StatusCode, String),
}

impl Http {
    /// A request as defined. What is wrong with it is the outcome of its probes.
    pub fn new(kind: &CheckType, tls: &Tls, timeout: Duration, output_max: usize) -> Self {
        let tls = TlsChoice(if kind.http.starts_with("https:") {
            tls.config(kind.tls_skip_verify)
        } else {
            Err("redirected from a plain address to one with TLS".to_owned())
        });
        let method = match kind.method.as_str() {
            "" => Ok(Method::GET),
            name => Method::from_bytes(name.to_ascii_uppercase().as_bytes()),
        };
        let mut first = transport(&kind.http, &tls);
        if method.is_err() {
            first = Err(format!("net/http: invalid method {:?}", kind.method));
        }
        let mut headers = HeaderMap::new();
        for (name, values) in &kind.header {
            for value in values {
                match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                    (Ok(name), Ok(value)) => {
                        if name == HOST {
                            headers.insert(name, value);
                        } else {
                            headers.append(name, value);
                        }
                    }
                    _ => first = Err(format!("invalid header {name:?}")),
                }
            }
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(ACCEPTED));
        if let Some(credentials) = credentials(&kind.http)
            && let Ok(value) = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials)))
        {
            headers.entry(AUTHORIZATION).or_insert(value);
        }
        Self {
            url: kind.http.clone(),
            method: method.unwrap_or_default(),
            headers,
            body: Bytes::from(kind.body.clone()),
            tls,
            first,
            timeout,
            output_max,
        }
    }

    /// Makes the request, follows redirects, and judges by the status: 2xx is passing, 429 warning,
    /// everything else critical.
    pub async fn probe(&self) -> Outcome {
        match tokio::time::timeout(self.timeout, self.follow()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(reason)) => self.failed(&reason),
            Err(_) => {
                self.failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
            }
        }
    }

    fn failed(&self, reason: &str) -> Outcome {
        let name = self.method.as_str();
        let (first, rest) = name.split_at(1.min(name.len()));
        Outcome::critical(format!("{first}{} {:?}: {reason}", rest.to_ascii_lowercase(), self.url))
    }

    async fn follow(&self) -> Result<Outcome, String> {
        let mut url = self.url.clone();
        let mut transport = self.first.clone()?;
        let mut method = self.method.clone();
        let mut headers = self.headers.clone();
        let mut body = self.body.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.one(&transport, &method, &headers, &body).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Redirect(status, location) => {
                    let next = resolve(&url, &location);
                    let next_transport = self::transport(&next, &self.tls)?;
                    if next_transport.target().endpoint != transport.target().endpoint {
                        // Secrets are meant for the one they were written for.
                        headers.remove(AUTHORIZATION);
                        headers.remove(COOKIE);
                    }
                    headers.remove(HOST);
                    if !matches!(status.as_u16(), 307 | 308) {
                        body = Bytes::new();
                        if method != Method::HEAD {
                            method = Method::GET;
                        }
                    }
                    (url, transport) = (next, next_transport);
                }
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn one(
        &self,
        transport: &Transport,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Step, String> {
        let content = if body.is_empty() { empty() } else { full(body.clone()) };
        let mut request = Request::new(content);
        *request.method_mut() = method.clone();
        *request.uri_mut() =
            transport.target().path.parse().map_err(|error| format!("invalid path: {error}"))?;
        *request.headers_mut() = headers.clone();
        let (head, mut content) = transport.send(request).await.map_err(told)?.into_parts();
        if matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308)
            && let Some(location) = head.headers.get(LOCATION)
        {
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            return Ok(Step::Redirect(head.status, location));
        }
        let mut tail = Tail::new(self.output_max);
        while let Some(frame) = content.frame().await {
            match frame {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        tail.write(data);
                    }
                }
                // The status is known; a body that breaks off does not change it.
                Err(error) => {
                    tracing::debug!(target: "agent", url = %self.url, %error, "could not read the whole body");
                    break;
                }
            }
        }
        let said =
            head.extensions.get::<ReasonPhrase>().map(|phrase| String::from_utf8_lossy(phrase.as_bytes()));
        let reason = said.as_deref().or(head.status.canonical_reason()).unwrap_or_default();
        let output = format!(
            "HTTP {} {}: {} {reason} Output: {}",
            self.method,
            self.url,
            head.status.as_u16(),
            tail.text()
        );
        Ok(Step::Done(match head.status.as_u16() {
            200..=299 => Outcome::passing(output),
            429 => Outcome::warning(output),
            _ => Outcome::critical(output),
        }))
    }
}

fn told(error: Error) -> String {
    match error {
        Error::Http(error) if error.is_incomplete_message() => "EOF".to_owned(),
        error => error.to_string(),
    }
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

/// `user:password` of a URL.
fn credentials(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(credentials, _)| credentials)
}

fn transport(url: &str, tls: &TlsChoice) -> Result<Transport, String> {
    if !url.contains("://") {
        return Err(format!("unsupported protocol scheme {:?}", url.split_once(':').map_or("", |(s, _)| s)));
    }
    let target = Target::parse(without_fragment(url), None).map_err(|error| error.to_string())?;
    let config = match target.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(tls.0.clone()?),
    };
    Transport::with_client_config(target, config, None).map_err(|error| error.to_string())
}

/// Where a redirect leads that was met at `base`.
fn resolve(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let base = without_fragment(base);
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    if let Some(other) = location.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}");
    }
    let path = path.split('?').next().unwrap_or_default();
    if location.starts_with('?') {
        return format!("{scheme}://{authority}{path}{location}");
    }
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{scheme}://{authority}{folder}{location}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection in turn with a text; gives what was asked.
    async fn server(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.28.2.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                loop {
                    let count = stream.read(&mut piece).await.unwrap();
                    request.extend_from_slice(&piece[..count]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    if count == 0 || text.ends_with("\r\n\r\n") || text.ends_with("BODY") {
                        break;
                    }
                }
                asked.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            asked
        });
        (address, task)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn probe_of(kind: &CheckType) -> Http {
        Http::new(kind, &Tls::new(http_client::TlsOptions::default()), Duration::from_secs(5), 20)
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (status, is) in [
            ("200 OK", "passing"),
            ("204 No Content", "passing"),
            ("429 Too Many Requests", "warning"),
            ("503 Service Unavailable", "critical"),
            ("404 Not Here", "critical"),
        ] {
            let (address, task) = server(vec![answer(status, "", "fine")]).await;
            let url = format!("http://{address}/a?b=1");
            let outcome = probe_of(&CheckType { http: url.clone(), ..CheckType::default() }).probe().await;
            let body = if status.starts_with("204") { "" } else { "fine" };
            assert_eq!(outcome.status, is);
            assert_eq!(outcome.output, format!("HTTP GET {url}: {status} Output: {body}"));
            let asked = task.await.unwrap().remove(0);
            assert!(asked.starts_with("GET /a?b=1 HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("user-agent: Consul Health Check\r\n"), "{asked}");
            assert!(asked.contains("accept: text/plain, text/*, */*\r\n"), "{asked}");
        }
    }

    #[tokio::test]
    async fn method_headers_and_body_are_sent() {
        let (address, task) = server(vec![answer("200 OK", "", &"0123456789".repeat(10))]).await;
        let kind = CheckType {
            http: format!("http://me:secret@{address}"),
            method: "post".into(),
            body: "BODY".into(),
            header: BTreeMap::from([
                ("Host".to_owned(), vec!["virtual.example".to_owned()]),
                ("X-One".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ]),
            ..CheckType::default()
        };
        let outcome = probe_of(&kind).probe().await;
        assert!(outcome.output.ends_with("Output: 01234567890123456789"), "{}", outcome.output);
        let asked = task.await.unwrap().remove(0);
        for part in ["POST / ", "host: virtual.example", "x-one: a", "x-one: b", "Basic bWU6c2VjcmV0", "BODY"]
        {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }

    #[tokio::test]
    async fn redirects_are_followed_but_not_for_ever() {
        let (address, task) =
            server(vec![answer("302 Found", "Location: /next\r\n", ""), answer("200 OK", "", "arrived")])
                .await;
        let url = format!("http://{address}/");
        let outcome = probe_of(&CheckType { http: url.clone(), ..CheckType::default() }).probe().await;
        assert_eq!(outcome.output, format!("HTTP GET {url}: 200 OK Output: arrived"));
        assert!(task.await.unwrap()[1].starts_with("GET /next "));

        let (address, _task) = server(vec![answer("302 Found", "Location: /again\r\n", ""); 11]).await;
        let outcome =
            probe_of(&CheckType { http: format!("http://{address}/"), ..CheckType::default() }).probe().await;
        assert!(outcome.output.contains("stopped after 10 redirects"), "{}", outcome.output);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_critical() {
        let (address, task) = server(vec![]).await;
        task.await.unwrap();
        let url = format!("http://{address}/");
        let outcome = probe_of(&CheckType { http: url.clone(), ..CheckType::default() }).probe().await;
        assert_eq!(outcome.status, "critical");
        assert_eq!(outcome.output, format!("Get \"{url}\": dial tcp {address}: connect: connection refused"));
        for bad in ["no-scheme", "ftp://x/", "http://"] {
            let outcome = probe_of(&CheckType { http: bad.into(), ..CheckType::default() }).probe().await;
            assert_eq!(outcome.status, "critical", "{bad}");
        }
    }

    /// A server over TLS, and the file of the authority that made its certificate.
    async fn tls_server(folder: &std::path::Path) -> (String, std::path::PathBuf) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let file = folder.join("ca.pem");
        std::fs::write(&file, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&authority, &authority_key);
        let names = vec!["127.28.2.2".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();

        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.28.2.2:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust the certificate hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    stream.write_all(answer("200 OK", "", "safe").as_bytes()).await.unwrap();
                    stream.shutdown().await.ok();
                }
            }
        });
        (address, file)
    }

    #[tokio::test]
    async fn certificates_are_verified_unless_that_is_off() {
        let temp = tempfile::tempdir().unwrap();
        let (address, ca_file) = tls_server(temp.path()).await;
        let url = format!("https://{address}/");
        let probe = async |ca_file: Option<std::path::PathBuf>, skip: bool| {
            let tls = Tls::new(http_client::TlsOptions { ca_file, ..Default::default() });
            let kind = CheckType { http: url.clone(), tls_skip_verify: skip, ..CheckType::default() };
            Http::new(&kind, &tls, Duration::from_secs(5), 20).probe().await
        };
        let unknown = probe(None, false).await;
        assert_eq!(unknown.status, "critical");
        assert!(unknown.output.contains("certificate"), "{}", unknown.output);
        assert_eq!(probe(None, true).await.output, format!("HTTP GET {url}: 200 OK Output: safe"));
        assert_eq!(probe(Some(ca_file), false).await.status, "passing");
        assert_eq!(probe(Some(temp.path().join("none")), false).await.status, "critical");
    }

    #[test]
    fn locations_resolve() {
        let base = "http://a:1/x/y?q=1#f";
        assert_eq!(resolve(base, "https://b/"), "https://b/");
        assert_eq!(resolve(base, "//b/z"), "http://b/z");
        assert_eq!(resolve(base, "/z"), "http://a:1/z");
        assert_eq!(resolve(base, "z"), "http://a:1/x/z");
        assert_eq!(resolve(base, "?p"), "http://a:1/x/y?p");
        assert_eq!(resolve("http://a", "z"), "http://a/z");
    }
}

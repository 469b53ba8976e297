//! The executable against an agent that answers from a script.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers by `METHOD /path?query`; everything else is 404, and blocking queries block.
struct Agent {
    address: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Agent {
    async fn start(answers: &[(&str, u16, &str)]) -> Self {
        let answers: BTreeMap<String, (u16, String)> = answers
            .iter()
            .map(|(what, status, body)| ((*what).to_owned(), (*status, (*body).to_owned())))
            .collect();
        let answers = Arc::new(answers);
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, log) = (answers.clone(), log.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, log) = (answers.clone(), log.clone());
                    async move {
                        let what = format!("{} {}", request.method(), request.uri());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        log.lock().unwrap().push((what.clone(), String::from_utf8_lossy(&body).into_owned()));
                        if what.contains("&index=") || what.contains("?index=") {
                            // Nothing ever changes here.
                            std::future::pending::<()>().await;
                        }
                        let (status, body) = answers.get(&what).cloned().unwrap_or((404, String::new()));
                        let response = Response::builder()
                            .status(status)
                            .header("X-Consul-Index", "7")
                            .body(Full::new(Bytes::from(body)));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, seen }
    }

    async fn run(&self, args: &[&str]) -> Ended {
        run(args, Some(&self.address)).await
    }

    fn seen(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn run(args: &[&str], agent: Option<&str>) -> Ended {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_proconsul"));
    command.args(args).stdin(Stdio::null()).env_remove("CONSUL_HTTP_ADDR");
    if let Some(address) = agent {
        command.env("CONSUL_HTTP_ADDR", address);
    }
    let output = command.output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn good(stdout: &str) -> Ended {
    Ended { code: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

fn bad(stderr: &str) -> Ended {
    Ended { code: 1, stdout: String::new(), stderr: stderr.to_owned() }
}

#[tokio::test]
async fn exit_codes_without_an_agent() {
    for (args, code) in [
        (&[] as &[&str], 127),
        (&["frobnicate"], 127),
        (&["help"], 127),
        (&["-h"], 0),
        (&["--version"], 0),
        (&["kv"], 1),
        (&["kv", "frob"], 1),
        (&["kv", "-h"], 0),
        (&["members", "--help"], 0),
        (&["members", "-nonsense"], 1),
        (&["members", "-http-addr=127.0.0.1:1"], 1),
        (&["operator", "raft"], 1),
        (&["keygen", "extra"], 0),
        (&["version", "-h"], 0),
        (&["debug", "-duration=1s"], 1),
        (&["lock", "onlyprefix"], 1),
        (&["watch"], 1),
        (&["snapshot", "inspect", "/no/such"], 1),
        (&["members", "-v"], 0),
        (&["members", "--", "-v", "-http-addr=127.0.0.1:1"], 1),
        (&["-h", "members"], 0),
        (&["-http-addr=127.0.0.1:1", "members"], 1),
        (&["-http-addr=127.0.0.1:1", "frobnicate"], 127),
        (&["catalog", "datacenters", "extra"], 1),
        (&["leave", "extra"], 1),
        (&["event", "-name=x", "too", "many"], 1),
        (&["services", "register", "-port=80"], 1),
        (&["kv", "put", "/a", "b"], 1),
        (&["acl"], 1),
        (&["login", "-method=m"], 1),
    ] {
        assert_eq!(run(args, None).await.code, code, "{args:?}");
    }
}

#[tokio::test]
async fn usage_mistakes_show_the_help_on_standard_error() {
    let ended = run(&["join", "-nonsense", "x"], None).await;
    assert!(
        ended.stderr.starts_with("flag provided but not defined: -nonsense\nUsage: "),
        "{}",
        ended.stderr
    );
    let ended = run(&["event"], None).await;
    assert!(ended.stderr.starts_with("Event name must be specified\n\nUsage: "), "{}", ended.stderr);
    let ended = run(&["catalog"], None).await;
    assert!(ended.stderr.starts_with("Usage: ") && ended.stdout.is_empty());
}

#[tokio::test]
async fn mistakes_in_arguments_are_told() {
    for (args, complaint) in [
        (&["catalog", "nodes", "a", "b"] as &[&str], "Too many arguments (expected 0, got 2)\n"),
        (&["leave", "a", "b"], "Error found unexpected args: [a b]\n\nUsage: "),
        (
            &["-stale", "members"],
            "Invalid flags before the subcommand. If these flags are for\nthe subcommand, ",
        ),
        (
            &["kv", "put", "/a", "b"],
            "Error! Failed writing data: Invalid key. Key must not begin with a '/': /a\n",
        ),
        (
            &["kv", "put", "a", "@/no/such"],
            "Error! Failed to read file: open /no/such: no such file or directory\n",
        ),
        (
            &["snapshot", "restore", "/no/such"],
            "Error opening snapshot file: open /no/such: no such file or directory\n",
        ),
        (&["services", "register", "/no/such"], "Error: open /no/such: no such file or directory\n"),
    ] {
        let ended = run(args, Some("127.0.0.1:1")).await;
        assert!(ended.code == 1 && ended.stderr.starts_with(complaint), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn keys_are_read_written_and_deleted() {
    let entry = r#"[{"Key":"a b","CreateIndex":5,"ModifyIndex":6,"LockIndex":0,"Flags":0,"Value":"aGk="}]"#;
    let agent = Agent::start(&[
        ("GET /v1/kv/a%20b", 200, entry),
        ("GET /v1/kv/a?recurse", 200, entry),
        ("GET /v1/kv/broken", 500, "No path to datacenter"),
        ("PUT /v1/kv/a?cas=0", 200, "false"),
        ("PUT /v1/kv/a?flags=5&dc=dc2", 200, "true"),
        ("DELETE /v1/kv/a?cas=5", 200, "false"),
    ])
    .await;
    assert_eq!(agent.run(&["kv", "get", "a b"]).await, good("hi\n"));
    assert_eq!(agent.run(&["kv", "get", "-recurse", "/a"]).await, good("a b:hi\n"));
    assert_eq!(agent.run(&["kv", "get", "none"]).await, bad("Error! No key exists at: none\n"));
    assert_eq!(
        agent.run(&["kv", "get", "broken"]).await,
        bad("Error querying Consul agent: Unexpected response code: 500\n")
    );
    assert_eq!(
        agent.run(&["kv", "put", "-cas", "-modify-index=0", "a", "v"]).await,
        bad("Error! Did not write to a: CAS performed with index=0 and key already exists.\n")
    );
    agent.seen();
    assert_eq!(
        agent.run(&["kv", "put", "-flags=5", "-datacenter", "dc2", "-base64", "a", "aGk="]).await,
        good("Success! Data written to: a\n")
    );
    assert_eq!(agent.seen(), [("PUT /v1/kv/a?flags=5&dc=dc2".into(), "hi".into())]);
    assert_eq!(
        agent.run(&["kv", "delete", "-cas", "-modify-index=5", "a"]).await,
        bad("Error! Did not delete key a: CAS failed\n")
    );
    let refused = agent.run(&["kv", "put", "-base64", "a", "not-base64!"]).await;
    assert_eq!((refused.code, agent.seen().len()), (1, 1));
}

#[tokio::test]
async fn tokens_intentions_and_entries() {
    let agent = Agent::start(&[
        ("GET /v1/acl/tokens", 200, r#"[{"AccessorID":"a","Local":true}]"#),
        ("POST /v1/acl/login", 200, r#"{"SecretID":"secret"}"#),
        ("POST /v1/acl/logout", 200, "true"),
        ("GET /v1/connect/intentions", 200, "[]"),
        ("GET /v1/config/service-defaults", 200, r#"[{"Name":"web"},{"Name":"db"}]"#),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("proof"), "jwt\n").unwrap();
    assert_eq!(
        agent.run(&["acl", "token", "list"]).await,
        good("AccessorID:       a\nLocal:            true\n\n")
    );
    assert_eq!(agent.run(&["config", "list", "-kind=service-defaults"]).await, good("web\ndb\n"));
    assert_eq!(agent.run(&["config", "list"]).await, bad("Must specify the -kind parameter\n"));
    assert_eq!(agent.run(&["intention", "list"]).await.stderr, "There are no intentions.\n");
    agent.seen();
    let (proof, sink) = (path("proof"), path("token"));
    let args = ["login", "-method=m", "-meta=k=v", "-bearer-token-file", &proof, "-token-sink-file", &sink];
    assert_eq!(agent.run(&args).await, good(""));
    assert_eq!(std::fs::read_to_string(&sink).unwrap(), "secret");
    let body = r#"{"AuthMethod":"m","BearerToken":"jwt","Meta":{"k":"v"}}"#;
    assert_eq!(agent.seen(), [("POST /v1/acl/login".into(), body.into())]);
    assert_eq!(agent.run(&["logout", "-token-file", &sink]).await, good(""));
}

#[tokio::test]
async fn joining_counts_those_that_answered() {
    let refused = "1 error occurred:\n\t* Failed to join b: refused\n\n";
    let agent = Agent::start(&[
        ("PUT /v1/agent/join/a?wan=1", 200, ""),
        ("PUT /v1/agent/join/b?wan=1", 500, refused),
    ])
    .await;
    let complaint = format!("Error joining address 'b': Unexpected response code: 500 ({refused})\n");
    assert_eq!(
        agent.run(&["join", "-wan", "a", "b"]).await,
        Ended {
            code: 0,
            stdout: "Successfully joined cluster by contacting 1 nodes.\n".into(),
            stderr: complaint.clone()
        }
    );
    assert_eq!(
        agent.run(&["join", "-wan", "b"]).await,
        bad(&format!("{complaint}Failed to join any nodes.\n"))
    );
}

#[tokio::test]
async fn members_none_is_exit_code_two() {
    let member = r#"[{"Name":"s1","Addr":"127.0.1.1","Port":8301,"Status":1,
        "Tags":{"role":"consul","build":"1.9.8:","vsn":"2","dc":"dc1","segment":""}}]"#;
    let agent = Agent::start(&[
        ("GET /v1/agent/members?segment=_all", 200, member),
        ("GET /v1/agent/members?wan=1", 200, "null"),
    ])
    .await;
    assert_eq!(
        agent.run(&["members"]).await,
        good(
            "Node  Address         Status  Type    Build  Protocol  DC   Segment\n\
             s1    127.0.1.1:8301  alive   server  1.9.8  2         dc1  <all>\n"
        )
    );
    let nobody = Ended { code: 2, stdout: String::new(), stderr: String::new() };
    assert_eq!(agent.run(&["members", "-status=failed"]).await, nobody);
    assert_eq!(agent.run(&["members", "-wan"]).await, nobody);
    assert_eq!(
        agent.run(&["members", "-status=["]).await,
        bad("Failed to compile status regexp: error parsing regexp: missing closing ]: `[`\n")
    );
}

#[tokio::test]
async fn a_watch_prints_once_or_runs_its_program() {
    let entry = r#"[{"Key":"a","CreateIndex":5,"ModifyIndex":6,"LockIndex":0,"Flags":0,"Value":"aGk="}]"#;
    let agent = Agent::start(&[
        ("GET /v1/agent/self", 200, r#"{"Config":{"NodeName":"s1"}}"#),
        ("GET /v1/kv/a", 200, entry),
    ])
    .await;
    let once = agent.run(&["watch", "-type=key", "-key=a"]).await;
    let shown: serde_json::Value = serde_json::from_str(&once.stdout).unwrap();
    assert_eq!((once.code, shown["Session"].as_str()), (0, Some("")));
    let handler = agent.run(&["watch", "-type=key", "-key=a", "echo $CONSUL_INDEX; exit 3"]).await;
    assert_eq!((handler.code, handler.stdout.as_str()), (1, "7\n"));
    assert_eq!(agent.run(&["watch", "-type=key", "-key=none"]).await, good("null\n"));
    assert_eq!(agent.run(&["watch", "-type=bogus"]).await, bad("Unsupported watch type: bogus\n"));
}

#[tokio::test]
async fn a_lock_is_taken_and_given_back_around_the_program() {
    let agent = Agent::start(&[
        ("PUT /v1/session/create", 200, r#"{"ID":"s"}"#),
        ("PUT /v1/kv/p/.lock?acquire=s&flags=3304740253564472344", 200, "true"),
        ("PUT /v1/kv/p/.lock?release=s&flags=3304740253564472344", 200, "true"),
        ("PUT /v1/session/destroy/s", 200, "true"),
    ])
    .await;
    let ended =
        agent.run(&["lock", "-name=n", "-child-exit-code", "p", "echo $CONSUL_LOCK_HELD;", "exit 7"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (2, "true\n"));
    let seen: Vec<(String, String)> =
        agent.seen().into_iter().filter(|(what, _)| !what.starts_with("GET")).collect();
    assert_eq!(seen[0], ("PUT /v1/session/create".into(), r#"{"Name":"n","TTL":"15s"}"#.into()));
    let order: Vec<&str> =
        seen.iter().map(|(what, _)| what.split(['?', '=']).nth(1).unwrap_or("end")).collect();
    assert_eq!(order, ["end", "acquire", "release", "end"]);
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_saved() {
    let agent = Agent::start(&[("GET /v1/snapshot", 200, "this is no archive")]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.snap");
    let ended = agent.run(&["snapshot", "save", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("Error verifying snapshot file: "), "{}", ended.stderr);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn certificates_are_made_from_files_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let tls = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_proconsul"));
        let output = command.arg("tls").args(args).current_dir(folder.path()).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(tls(&["cert", "create", "-server"]).await.0, 1);
    let (code, text) = tls(&["ca", "create"]).await;
    assert_eq!(
        (code, text.as_str()),
        (0, "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n")
    );
    assert_eq!(tls(&["ca", "create"]).await.0, 1, "an authority is never overwritten");
    let (code, text) = tls(&["cert", "create", "-server", "-dc=dc2", "-node=n1"]).await;
    assert_eq!(code, 0);
    assert!(text.ends_with("==> Saved dc2-server-consul-0.pem\n==> Saved dc2-server-consul-0-key.pem\n"));
    let (_, text) = tls(&["cert", "create", "-server", "-dc=dc2"]).await;
    assert!(text.ends_with("==> Saved dc2-server-consul-1-key.pem\n"));
    let key = folder.path().join("dc2-server-consul-0-key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(key).unwrap().starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    // What was made can be used: by a TLS client that shows it and trusts the authority.
    let options = http_client::TlsOptions {
        ca_file: Some(folder.path().join("consul-agent-ca.pem")),
        client_cert: Some(folder.path().join("dc2-server-consul-0.pem")),
        client_key: Some(folder.path().join("dc2-server-consul-0-key.pem")),
        ..Default::default()
    };
    http_client::client_config(&options).unwrap();
}

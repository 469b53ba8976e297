//! `exec`: runs a command on many nodes through the key-value store and an event.
//!
//! Layout (shared with the agents' side; S is the id of a session made for the purpose):
//!
//! | key | content |
//! | --- | --- |
//! | `<prefix>/S/job` | the job as JSON: `Command` (for a shell) or `Args` (direct) or `Script` (base64), and `Wait` in ns |
//! | `<prefix>/S/<node>/ack` | the node has seen the job |
//! | `<prefix>/S/<node>/out/<5 hex digits>` | a piece of output; empty: still running |
//! | `<prefix>/S/<node>/exit` | the exit code in decimal |
//!
//! The event is named `_rexec`, its payload is `{"Prefix": …, "Session": …}`. The session has the
//! behavior `delete`, so that a command that dies leaves no job behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::event::check_filters;
use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const EVENT: &str = "_rexec";
const TTL: &str = "15s";
const RENEW_EVERY: Duration = Duration::from_millis(7_500);

const FLAGS: &[Flag] = &[
    Flag::new("node", Kind::Text, "Only nodes whose name matches this regular expression."),
    Flag::new("prefix", Kind::Text, "Where in the store the job and its output go.").or("_rexec"),
    Flag::new("service", Kind::Text, "Only nodes with a service that matches."),
    Flag::new("shell", Kind::Switch, "Run the command through a shell.").or("true"),
    Flag::new("tag", Kind::Text, "Only nodes with a service that has a matching tag. Needs -service."),
    Flag::new("verbose", Kind::Switch, "Say what is being done."),
    Flag::new("wait", Kind::Duration, "End after this long without a word from any node.").or("2s"),
    Flag::new("wait-repl", Kind::Duration, "Time for the job to reach all servers before it is announced.")
        .or("200ms"),
];

/// `exec`.
pub const COMMAND: Command = Command {
    name: "exec",
    synopsis: "Runs a command on many nodes",
    usage: "[options] [-|command...]",
    about: "Runs a command on all nodes that match and whose agents allow it (disable_remote_exec = false),\nand shows their output. With -, runs the script on standard input. The exit code is 2 if the\ncommand failed somewhere.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: true,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    check_filters(&parsed)?;
    let job = job(&parsed)?;
    let api = Api::from_flags(&parsed)?;
    let verbose = parsed.on("verbose");
    let say = |text: String| {
        if verbose {
            ui::line(text);
        }
    };
    let session = create_session(&api).await.or_fail("Failed to create session")?;
    say(format!("Prepared remote execution session {session}"));
    let prefix = format!("{}/{session}/", parsed.text("prefix").trim_end_matches('/'));
    let outcome = tokio::select! {
        outcome = work(&parsed, &api, &session, &prefix, &job, &say) => outcome,
        () = renew(&api, &session) => Err(Failure::new("Failed to renew session")),
        _ = tokio::signal::ctrl_c() => Err(Failure::new("Interrupted")),
    };
    // Whatever happened, leave nothing behind.
    let destroyed = api.put(format!("/v1/session/destroy/{session}")).ok().await;
    let cleaned = api.delete(format!("/v1/kv/{prefix}")).param("recurse", "").ok().await;
    let code = outcome?;
    destroyed.or_fail("Failed to destroy session")?;
    cleaned.or_fail("Failed to destroy data")?;
    Ok(code)
}

fn job(parsed: &Parsed) -> Result<Value, Failure> {
    let wait = u64::try_from(parsed.duration("wait").as_nanos()).unwrap_or(u64::MAX);
    Ok(match parsed.args.as_slice() {
        [] => return Err(Failure::usage("Must specify a command to execute")),
        [dash] if dash == "-" => {
            use std::io::Read;
            let mut script = Vec::new();
            std::io::stdin().lock().read_to_end(&mut script).or_fail("Failed to read stdin")?;
            if script.is_empty() {
                return Err(Failure::usage("Must specify a command to execute"));
            }
            json!({"Script": BASE64_STANDARD.encode(script), "Wait": wait})
        }
        args if parsed.on("shell") => json!({"Command": args.join(" "), "Wait": wait}),
        args => json!({"Args": args, "Wait": wait}),
    })
}

/// A session needs a node; in another datacenter any healthy server's will do.
async fn create_session(api: &Api) -> Result<String, ApiError> {
    let own: Value = api.get("/v1/agent/self").json().await?;
    let name = own["Config"]["NodeName"].as_str().unwrap_or_default();
    let own_dc = own["Config"]["Datacenter"].as_str().unwrap_or_default();
    let mut session = json!({"Name": format!("Remote Exec via {name}"), "Behavior": "delete", "TTL": TTL});
    if let Some(dc) = api.datacenter().filter(|dc| *dc != own_dc) {
        let servers: Value = api.get("/v1/health/service/consul").param("passing", 1).json().await?;
        session["Name"] = json!(format!("Remote Exec via {name}@{dc}"));
        session["Node"] = servers[0]["Node"]["Node"].clone();
    }
    let created: Value = api.put("/v1/session/create").json_body(&session).json().await?;
    Ok(created["ID"].as_str().unwrap_or_default().to_owned())
}

/// Keeps the session alive; returns when that fails.
async fn renew(api: &Api, session: &str) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if api.put(format!("/v1/session/renew/{session}")).ok().await.is_err() {
            return;
        }
    }
}

async fn work(
    parsed: &Parsed,
    api: &Api,
    session: &str,
    prefix: &str,
    job: &Value,
    say: &dyn Fn(String),
) -> Outcome {
    let stored: bool = api
        .put(format!("/v1/kv/{prefix}job"))
        .param("acquire", session)
        .json_body(job)
        .json()
        .await
        .or_fail("Failed to create job file")?;
    if !stored {
        return Err(Failure::new("Failed to create job file: failed to acquire job lock"));
    }
    say("Uploaded remote execution spec".to_owned());
    // Agents read the job with stale consistency: let it arrive everywhere first.
    tokio::time::sleep(parsed.duration("wait-repl")).await;
    let payload = json!({"Prefix": parsed.text("prefix"), "Session": session});
    let mut event = api.put(format!("/v1/event/fire/{EVENT}")).json_body(&payload);
    for filter in ["node", "service", "tag"] {
        if let Some(value) = parsed.given(filter).filter(|v| !v.is_empty()) {
            event = event.param(filter, value);
        }
    }
    let fired: Value = event.json().await.or_fail("Failed to fire event")?;
    say(format!("Fired event: {}", fired["ID"].as_str().unwrap_or_default()));
    collect(parsed, api, prefix, say).await
}

/// What a key below the job's prefix says.
#[derive(Debug, PartialEq, Eq)]
enum News<'a> {
    Ack(&'a str),
    Output(&'a str),
    Exit(&'a str),
}

fn news<'a>(prefix: &str, key: &'a str) -> Option<News<'a>> {
    let (node, what) = key.strip_prefix(prefix)?.split_once('/')?;
    match what.split_once('/') {
        None if what == "ack" => Some(News::Ack(node)),
        None if what == "exit" => Some(News::Exit(node)),
        Some(("out", _)) => Some(News::Output(node)),
        _ => None,
    }
}

async fn collect(parsed: &Parsed, api: &Api, prefix: &str, say: &dyn Fn(String)) -> Outcome {
    let quiet = parsed.duration("wait");
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut acked: BTreeSet<String> = BTreeSet::new();
    let mut exits: BTreeMap<String, String> = BTreeMap::new();
    let mut index = 0;
    let mut last_news = Instant::now();
    loop {
        // A node that has taken the job reports at least that it is running, so it gets more time.
        let patience = if acked.len() > exits.len() { quiet * 2 } else { quiet };
        let left = (last_news + patience).saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut request = api.get(format!("/v1/kv/{prefix}")).param("keys", "");
        if index > 0 {
            request = request.param("index", index).param("wait", format!("{}ms", left.as_millis().max(1)));
        }
        let answer = tokio::time::timeout(left, request.json_or_absent::<Vec<String>>());
        let Ok(answer) = answer.await else {
            break;
        };
        let (keys, next) = answer.or_fail("Failed to query output")?;
        index = if next < index { 0 } else { next };
        for key in keys.unwrap_or_default() {
            if !seen.insert(key.clone()) {
                continue;
            }
            let Some(news) = news(prefix, &key) else {
                continue;
            };
            last_news = Instant::now();
            match news {
                News::Ack(node) => {
                    acked.insert(node.to_owned());
                    say(format!("==> {node}: acknowledged"));
                }
                News::Output(node) => {
                    let text = read(api, &key).await?;
                    if !text.is_empty() {
                        for line in text.split('\n') {
                            ui::line(format_args!("    {node}: {line}"));
                        }
                    }
                }
                News::Exit(node) => {
                    let code = read(api, &key).await?;
                    ui::line(format_args!("==> {node}: finished with exit code {code}"));
                    exits.insert(node.to_owned(), code);
                }
            }
        }
    }
    ui::line(format_args!("{} / {} node(s) completed / acknowledged", exits.len(), acked.len()));
    Ok(if exits.values().any(|code| code != "0") { 2 } else { 0 })
}

async fn read(api: &Api, key: &str) -> Result<String, Failure> {
    let reply =
        api.get(format!("/v1/kv/{key}")).param("raw", "").ok().await.or_fail("Failed to read output")?;
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_layout() {
        let of = |key: &'static str| news("_rexec/s/", key);
        assert_eq!(of("_rexec/s/n1/ack"), Some(News::Ack("n1")));
        assert_eq!(of("_rexec/s/n1/out/00000"), Some(News::Output("n1")));
        assert_eq!(of("_rexec/s/n1/exit"), Some(News::Exit("n1")));
        assert_eq!(of("_rexec/s/job"), None);
        assert_eq!(of("_rexec/other/n1/ack"), None);
    }

    #[test]
    fn jobs_for_shell_and_direct() {
        let job = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            super::job(&crate::flags::parse(&[FLAGS], &args).unwrap()).unwrap()
        };
        assert_eq!(
            job(&["-wait=1s", "echo", "-n", "x"]),
            json!({"Command": "echo -n x", "Wait": 1_000_000_000})
        );
        assert_eq!(
            job(&["-shell=false", "echo", "x"]),
            json!({"Args": ["echo", "x"], "Wait": 2_000_000_000_u64})
        );
    }
}

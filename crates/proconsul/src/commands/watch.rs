//! `watch`: follows a view of the cluster and runs a program on every change.

use std::ops::ControlFlow;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use watch::{Change, Handler, Plan, Script, ScriptOutput};

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("key", Kind::Text, "For type key: the key."),
    Flag::new("name", Kind::Text, "For type event: the event's name."),
    Flag::new("passingonly", Kind::Text, "For type service: =true for healthy instances only."),
    Flag::new("prefix", Kind::Text, "For type keyprefix: the prefix."),
    Flag::new("service", Kind::Text, "For types service and checks: the service."),
    Flag::new("shell", Kind::Switch, "Run the handler through a shell.").or("true"),
    Flag::new("state", Kind::Text, "For type checks: the state."),
    Flag::new("tag", Kind::List, "For type service: a tag. May be repeated."),
    Flag::new("type", Kind::Text, "key, keyprefix, services, nodes, service, checks or event. Required."),
];

/// `watch`.
pub const COMMAND: Command = Command {
    name: "watch",
    synopsis: "Runs a program when something changes",
    usage: "[options] [program [args]]",
    about: "Follows a view of the cluster. The program is run at once and on every change, with the data\nas JSON on its standard input. Without a program, prints the data once.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: true,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    if parsed.text("type").is_empty() {
        return Err(Failure::usage("Watch type must be specified"));
    }
    let plan = Plan::parse(params(&parsed)).map_err(Failure::new)?;
    let api = Api::from_flags(&parsed)?;
    // Ask once plainly: an agent that is not there ends the command instead of being retried.
    api.node_name().await.or_fail("Error querying Consul agent")?;
    let mut handler = Runner {
        script: match (parsed.args.is_empty(), parsed.on("shell")) {
            (true, _) => None,
            (false, true) => Some(Script::Shell(parsed.args.join(" "))),
            (false, false) => Some(Script::Args(parsed.args.clone())),
        },
        failed: false,
    };
    let cancel = CancellationToken::new();
    let interrupted = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    ::watch::run(plan, &api, &mut handler, &cancel).await;
    Ok(u8::from(handler.failed))
}

/// The parameters of the watch, from the flags that were given.
fn params(parsed: &Parsed) -> Map<String, Value> {
    let mut params = Map::new();
    for name in ["type", "key", "name", "passingonly", "prefix", "service", "state"] {
        if let Some(value) = parsed.given(name).filter(|v| !v.is_empty()) {
            params.insert(name.to_owned(), json!(value));
        }
    }
    if parsed.is_set("tag") {
        params.insert("tag".to_owned(), json!(parsed.list("tag")));
    }
    params
}

struct Runner {
    script: Option<Script>,
    failed: bool,
}

#[async_trait]
impl Handler for Runner {
    async fn changed(&mut self, change: Change) -> ControlFlow<()> {
        let Some(script) = &self.script else {
            ui::line(format_args!("{:#}", change.value));
            return ControlFlow::Break(());
        };
        match script.call(&change, ScriptOutput::Inherit).await {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                ui::error(format_args!("Error executing handler: {error}"));
                self.failed = true;
                ControlFlow::Break(())
            }
        }
    }

    async fn failed(&mut self, error: &str) -> ControlFlow<()> {
        ui::error(format_args!("Watch errored: {error}, retrying"));
        ControlFlow::Continue(())
    }
}

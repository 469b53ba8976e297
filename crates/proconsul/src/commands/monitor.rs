//! `monitor`: the agent's log, live.

use http_body_util::BodyExt;

use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] = &[
    Flag::new("log-json", Kind::Switch, "Lines as JSON."),
    Flag::new("log-level", Kind::Text, "Least severe level to show: trace, debug, info, warn, err.")
        .or("INFO"),
];

/// `monitor`.
pub const COMMAND: Command = Command {
    name: "monitor",
    synopsis: "Shows the agent's log as it is written",
    usage: "[options]",
    about: "Shows the agent's log as it is written, until interrupted. The level may be lower than what\nthe agent writes elsewhere.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    let api = Api::from_flags(&parsed)?;
    let mut request = api.get("/v1/agent/monitor").param("loglevel", parsed.text("log-level"));
    if parsed.on("log-json") {
        request = request.param("logjson", true);
    }
    let response = request.open().await.or_fail("Error starting monitor")?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    if status != 200 {
        let text = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let error = ApiError::Status { status, body: String::from_utf8_lossy(&text).into_owned() };
        return Err(Failure::new(format!("Error starting monitor: {error}")));
    }
    loop {
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => if let Ok(data) = frame.into_data() { ui::raw(&data) },
                Some(Err(error)) => return Err(Failure::new(format!("Remote side ended the monitor: {error}"))),
                None => {
                    ui::error("Remote side ended the monitor! This usually means that the\nremote side has exited or crashed.");
                    return Ok(0);
                }
            },
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
    }
}

//! `debug`: collects what helps to understand an agent into an archive.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Api, CLIENT_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const TARGETS: [&str; 6] = ["agent", "cluster", "host", "logs", "metrics", "pprof"];

const FLAGS: &[Flag] = &[
    Flag::new("archive", Kind::Switch, "Put everything into one file and remove the folder.").or("true"),
    Flag::new(
        "capture",
        Kind::List,
        "agent, cluster, host, logs, metrics or pprof. May be repeated; all if not given.",
    ),
    Flag::new("duration", Kind::Duration, "How long to collect.").or("2m"),
    Flag::new("interval", Kind::Duration, "How often to collect what changes.").or("30s"),
    Flag::new("output", Kind::Text, "The folder, and the name of the archive without .tar.gz."),
];

/// `debug`.
pub const COMMAND: Command = Command {
    name: "debug",
    synopsis: "Collects data for finding problems",
    usage: "[options]",
    about: "Collects the agent's state, log and metrics over some time into an archive. It may contain\nnames and addresses: look into it before passing it on.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

async fn run(parsed: Parsed) -> Outcome {
    super::no_arguments(&parsed.args)?;
    let (duration, interval) = (parsed.duration("duration"), parsed.duration("interval"));
    if duration < Duration::from_secs(10) {
        return Err(Failure::new("Capture validation failed: duration must be at least 10s"));
    }
    if interval < Duration::from_secs(5) || interval > duration {
        return Err(Failure::new(
            "Capture validation failed: interval must be at least 5s and not longer than the duration",
        ));
    }
    let mut targets: Vec<&str> = match parsed.list("capture") {
        [] => TARGETS.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = targets.iter().find(|t| !TARGETS.contains(t)) {
        return Err(Failure::new(format!("Capture validation failed: target not found: {unknown}")));
    }
    let api = Api::from_flags(&parsed)?;
    let own: Value = api.get("/v1/agent/self").json().await.or_fail("error querying target agent")?;
    if targets.contains(&"pprof") && own["DebugConfig"]["EnableDebug"] != true {
        targets.retain(|target| *target != "pprof");
        ui::error("Profiles are not captured: enable_debug is not set on the agent");
    }
    let folder = match parsed.text("output") {
        "" => PathBuf::from(format!("consul-debug-{}", unix_seconds())),
        output => PathBuf::from(output),
    };
    if folder.exists() {
        return Err(Failure::new(format!(
            "Capture validation failed: output directory already exists: {}",
            folder.display()
        )));
    }
    make_folder(&folder)?;
    ui::line("Starting debugger and capturing static information...");
    ui::line(format_args!("     Agent Version: '{}'", own["Config"]["Version"].as_str().unwrap_or_default()));
    ui::line(format_args!("          Interval: '{interval:?}'"));
    ui::line(format_args!("          Duration: '{duration:?}'"));
    ui::line(format_args!("           Capture: '{}'", targets.join(", ")));
    capture_static(&api, &folder, &targets, &own).await?;
    if targets.iter().any(|t| ["logs", "metrics", "pprof"].contains(t)) {
        ui::line("Beginning capture interval");
        // Who interrupts gets what there is so far.
        tokio::select! {
            done = capture_dynamic(&api, &folder, &targets, duration, interval) => done?,
            _ = tokio::signal::ctrl_c() => ui::line("Interrupted"),
        }
    }
    write_json(
        &folder.join("index.json"),
        &json!({"Version": 1, "AgentVersion": own["Config"]["Version"], "Interval": format!("{interval:?}"),
                "Duration": format!("{duration:?}"), "Targets": targets}),
    )?;
    let saved = if parsed.on("archive") { archive(&folder)? } else { folder };
    ui::line(format_args!("Saved debug archive: {}", saved.display()));
    Ok(0)
}

async fn capture_static(api: &Api, folder: &Path, targets: &[&str], own: &Value) -> Result<(), Failure> {
    if targets.contains(&"agent") {
        write_json(&folder.join("agent.json"), own)?;
    }
    for (target, path, query) in
        [("host", "/v1/agent/host", None), ("cluster", "/v1/agent/members", Some("wan"))]
    {
        if targets.contains(&target) {
            let mut request = api.get(path);
            if let Some(name) = query {
                request = request.param(name, 1);
            }
            match request.json::<Value>().await {
                Ok(value) => write_json(&folder.join(format!("{target}.json")), &value)?,
                Err(error) => ui::error(format_args!("Error capturing {target}: {error}")),
            }
        }
    }
    Ok(())
}

async fn capture_dynamic(
    api: &Api,
    folder: &Path,
    targets: &[&str],
    duration: Duration,
    interval: Duration,
) -> Result<(), Failure> {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let until = end.min(Instant::now() + interval);
        let round = folder.join(unix_seconds().to_string());
        make_folder(&round)?;
        if targets.contains(&"metrics") {
            match api.get("/v1/agent/metrics").json::<Value>().await {
                Ok(value) => write_json(&round.join("metrics.json"), &value)?,
                Err(error) => ui::error(format_args!("Error capturing metrics: {error}")),
            }
        }
        if targets.contains(&"pprof") {
            for (profile, file) in [("heap", "heap.prof"), ("goroutine", "goroutine.prof")] {
                match api.get(format!("/debug/pprof/{profile}")).ok().await {
                    Ok(reply) => write(&round.join(file), &reply.body)?,
                    Err(error) => ui::error(format_args!("Error capturing {profile} profile: {error}")),
                }
            }
        }
        if targets.contains(&"logs") {
            log_until(api, &round.join("consul.log"), until).await?;
        }
        tokio::time::sleep_until(until).await;
    }
    Ok(())
}

async fn log_until(api: &Api, path: &Path, until: Instant) -> Result<(), Failure> {
    let failed = format!("error writing {}", path.display());
    // Written as it comes: nothing is lost if the capture is interrupted.
    let mut file = fs::File::create(path).or_fail(&failed)?;
    let collect = async {
        match api.get("/v1/agent/monitor").param("loglevel", "DEBUG").open().await {
            Ok(response) => {
                let mut body = response.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    if let Ok(data) = frame.into_data() {
                        file.write_all(&data).or_fail(&failed)?;
                    }
                }
            }
            Err(error) => ui::error(format_args!("Error capturing logs: {error}")),
        }
        Ok(())
    };
    // The stream has no end of its own.
    tokio::time::timeout_at(until, collect).await.unwrap_or(Ok(()))
}

/// Puts the folder into `<folder>.tar.gz` and removes it.
fn archive(folder: &Path) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(format!("{}.tar.gz", folder.display()));
    let build = || -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::default()));
        let name = folder.file_name().map_or_else(|| PathBuf::from("debug"), PathBuf::from);
        tar.append_dir_all(name, folder)?;
        tar.into_inner()?.finish()?.sync_all()
    };
    build().or_fail("error creating archive")?;
    fs::remove_dir_all(folder).or_fail("error removing data that was archived")?;
    Ok(path)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_fail(&format!("error creating {}", path.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<(), Failure> {
    write(path, format!("{value:#}\n").as_bytes())
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    fs::write(path, content).or_fail(&format!("error writing {}", path.display()))
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_everything_and_the_folder_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("dump");
        make_folder(&folder.join("1")).unwrap();
        write_json(&folder.join("index.json"), &json!({})).unwrap();
        write(&folder.join("1/consul.log"), b"x").unwrap();
        let path = archive(&folder).unwrap();
        assert!(!folder.exists());
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap()));
        let mut names: Vec<String> = tar
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().to_string_lossy().trim_end_matches('/').to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["dump", "dump/1", "dump/1/consul.log", "dump/index.json"]);
    }
}

//! `snapshot save`, `snapshot restore`, `snapshot inspect`.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;

use super::file_argument;
use crate::api::{Api, ApiError, CLIENT_FLAGS, SERVER_FLAGS};
use crate::columns::{row, spaced};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::files;
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const INSPECT_FLAGS: &[Flag] = &[Flag::new("format", Kind::Text, "pretty or json.").or("pretty")];

/// The commands of this file.
pub const COMMANDS: [Command; 4] = [
    Command::group(
        "snapshot",
        "Saves, restores and inspects the servers' state",
        "Saves the state of a datacenter's servers to a file, brings it back, and looks into such files.\nArchives of the reference can be restored here, and the other way round.",
    ),
    Command {
        name: "snapshot inspect",
        synopsis: "Shows what is in an archive",
        usage: "[options] FILE",
        about: "Verifies an archive and shows what is in it. No agent is needed.",
        flags: &[INSPECT_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(inspect(parsed))),
    },
    Command {
        name: "snapshot restore",
        synopsis: "Replaces the servers' state by an archive's",
        usage: "[options] FILE",
        about: "Replaces the whole state of a datacenter's servers by that of an archive.",
        flags: &[CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(restore(parsed))),
    },
    Command {
        name: "snapshot save",
        synopsis: "Saves the servers' state to an archive",
        usage: "[options] FILE",
        about: "Saves the state of a datacenter's servers to FILE and verifies what was written. FILE appears\nonly once it is complete.",
        flags: &[CLIENT_FLAGS, SERVER_FLAGS],
        wraps: false,
        parallel: false,
        run: Some(|parsed| Box::pin(save(parsed))),
    },
];

async fn save(parsed: Parsed) -> Outcome {
    let file = Path::new(file_argument(&parsed.args)?);
    let api = Api::from_flags(&parsed)?;
    let response = api.get("/v1/snapshot").open().await.or_fail("Error saving snapshot")?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    if status != 200 {
        let text = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let error = ApiError::Status { status, body: String::from_utf8_lossy(&text).into_owned() };
        return Err(Failure::new(format!("Error saving snapshot: {error}")));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut unverified = tempfile::Builder::new()
        .prefix(".snapshot-")
        .suffix(".unverified")
        // As any new file, by the user's umask: backups are picked up by other users.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(&folder)
        .map_err(|e| files::error("open", file, &e))
        .or_fail("Error creating snapshot file")?;
    while let Some(frame) = body.frame().await {
        let frame = frame.or_fail("Error writing snapshot file")?;
        if let Ok(data) = frame.into_data() {
            unverified.write_all(&data).or_fail("Error writing snapshot file")?;
        }
    }
    unverified.as_file().sync_all().or_fail("Error writing snapshot file")?;
    unverified.rewind().or_fail("Error opening snapshot file for verify")?;
    let verified = ::snapshot::verify(unverified.as_file()).or_fail("Error verifying snapshot file")?;
    unverified.persist(file).map_err(|e| e.error).or_fail("Error renaming snapshot file")?;
    ui::line(format_args!("Saved and verified snapshot to index {}", verified.meta.index));
    Ok(0)
}

async fn restore(parsed: Parsed) -> Outcome {
    let path = file_argument(&parsed.args)?;
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|e| files::error("open", path, &e)).or_fail("Error opening snapshot file")?;
    let api = Api::from_flags(&parsed)?;
    api.put("/v1/snapshot")
        .stream_body(http_client::reader(file))
        .ok()
        .await
        .or_fail("Error restoring snapshot")?;
    ui::line("Restored snapshot");
    Ok(0)
}

async fn inspect(parsed: Parsed) -> Outcome {
    let path = file_argument(&parsed.args)?;
    let format = parsed.text("format");
    if !["pretty", "json"].contains(&format) {
        return Err(Failure::new(format!("Unknown format: {format}")));
    }
    let archive = File::open(path).map_err(|e| files::error("open", path, &e));
    let archive = archive.or_fail("Error opening snapshot file")?;
    let mut state = tempfile::tempfile().or_fail("Error inspecting snapshot")?;
    let verified = ::snapshot::read(archive, &mut state).or_fail("Error reading snapshot")?;
    state.rewind().or_fail("Error inspecting snapshot")?;
    let types = ::snapshot::summary::summarize(&state).or_fail("Error extracting snapshot data")?;
    ui::line(match format {
        "json" => json(&verified.meta, &types),
        _ => text(&verified.meta, &types),
    });
    Ok(0)
}

/// Between the columns of what an archive holds.
const BLANKS: usize = 6;

type Types = [::snapshot::summary::TypeSummary];

fn text(meta: &::snapshot::Meta, types: &Types) -> String {
    let head = [
        row([" ID", &meta.id]),
        row([" Size", &meta.size.to_string()]),
        row([" Index", &meta.index.to_string()]),
        row([" Term", &meta.term.to_string()]),
        row([" Version", &meta.version.to_string()]),
    ];
    let head = spaced(&head, BLANKS);
    let mut rows = vec![row([" Type", "Count", "Size"]), row([" ----", "----", "----"])];
    rows.extend(types.iter().map(|t| row([&format!(" {}", t.name), &t.count.to_string(), &size(t.bytes)])));
    let total = types.iter().map(|t| t.bytes).sum();
    rows.push(row([" ----", "----", "----"]));
    rows.push(row([" Total", "", &size(total)]));
    format!("{head}\n\n{}", spaced(&rows, BLANKS))
}

fn json(meta: &::snapshot::Meta, types: &Types) -> String {
    let stats: Vec<_> =
        types.iter().map(|t| serde_json::json!({"Name": t.name, "Sum": t.bytes, "Count": t.count})).collect();
    let total: u64 = types.iter().map(|t| t.bytes).sum();
    let all = serde_json::json!({
        "Meta": {"ID": meta.id, "Size": meta.size, "Index": meta.index, "Term": meta.term, "Version": meta.version},
        "Stats": stats,
        "TotalSize": total,
    });
    format!("{all:#}")
}

/// Bytes with a unit of 1024.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{}{}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_an_archive() {
        let meta = r#"{"Version": 1, "ID": "2-5-1", "Index": 5, "Term": 2, "Size": 667}"#;
        let meta: ::snapshot::Meta = serde_json::from_str(meta).unwrap();
        let name = "ConnectCAProviderState";
        let types = [::snapshot::summary::TypeSummary { kind: 0, name: name.into(), count: 3, bytes: 1740 }];
        assert_eq!(
            text(&meta, &types).lines().skip(2).collect::<Vec<_>>(),
            [
                " Index        5",
                " Term         2",
                " Version      1",
                "",
                " Type                        Count      Size",
                " ----                        ----       ----",
                " ConnectCAProviderState      3          1.7KB",
                " ----                        ----       ----",
                " Total                                  1.7KB",
            ]
        );
    }

    #[test]
    fn sizes_for_people() {
        let all = [0, 1023, 1024, 1740, 4141, 5 << 30].map(size);
        assert_eq!(all, ["0B", "1023B", "1KB", "1.7KB", "4KB", "5GB"]);
    }
}

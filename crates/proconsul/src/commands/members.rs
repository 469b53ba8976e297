//! `members`: who is in the pool, as seen by this agent.

use std::collections::BTreeMap;

use filter::regexp;
use serde::Deserialize;

use crate::api::{Api, CLIENT_FLAGS};
use crate::columns::{columns, row};
use crate::command::{Command, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const ALL_SEGMENTS: &str = "_all";

const FLAGS: &[Flag] = &[
    Flag::new("detailed", Kind::Switch, "Show all tags of each member."),
    Flag::new("segment", Kind::Text, "Only members of this network segment.").or(ALL_SEGMENTS),
    Flag::new("status", Kind::Text, "Only members whose status matches this regular expression.").or(".*"),
    Flag::new("wan", Kind::Switch, "Show the servers of all datacenters instead."),
];

/// `members`.
pub const COMMAND: Command = Command {
    name: "members",
    synopsis: "Lists the members of the cluster",
    usage: "[options]",
    about: "Lists the members of the pool as this agent sees them. The exit code is 2 if there are none.",
    flags: &[FLAGS, CLIENT_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    status: u8,
}

impl Member {
    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    fn status(&self) -> &'static str {
        match self.status {
            0 => "none",
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "unknown",
        }
    }

    fn address(&self) -> String {
        if self.addr.contains(':') {
            format!("[{}]:{}", self.addr, self.port)
        } else {
            format!("{}:{}", self.addr, self.port)
        }
    }
}

async fn run(parsed: Parsed) -> Outcome {
    let status = regexp::compile(parsed.text("status")).or_fail("Failed to compile status regexp")?;
    let api = Api::from_flags(&parsed)?;
    let mut request = api.get("/v1/agent/members");
    let segment = parsed.text("segment");
    if parsed.on("wan") {
        request = request.param("wan", 1);
    }
    if !segment.is_empty() && (!parsed.on("wan") || parsed.is_set("segment")) {
        request = request.param("segment", segment);
    }
    let members: Option<Vec<Member>> = request.json().await.or_fail("Error retrieving members")?;
    let mut members = members.unwrap_or_default();
    members.retain(|member| status.is_match(member.status()));
    for member in &mut members {
        let everywhere = segment == ALL_SEGMENTS && member.tag("role") == "consul";
        if everywhere {
            member.tags.insert("segment".into(), "<all>".into());
        } else if member.tag("segment").is_empty() {
            member.tags.insert("segment".into(), "<default>".into());
        }
    }
    if members.is_empty() {
        return Ok(2);
    }
    members.sort_by(|a, b| (a.tag("segment"), &a.name).cmp(&(b.tag("segment"), &b.name)));
    ui::line(if parsed.on("detailed") { detailed(&members) } else { table(&members) });
    Ok(0)
}

fn table(members: &[Member]) -> String {
    let mut rows = vec![row(["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"])];
    rows.extend(members.iter().map(|member| {
        let build = match member.tag("build") {
            "" => "< 0.3",
            build => build.split(':').next().unwrap_or(build),
        };
        let kind = match member.tag("role") {
            "node" => "client",
            "consul" => "server",
            _ => return row([&member.name, &member.address(), member.status(), "unknown", "", "", "", ""]),
        };
        row([
            &member.name,
            &member.address(),
            member.status(),
            kind,
            build,
            member.tag("vsn"),
            member.tag("dc"),
            member.tag("segment"),
        ])
    }));
    columns(&rows)
}

fn detailed(members: &[Member]) -> String {
    let mut rows = vec![row(["Node", "Address", "Status", "Tags"])];
    rows.extend(members.iter().map(|member| {
        let tags: Vec<String> = member.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        row([&member.name, &member.address(), member.status(), &tags.join(",")])
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_both_tables() {
        let members: Vec<Member> = serde_json::from_str(
            r#"[{"Name": "s1", "Addr": "127.0.1.1", "Port": 8301, "Status": 1, "Tags":
                 {"role": "consul", "build": "1.9.8:abc", "vsn": "2", "dc": "dc1", "segment": "<all>"}},
                {"Name": "c1", "Addr": "::1", "Port": 8301, "Status": 4, "Tags":
                 {"role": "node", "build": "1.9.8:", "vsn": "2", "dc": "dc1", "segment": "<default>"}}]"#,
        )
        .unwrap();
        assert_eq!(
            table(&members),
            "Node  Address         Status  Type    Build  Protocol  DC   Segment\n\
             s1    127.0.1.1:8301  alive   server  1.9.8  2         dc1  <all>\n\
             c1    [::1]:8301      failed  client  1.9.8  2         dc1  <default>"
        );
        assert_eq!(
            detailed(&members[1..]),
            "Node  Address     Status  Tags\n\
             c1    [::1]:8301  failed  build=1.9.8:,dc=dc1,role=node,segment=<default>,vsn=2"
        );
    }
}

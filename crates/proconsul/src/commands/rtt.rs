//! `rtt`: how far apart two nodes are, from their network coordinates.

use serde::Deserialize;

use crate::api::{Api, CLIENT_FLAGS, SERVER_FLAGS};
use crate::command::{Command, Failure, OrFail, Outcome};
use crate::flags::{Flag, Kind, Parsed};
use crate::ui;

const FLAGS: &[Flag] =
    &[Flag::new("wan", Kind::Switch, "Servers of any datacenters, named <node>.<datacenter>.")];

/// `rtt`.
pub const COMMAND: Command = Command {
    name: "rtt",
    synopsis: "Estimates the round-trip time between nodes",
    usage: "[options] node1 [node2]",
    about: "Estimates the round-trip time between two nodes, the second being this agent's own if not\nnamed. Nothing is sent between them: the estimate comes from their coordinates.",
    flags: &[FLAGS, CLIENT_FLAGS, SERVER_FLAGS],
    wraps: false,
    parallel: false,
    run: Some(|parsed| Box::pin(run(parsed))),
};

/// A network coordinate (Dabek et al., Vivaldi, SIGCOMM 2004; with height and adjustment). Seconds.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "PascalCase")]
struct Coordinate {
    vec: Vec<f64>,
    #[serde(default)]
    adjustment: f64,
    #[serde(default)]
    height: f64,
}

impl Coordinate {
    /// Milliseconds between two coordinates; `None` if they have different dimensions.
    fn distance_ms(&self, other: &Self) -> Option<f64> {
        if self.vec.len() != other.vec.len() {
            return None;
        }
        let squares: f64 = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b) * (a - b)).sum();
        let raw = squares.sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        Some(if adjusted > 0.0 { adjusted } else { raw } * 1000.0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: String,
    #[serde(default)]
    segment: String,
    coord: Coordinate,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Area {
    datacenter: String,
    #[serde(rename = "AreaID", default)]
    area: String,
    #[serde(default)]
    coordinates: Option<Vec<Entry>>,
}

async fn run(parsed: Parsed) -> Outcome {
    let (first, second) = match parsed.args.as_slice() {
        [one] => (one, None),
        [one, two] => (one, Some(two.clone())),
        _ => return Err(Failure::usage("One or two node names must be specified")),
    };
    let wan = parsed.on("wan");
    let api = Api::from_flags(&parsed)?;
    let second = match second {
        Some(name) => name,
        None => {
            let own: serde_json::Value =
                api.get("/v1/agent/self").json().await.or_fail("Unable to look up the agent's own name")?;
            let part = |name: &str| own["Config"][name].as_str().unwrap_or_default().to_owned();
            match wan {
                true => format!("{}.{}", part("NodeName"), part("Datacenter")),
                false => part("NodeName"),
            }
        }
    };
    let (pool, distance) = if wan {
        ("WAN", across(&api, first, &second).await?)
    } else {
        ("LAN", within(&api, first, &second).await?)
    };
    ui::line(format_args!("Estimated {first} <-> {second} rtt: {distance:.3} ms (using {pool} coordinates)"));
    Ok(0)
}

async fn across(api: &Api, first: &str, second: &str) -> Result<f64, Failure> {
    let split = |name: &str| match name.split_once('.') {
        Some((node, dc)) if !dc.contains('.') => Ok((node.to_owned(), dc.to_owned())),
        _ => Err(Failure::new("Node names must be specified as <node name>.<datacenter> with -wan")),
    };
    let (a, b) = (split(first)?, split(second)?);
    let areas: Vec<Area> =
        api.get("/v1/coordinate/datacenters").json().await.or_fail("Error getting coordinates")?;
    let find = |area: &str, (node, dc): &(String, String)| {
        areas
            .iter()
            .filter(|a| a.area == area && a.datacenter == *dc)
            .flat_map(|a| a.coordinates.iter().flatten())
            .find(|entry| entry.node == *node)
            .map(|entry| entry.coord.clone())
    };
    // Coordinates of different areas are not comparable.
    areas
        .iter()
        .find_map(|area| find(&area.area, &a)?.distance_ms(&find(&area.area, &b)?))
        .ok_or_else(|| not_found(first))
}

async fn within(api: &Api, first: &str, second: &str) -> Result<f64, Failure> {
    let entries: Option<Vec<Entry>> =
        api.get("/v1/coordinate/nodes").json().await.or_fail("Error getting coordinates")?;
    let entries = entries.unwrap_or_default();
    let all = |name: &str| entries.iter().filter(move |e| e.node == name).collect::<Vec<_>>();
    let (a, b) = (all(first), all(second));
    if a.is_empty() {
        return Err(not_found(first));
    }
    // Servers have a coordinate in every network segment: take a pair of the same one.
    a.iter()
        .find_map(|a| {
            let b = b.iter().find(|b| b.segment == a.segment)?;
            a.coord.distance_ms(&b.coord)
        })
        .ok_or_else(|| not_found(second))
}

fn not_found(name: &str) -> Failure {
    Failure::new(format!("Could not find a coordinate for node \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, adjustment: f64, height: f64) -> Coordinate {
        Coordinate { vec: vec![x, 0.0], adjustment, height }
    }

    #[test]
    fn distances() {
        let distance = |a: &Coordinate, b: &Coordinate| format!("{:.3}", a.distance_ms(b).unwrap());
        assert_eq!(distance(&at(0.0, 0.0, 0.001), &at(0.02, 0.001, 0.002)), "24.000");
        assert_eq!(distance(&at(0.0, 0.0, 1e-5), &at(0.0, 0.0, 1e-5)), "0.020");
        // An adjustment that would make time negative does not count.
        assert_eq!(distance(&at(0.0, -1.0, 0.001), &at(0.0, 0.0, 0.0)), "1.000");
        let other = Coordinate { vec: vec![0.0], adjustment: 0.0, height: 0.0 };
        assert!(at(0.0, 0.0, 0.0).distance_ms(&other).is_none());
    }
}

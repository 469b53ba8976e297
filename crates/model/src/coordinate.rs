//! Network coordinates of nodes.

use serde::{Deserialize, Serialize};

use crate::options::QueryMeta;

/// Coord, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Coord {
    pub adjustment: f64,
    pub error: f64,
    pub height: f64,
    pub vec: Vec<f64>,
}

/// Coordinate, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Coordinate {
    pub coord: Option<Coord>,
    pub node: String,
    pub segment: String,
}

/// Arguments of `Coordinate.Update`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CoordinateUpdateRequest {
    pub coord: Option<Coord>,
    pub datacenter: String,
    pub node: String,
    pub segment: String,
    pub token: String,
}

/// Reply of `Coordinate.ListNodes`, `Coordinate.Node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexedCoordinates {
    pub coordinates: Vec<Coordinate>,
    #[serde(flatten)]
    pub meta: QueryMeta,
}

/// Datacenter map, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DatacenterMap {
    #[serde(rename = "AreaID")]
    pub area_id: String,
    pub coordinates: Vec<Coordinate>,
    pub datacenter: String,
}

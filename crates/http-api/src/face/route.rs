//! The table of routes: path, methods, endpoint.

use std::collections::HashMap;
use std::sync::OnceLock;

use futures::future::BoxFuture;
use http::Method;

use super::Face;
use super::call::Call;
use super::reply::Reply;
use crate::api::error::ApiError;
use crate::endpoints;

/// The methods of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    /// The verb of a method; `None` for one that no endpoint has.
    pub fn of(method: &Method) -> Option<Self> {
        Some(match *method {
            Method::GET => Self::Get,
            Method::PUT => Self::Put,
            Method::POST => Self::Post,
            Method::DELETE => Self::Delete,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// What an endpoint gives back.
pub type Answer<'a> = BoxFuture<'a, Result<Reply, ApiError>>;

/// An endpoint.
pub type Handler = for<'a> fn(&'a Face, Call) -> Answer<'a>;

/// A row of the table.
pub struct Route {
    /// The path; one that ends in a slash takes everything below.
    pub pattern: &'static str,
    /// The methods it takes.
    pub verbs: &'static [Verb],
    /// The endpoint.
    pub handler: Handler,
}

impl Route {
    /// The `Allow` header.
    pub fn allow(&self) -> String {
        let mut allow = String::from("OPTIONS");
        for verb in self.verbs {
            allow.push(',');
            allow.push_str(verb.as_str());
        }
        allow
    }
}

/// What a path leads to.
pub enum Found {
    /// A route, and where the rest of the path begins.
    Route(&'static Route, usize),
    /// A route if only a slash stood at the end.
    Slash,
    /// Nothing.
    Nothing,
}

/// Slashes in the longest pattern.
const MAX_SLASHES: usize = 8;

/// Finds the route of a clean path: the path itself, or else the longest prefix.
pub fn find(path: &str) -> Found {
    static TABLE: OnceLock<HashMap<&'static str, &'static Route>> = OnceLock::new();
    let table = TABLE.get_or_init(|| endpoints::ROUTES.iter().map(|route| (route.pattern, route)).collect());
    if let Some(route) = table.get(path) {
        return Found::Route(route, path.len());
    }
    let mut ends = [0_usize; MAX_SLASHES];
    let mut count = 0;
    for (at, _) in path.match_indices('/').take(MAX_SLASHES) {
        ends[count] = at + 1;
        count += 1;
    }
    for &end in ends[..count].iter().rev() {
        if let Some(route) = table.get(&path[..end]) {
            return Found::Route(route, end);
        }
    }
    let mut with_slash = String::with_capacity(path.len() + 1);
    with_slash.push_str(path);
    with_slash.push('/');
    if table.contains_key(with_slash.as_str()) { Found::Slash } else { Found::Nothing }
}

//! The query of a request.

use std::fmt::Write as _;

use smallvec::SmallVec;

/// The parameters of a query, decoded, in their order.
#[derive(Clone, Debug, Default)]
pub struct Params(SmallVec<[(String, String); 4]>);

impl Params {
    /// Reads a raw query.
    pub fn parse(query: Option<&str>) -> Self {
        let Some(query) = query else { return Self::default() };
        Self(
            form_urlencoded::parse(query.as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// Whether a parameter is there, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The first value of a parameter; empty when it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The first value of a parameter.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The query again, encoded and ordered by name.
    pub fn encode(&self) -> String {
        let mut pairs: Vec<&(String, String)> = self.0.iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = String::new();
        for (name, value) in pairs {
            let separator = if out.is_empty() { "" } else { "&" };
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            // Writing to a String does not fail.
            let _ = write!(out, "{separator}{}={}", encode(name), encode(value));
        }
        out
    }
}

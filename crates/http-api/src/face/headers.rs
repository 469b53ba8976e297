//! What the API reads of a request's headers.

use http::header::{HeaderMap, HeaderValue};

/// The headers that mean something to the API, in lower case.
const READ: [&str; 5] =
    ["authorization", "cache-control", "x-consul-namespace", "x-consul-token", "x-forwarded-for"];

/// Copies of the headers that the API reads.
///
/// The values of a received [`HeaderMap`] are slices of the connection's read buffer; a query that
/// blocks would hold all of it for the sake of a token.
#[derive(Debug, Default)]
pub struct Headers(Vec<(&'static str, HeaderValue)>);

impl Headers {
    /// Copies what is read.
    pub fn copy(all: &HeaderMap) -> Self {
        let copies = all.iter().filter_map(|(name, value)| {
            let name = *READ.iter().find(|read| **read == name.as_str())?;
            let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            copy.set_sensitive(value.is_sensitive());
            Some((name, copy))
        });
        Self(copies.collect())
    }

    /// The first value of this name, which is in lower case and one of those that are read.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        debug_assert!(READ.contains(&name), "{name} is not copied");
        self.0.iter().find(|(kept, _)| *kept == name).map(|(_, value)| value)
    }

    /// The same as text, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| value.to_str().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_read() {
        let mut all = HeaderMap::new();
        all.insert("X-Consul-Token", HeaderValue::from_static("first"));
        all.append("X-Consul-Token", HeaderValue::from_static("second"));
        all.insert("Accept", HeaderValue::from_static("*/*"));
        let headers = Headers::copy(&all);
        assert_eq!(headers.text("x-consul-token"), Some("first"));
        assert_eq!(headers.text("authorization"), None);
        assert_eq!(headers.0.len(), 2);
    }
}

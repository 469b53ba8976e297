//! Which metrics are kept: by the longest prefix that says so, else by default.

/// Prefixes are of full names, `consul.` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub allow_by_default: bool,
    pub allowed: Vec<String>,
    pub blocked: Vec<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { allow_by_default: true, allowed: Vec::new(), blocked: Vec::new() }
    }
}

impl Filter {
    pub(crate) fn allows(&self, name: &str) -> bool {
        let longest =
            |list: &[String]| list.iter().filter(|p| name.starts_with(p.as_str())).map(String::len).max();
        match (longest(&self.allowed), longest(&self.blocked)) {
            (None, None) => self.allow_by_default,
            // Of two equal ones blocking wins.
            (allowed, blocked) => allowed > blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let list = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect();
        let filter = Filter {
            allow_by_default: true,
            allowed: list(&["consul.rpc.server", "consul.x"]),
            blocked: list(&["consul.rpc", "consul.x"]),
        };
        assert!(filter.allows("consul.kvs.apply"));
        assert!(!filter.allows("consul.rpc.request"));
        assert!(filter.allows("consul.rpc.server.call"));
        assert!(!filter.allows("consul.x"));
        let none = Filter { allow_by_default: false, ..filter };
        assert!(!none.allows("consul.kvs.apply"));
        assert!(none.allows("consul.rpc.server.call"));
    }
}

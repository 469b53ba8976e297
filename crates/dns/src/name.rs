//! Domain names made from the catalog's texts.

use domain::base::Name;

/// A name of its own.
pub type DnsName = Name<Vec<u8>>;

/// Longest name on the wire, RFC 1035 section 2.3.4.
const MAX_NAME: usize = 255;
/// Longest label.
const MAX_LABEL: usize = 63;

/// A text that is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain name: labels have 1 to 63 bytes, a name at most 255")]
pub struct InvalidName(pub String);

/// Reads a name with or without a final dot; the empty text and `.` are the root.
///
/// # Errors
/// When a label is empty or too long, or the whole is.
pub fn parse_name(text: &str) -> Result<DnsName, InvalidName> {
    join(&[text.strip_suffix('.').unwrap_or(text)], None).ok_or_else(|| InvalidName(text.to_owned()))
}

/// The labels of some texts, and a name after them. Texts may have dots in them. `None` if that is
/// no name.
pub fn join(texts: &[&str], end: Option<&DnsName>) -> Option<DnsName> {
    let end = end.map_or(&[0_u8][..], Name::as_slice);
    let length = texts.iter().map(|text| text.len() + 1).sum::<usize>() + end.len();
    let mut wire = Vec::with_capacity(length);
    for text in texts {
        if text.is_empty() && texts.len() == 1 {
            continue;
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
    }
    wire.extend_from_slice(end);
    if wire.len() > MAX_NAME {
        return None;
    }
    Name::from_octets(wire).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_names() {
        let domain = parse_name("consul.").unwrap();
        let name = join(&["my.host", "node", "dc1"], Some(&domain)).unwrap();
        assert_eq!(name.to_string(), "my.host.node.dc1.consul");
        assert!(parse_name(".").unwrap().is_root());
        assert!(parse_name("").unwrap().is_root());
        assert!(parse_name("a..b").is_err());
        assert!(parse_name(&"x".repeat(64)).is_err());
        assert!(parse_name(&["abc"; 80].join(".")).is_err());
        assert!(join(&["", "node"], Some(&domain)).is_none());
    }
}

//! Tags: what a member says about itself, carried in the meta of the layer below.

use std::collections::BTreeMap;

/// Names and values of a member's tags.
pub type Tags = BTreeMap<String, String>;

/// Most bytes of encoded tags.
pub const META_MAX: usize = 512;
/// First byte of a meta holding tags; without it the meta is the bare value of `role`.
const TAG_MAGIC: u8 = 0xFF;

/// Why tags cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// Too many or too long.
    #[error("Encoded length of tags exceeds limit of 512 bytes")]
    TooLong,
    /// No msgpack form.
    #[error("Failed to encode tags: {0}")]
    Encode(String),
}

/// The meta carrying `tags`.
pub fn encode(tags: &Tags) -> Result<Vec<u8>, TagsError> {
    let body = msgpack::to_vec(tags).map_err(|e| TagsError::Encode(e.to_string()))?;
    let mut meta = Vec::with_capacity(1 + body.len());
    meta.push(TAG_MAGIC);
    meta.extend_from_slice(&body);
    if meta.len() > META_MAX {
        return Err(TagsError::TooLong);
    }
    Ok(meta)
}

/// The tags in a meta. Old members send only their role; a meta that cannot be read has no tags.
pub fn decode(meta: &[u8]) -> Tags {
    match meta.split_first() {
        Some((&TAG_MAGIC, body)) => match msgpack::from_slice_prefix::<Tags>(body) {
            Ok((tags, _)) => tags,
            Err(error) => {
                tracing::error!(%error, "serf: Failed to decode tags");
                Tags::new()
            }
        },
        _ => {
            let role = String::from_utf8_lossy(meta).into_owned();
            Tags::from([("role".to_owned(), role)])
        }
    }
}

//! Keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::kv::DirEntry;

use super::{Object, key, null};

/// A key with its value in base64; `null` for an empty one. `Session` only while it is locked.
pub fn dir_entry(out: &mut Vec<u8>, entry: &DirEntry) {
    let mut object = Object::new(out);
    object.u64(key!("LockIndex"), entry.lock_index);
    object.str(key!("Key"), &entry.key);
    object.u64(key!("Flags"), entry.flags);
    let out = object.key(key!("Value"));
    let value = entry.value.as_slice();
    if value.is_empty() {
        null(out);
    } else {
        base64(out, value);
    }
    object.opt_str(key!("Session"), &entry.session);
    object.u64(key!("CreateIndex"), entry.create_index);
    object.u64(key!("ModifyIndex"), entry.modify_index);
    object.end();
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The space is exactly what the encoding takes; were it not, the string would come out empty.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

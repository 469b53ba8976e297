//! `#[serde(with = "msgpack::nil_if_empty")]` for lists, maps and byte strings: the peers keep
//! an absent list and write nil for it, where Rust has an empty one. Text formats (JSON) are
//! left alone: they get the empty collection.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What can be empty.
pub trait MaybeEmpty {
    fn is_empty(&self) -> bool;
}

macro_rules! maybe_empty {
    ($($ty:ty [$($gen:tt)*]),* $(,)?) => {$(
        impl<$($gen)*> MaybeEmpty for $ty {
            fn is_empty(&self) -> bool {
                <$ty>::is_empty(self)
            }
        }
    )*};
}

maybe_empty! {
    Vec<T> [T], VecDeque<T> [T], BTreeSet<T> [T], HashSet<T, S> [T, S],
    BTreeMap<K, V> [K, V], HashMap<K, V, S> [K, V, S], String [],
}

pub fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: MaybeEmpty + Serialize,
    S: Serializer,
{
    if value.is_empty() && !serializer.is_human_readable() {
        serializer.serialize_none()
    } else {
        value.serialize(serializer)
    }
}

/// Absent, nil and empty are the same.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
